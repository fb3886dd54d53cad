"""Molecules as arrays: packed one after the other without padding, padded to one size as a network takes them, and with
normalized values.

>>> packed.sizes                       # atoms of each molecule
>>> packed.take(np.array([5, 2]))      # those two, in this order
>>> batch = padded(packed, {"y": values}, rows, size=112, atoms=24)

Normalization is in float64: the total energy of a molecule is 10^4 eV, and what is to be learned of it some meV, which
float32 does not hold until the atoms' share is taken off.

>>> normalization = fit(targets, packed)                                    # once, on training rows
>>> learned = normalization.normalize("energy", packed.values["energy"], packed)
>>> normalization.restore("energy", predicted, numbers)                     # eV again
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import jax
import numpy as np

from qmgen.constants import BOHR_TO_ANGSTROM
from qmgen.errors import UsageError
from qmgen.learning.targets import TARGETS, Kind, Target
from qmgen.molecules.geometry import symbol_of


@dataclass(frozen=True)
class Packed:
    """M molecules with A atoms in all.

    Attributes:
        numbers: (A,) uint8, atomic numbers.
        positions: (A, 3) float32, Bohr.
        offsets: (M + 1,) int64; the atoms of molecule i are ``offsets[i]:offsets[i + 1]``.
        values: by name of the target, in the unit of its column, float64: (M, 1) for a scalar, (M, 3) for the dipole
            moment, (A, 3) for forces.
        molecule_id: (M,) int64.
        conformer_id: (M,) int32.
        smiles: (M,) strings; (0,) where they were not read.
    """

    numbers: np.ndarray
    positions: np.ndarray
    offsets: np.ndarray
    values: dict[str, np.ndarray]
    molecule_id: np.ndarray
    conformer_id: np.ndarray
    smiles: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def sizes(self) -> np.ndarray:
        """(M,) int64, atoms of each molecule."""
        return np.diff(self.offsets)

    def atoms_of(self, indices: np.ndarray) -> np.ndarray:
        """Places in ``numbers`` of the atoms of these molecules, one molecule after the other."""
        starts, sizes = self.offsets[indices], self.sizes[indices]
        before = np.cumsum(sizes) - sizes
        return np.repeat(starts - before, sizes) + np.arange(sizes.sum())

    def take(self, indices: np.ndarray) -> Packed:
        """These molecules (0-based), in this order."""
        atoms = self.atoms_of(indices)
        return Packed(
            self.numbers[atoms],
            self.positions[atoms],
            _offsets(self.sizes[indices]),
            {name: array[atoms if per_atom(name) else indices] for name, array in self.values.items()},
            self.molecule_id[indices],
            self.conformer_id[indices],
            self.smiles[indices] if len(self.smiles) else self.smiles,
        )


def concatenate(parts: Sequence[Packed]) -> Packed:
    """All molecules of ``parts`` (at least one, all with the same targets), in order."""
    return Packed(
        np.concatenate([part.numbers for part in parts]),
        np.concatenate([part.positions for part in parts]),
        _offsets(np.concatenate([part.sizes for part in parts])),
        {name: np.concatenate([part.values[name] for part in parts]) for name in parts[0].values},
        np.concatenate([part.molecule_id for part in parts]),
        np.concatenate([part.conformer_id for part in parts]),
        np.concatenate([part.smiles for part in parts]),
    )


def per_atom(name: str) -> bool:
    """Whether a target has a value for every atom, not every molecule."""
    return TARGETS[name].kind is Kind.FORCES


def _offsets(sizes: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes, dtype=np.int64)])


#: a NumPy array on the host, a JAX array on the device
Array = Any


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class MoleculeBatch:
    """B molecules of at most n atoms.

    Attributes:
        numbers: (B, n) int32, atomic numbers; 0 where there is no atom.
        positions: (B, n, 3) float32, Bohr; 0 where there is no atom.
        values: by name of the target, in normalized units (``Normalization``): (B, 1) for a scalar, (B, 3) for
            the dipole moment, (B, n, 3) for forces. Empty where there is nothing to learn from.
        weights: (B,) float32, 1 for a molecule and 0 for a dummy that fills the batch.
    """

    numbers: Array
    positions: Array
    values: dict[str, Array]
    weights: Array


def padded(packed: Packed, values: Mapping[str, np.ndarray], rows: np.ndarray, size: int, atoms: int) -> MoleculeBatch:
    """The molecules ``rows`` of ``packed``, filled up with dummies to ``size``, in arrays for ``atoms`` atoms each.

    ``values``: of all molecules of ``packed``, normalized, float32. Dummies are zero and of weight 0.
    """
    places = packed.atoms_of(rows)
    mask = np.zeros((size, atoms), bool)
    mask[: len(rows)] = np.arange(atoms) < packed.sizes[rows][:, None]
    numbers = np.zeros((size, atoms), np.int32)
    numbers[mask] = packed.numbers[places]
    positions = np.zeros((size, atoms, 3), np.float32)
    positions[mask] = packed.positions[places]
    filled: dict[str, np.ndarray] = {}
    for name, array in values.items():
        if per_atom(name):
            filled[name] = np.zeros((size, atoms, array.shape[1]), np.float32)
            filled[name][mask] = array[places]
        else:
            filled[name] = np.zeros((size, array.shape[1]), np.float32)
            filled[name][: len(rows)] = array[rows]
    weights = np.zeros(size, np.float32)
    weights[: len(rows)] = 1.0
    return MoleculeBatch(numbers, positions, filled, weights)


#: a spread this small beside the values themselves is their rounding, and nothing to divide by
_ROUNDING: Final = 1e-12
#: atomic numbers end here
HEAVIEST: Final = 118


@dataclass(frozen=True)
class Normalization:
    """normalized = (value - references of the atoms - mean) / scale, by name of the target.

    ``references``: of the extensive targets, by atomic number. ``elements``: those that the rows of ``fit`` hold; a
    network has learned nothing about others. Forces have the scale of the energy over Bohr, so that they stay minus its
    gradient by positions in Bohr.
    """

    mean: dict[str, float]
    scale: dict[str, float]
    references: dict[str, dict[int, float]]
    elements: tuple[int, ...] = ()

    def normalize(self, name: str, values: np.ndarray, atoms: Packed | np.ndarray) -> np.ndarray:
        """``values`` in the column's unit, as (M, width) or (.., 3), as float32 in normalized units.

        ``atoms``: the molecules, packed or as (M, n) atomic numbers padded with 0. Raises ``UsageError`` for an
        element that was not there at ``fit``.
        """
        self.check(atoms)
        shifted = np.asarray(values, np.float64) - self.mean[name] - self._shares(name, atoms)
        return (shifted / self.scale[name]).astype(np.float32)

    def restore(self, name: str, normalized: np.ndarray, atoms: Packed | np.ndarray) -> np.ndarray:
        """The inverse of ``normalize``, in float64."""
        self.check(atoms)
        values = np.asarray(normalized, np.float64) * self.scale[name] + self.mean[name]
        restored: np.ndarray = values + self._shares(name, atoms)
        return restored

    def check(self, atoms: Packed | np.ndarray) -> None:
        """Raises ``UsageError`` that names the elements which were not there at ``fit``."""
        numbers = atoms.numbers if isinstance(atoms, Packed) else np.asarray(atoms)
        present = np.flatnonzero(np.bincount(numbers.ravel().astype(np.int64), minlength=1))
        if unseen := sorted(set(present.tolist()) - set(self.elements) - {0}):
            raise UsageError(
                f"{_named(unseen)} was not in the rows that the normalization comes from, which hold "
                f"{_named(self.elements)}: leave such molecules out, or train on rows that have them"
            )

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``json.dumps``; Python writes a float so that the very same is read back."""
        references = {n: {str(z): value for z, value in values.items()} for n, values in self.references.items()}
        return {
            "mean": self.mean, "scale": self.scale, "references": references, "elements": list(self.elements)
        }  # fmt: skip

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Normalization:
        """The inverse of ``to_json``. Raises ``ValueError`` and the like for anything else."""
        references = {n: {int(z): float(v) for z, v in values.items()} for n, values in plain["references"].items()}
        mean, scale = ({n: float(v) for n, v in plain[key].items()} for key in ("mean", "scale"))
        elements = tuple(int(z) for z in plain["elements"])
        numbers = [*mean.values(), *scale.values(), *(v for values in references.values() for v in values.values())]
        if not np.isfinite(numbers).all() or 0.0 in scale.values():
            raise ValueError("its normalization holds numbers that are none")
        if any(not 0 < z <= HEAVIEST for z in (*elements, *(z for values in references.values() for z in values))):
            raise ValueError("its normalization names elements that do not exist")
        return cls(mean, scale, references, elements)

    def of(self, targets: Iterable[Target]) -> None:
        """Raises ``KeyError`` where it lacks one of ``targets``."""
        for target in targets:
            _ = self.mean[target.name], self.scale[target.name]

    def _shares(self, name: str, atoms: Packed | np.ndarray) -> np.ndarray | float:
        """(M, 1): the sum of the references of each molecule's atoms."""
        references = self.references.get(name)
        if references is None:
            return 0.0
        elements = sorted(references)
        return (composition(atoms, elements) @ np.array([references[z] for z in elements]))[:, None]


