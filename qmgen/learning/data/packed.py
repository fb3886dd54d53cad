"""Molecules as arrays: packed one after the other without padding, and padded to one size as a network takes them.

>>> packed.sizes                       # atoms of each molecule
>>> packed.take(np.array([5, 2]))      # those two, in this order
>>> batch = padded(packed, {"y": values}, rows, size=112, atoms=24)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from qmgen.learning.targets import TARGETS, Kind


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
        smiles: (M,) strings; (0,) where nobody asked for them.
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
        values: by name of the target, in normalized units (``targets.Normalization``): (B, 1) for a scalar, (B, 3) for
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