def fit(targets: Iterable[Target], packed: Packed) -> Normalization:
    """The normalization of ``targets`` by the rows ``packed`` (at least one).

    Extensive targets: references by least squares, of all solutions the one of least norm where elements always come
    together; then the mean and the standard deviation of what is left. Scalars: mean and standard deviation. The dipole
    moment turns with the molecule, so it has no mean: the root mean square of its components. A scale that would be
    zero is 1.
    """
    elements = [int(z) for z in np.flatnonzero(np.bincount(packed.numbers))]
    mean: dict[str, float] = {}
    scale: dict[str, float] = {}
    references: dict[str, dict[int, float]] = {}
    for target in targets:
        name = target.name
        if target.kind is Kind.FORCES:
            continue
        values = np.asarray(packed.values[name], np.float64)
        size = float(np.abs(values).max())
        if target.extensive:
            counts = composition(packed, elements)
            shares = np.linalg.lstsq(counts, values[:, 0], rcond=None)[0]
            references[name] = dict(zip(elements, shares.tolist(), strict=True))
            values = values - (counts @ shares)[:, None]
        mean[name] = 0.0 if target.kind is Kind.DIPOLE else float(values.mean())
        spread = float(np.sqrt(np.mean((values - mean[name]) ** 2)))
        scale[name] = spread if spread > _ROUNDING * size else 1.0
    if any(target.kind is Kind.FORCES for target in targets):
        mean["forces"], scale["forces"] = 0.0, scale["energy"] / BOHR_TO_ANGSTROM
    return Normalization(mean, scale, references, tuple(elements))


def composition(atoms: Packed | np.ndarray, elements: Iterable[int]) -> np.ndarray:
    """(M, elements) float64: how many atoms of each of ``elements`` each molecule has. ``atoms`` as ``normalize``."""
    wanted = list(elements)
    column = np.full(256, len(wanted))
    column[wanted] = np.arange(len(wanted))
    if isinstance(atoms, Packed):
        rows, numbers, molecules = np.repeat(np.arange(len(atoms)), atoms.sizes), atoms.numbers, len(atoms)
    else:
        padded = np.asarray(atoms)
        rows, numbers, molecules = np.repeat(np.arange(len(padded)), padded.shape[1]), padded.ravel(), len(padded)
    width = len(wanted) + 1  # the last column takes padding and what is not wanted
    counts = np.bincount(rows * width + column[numbers], minlength=molecules * width)
    return counts.reshape(molecules, width)[:, :-1].astype(np.float64)


def _named(numbers: Iterable[int]) -> str:
    return ", ".join(symbol_of(z) for z in numbers)
