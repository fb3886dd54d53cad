"""Geometries of a molecule as of a temperature, by Langevin dynamics in a force field.

>>> made = thermal_geometries("CCO", 500, (300.0, 500.0), seed=0)
>>> made.conformers[7].positions                      # Bohr, as the corpus stores them

The field is MMFF94, or UFF where MMFF94 has no parameters. Each trajectory has a temperature of its own, begins at an
embedding of its own, relaxed, and gives ``PER_TRAJECTORY`` geometries; all it does is settled by the seed, the molecule
and its number. So the first 100 geometries of 500 are those that 100 alone would be.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count as count_from
from typing import Any, Final

import numpy as np

from qmgen.molecules import embedding
from qmgen.molecules.embedding import EmbeddingRefused
from qmgen.molecules.entries import from_smiles, quiet_chem
from qmgen.molecules.geometry import bohr_from_angstrom, geometry_problem
from qmgen.molecules.langevin import Gradient, dynamics
from qmgen.molecules.types import Conformer, Failure, Reason

PER_TRAJECTORY: Final = 25
#: steps between geometries: 50 fs, in which friction takes velocities to 1/e
STRIDE: Final = 100
#: steps before the first geometry: a picosecond, twenty times as long as friction takes
EQUILIBRATION: Final = 2000
#: a bond longer than this, relative to the relaxed one, is broken
LONGEST_BOND: Final = 1.5
#: geometries that may be discarded, and one more for every so many good ones, before the molecule is given up
_SPARE: Final = 4
_GOOD_FOR_ONE: Final = 5
_RELAX_STEPS: Final = 500


@dataclass(frozen=True)
class Thermal:
    """``temperatures``: of each of ``conformers``, Kelvin. ``discarded``: geometries that had come apart or were none;
    each ended its trajectory, and others stand in their place. ``field``: "MMFF94" or "UFF"."""

    conformers: list[Conformer]
    discarded: int
    temperatures: list[float]
    field: str


def thermal_geometries(
    smiles: str,
    count: int,
    temperatures: tuple[float, float] = (300.0, 500.0),
    seed: int = 0,
    name: str = "",
    molecule_id: int = 0,
) -> Thermal:
    """``count`` geometries; the temperature of each trajectory is uniform in the range ``temperatures`` (Kelvin).

    The center of mass is at the origin. Where the SMILES leaves a stereo center open, trajectories differ in it. Equal
    SMILES (canonical) and seeds give equal geometries, on the same RDKit and processor.

    Raises ``EmbeddingRefused``, with its reason, for what is not one neutral closed-shell molecule of several atoms,
    has no force field, cannot be embedded, or comes apart again and again; ``ValueError`` for a count or range of none.
    """
    low, high = temperatures
    if count < 1 or not 0 < low <= high < np.inf or seed < 0:
        raise ValueError(f"count {count}, temperatures {temperatures} or seed {seed} cannot be")
    entry = from_smiles(molecule_id, smiles, name)
    if isinstance(entry, Failure):
        raise EmbeddingRefused(entry.detail, entry.reason)
    mol = embedding.with_hydrogens(entry.smiles)
    if mol.GetNumAtoms() < 2:
        raise EmbeddingRefused("one atom alone has one geometry only, at any temperature")
    field, numbers = _field_name(mol), embedding.numbers_of(mol)
    digest = int.from_bytes(hashlib.sha256(entry.smiles.encode()).digest()[:16], "big")
    made: list[np.ndarray] = []
    at: list[float] = []
    discarded = 0
    for trajectory in count_from():
        random = np.random.default_rng(np.random.SeedSequence([seed, digest, trajectory]))
        temperature = float(random.uniform(low, high))
        for positions in _trajectory(mol, entry.smiles, field, temperature, random):
            if positions is None or geometry_problem(numbers, positions):
                discarded += 1
                break
            made.append(positions)
            at.append(temperature)
            if len(made) == count:
                conformers = [Conformer(molecule_id, i, name, entry.smiles, numbers, x) for i, x in enumerate(made)]
                return Thermal(conformers, discarded, at, field)
        if discarded > _SPARE + len(made) // _GOOD_FOR_ONE:
            raise EmbeddingRefused(
                f"came apart in {discarded} of {trajectory + 1} trajectories in {field}: lower the temperature",
                Reason.BAD_COORDINATES,
            )
    raise AssertionError("the count has no end")


def _field_name(mol: Any) -> str:
    with quiet_chem():
        from rdkit.Chem import rdForceFieldHelpers

        if rdForceFieldHelpers.MMFFHasAllMoleculeParams(mol):
            return "MMFF94"
        if rdForceFieldHelpers.UFFHasAllMoleculeParams(mol):
            return "UFF"
    raise EmbeddingRefused("neither MMFF94 nor UFF has parameters for this molecule", Reason.NO_FORCE_FIELD)


def force_field(mol: Any, field: str) -> Any:
    """RDKit's, of the one conformer of ``mol``, which must be kept alive as long; ready to use.

    Raises ``EmbeddingRefused`` (``no_force_field``) where RDKit cannot make it.
    """
    with quiet_chem():
        from rdkit.Chem import rdForceFieldHelpers

        # cut-offs, which go by the distances at the start, would leave out pairs that come near later
        if field == "MMFF94":
            properties = rdForceFieldHelpers.MMFFGetMoleculeProperties(mol, mmffVariant=field)
            made = rdForceFieldHelpers.MMFFGetMoleculeForceField(mol, properties, nonBondedThresh=1e3)
        else:
            made = rdForceFieldHelpers.UFFGetMoleculeForceField(mol, vdwThresh=1e3)
    if made is None:
        raise EmbeddingRefused(f"{field} cannot be set up for this molecule", Reason.NO_FORCE_FIELD)
    made.Initialize()
    return made


def gradient_of(forces: Any) -> Gradient:
    """The derivatives of RDKit's force field by flat coordinates in Angstrom, kcal/mol/Angstrom."""

    def gradient(flat: list[float]) -> Sequence[float]:
        # CalcGrad takes distances from the last geometry whose energy was asked for, whatever it is given itself
        forces.CalcEnergy(flat)
        found: Sequence[float] = forces.CalcGrad(flat)
        return found

    return gradient


def _trajectory(
    bare: Any, smiles: str, field: str, temperature: float, random: np.random.Generator
) -> Iterator[np.ndarray | None]:
    """Up to ``PER_TRAJECTORY`` positions (N, 3), Bohr at the corpus's precision; None, at the end, for broken ones."""
    with quiet_chem() as chem:
        mol = chem.Mol(bare)
        embedding.etkdg3(mol, smiles, 1, int(random.integers(2**31 - 1)))
        if not mol.GetNumConformers():
            raise EmbeddingRefused("ETKDG found no geometry to begin at")
        forces = force_field(mol, field)
        forces.Minimize(maxIts=_RELAX_STEPS)
    start = np.array(mol.GetConformer().GetPositions())
    masses = np.array([atom.GetMass() for atom in mol.GetAtoms()])
    bonds = np.array([(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()) for bond in mol.GetBonds()])
    states = dynamics(gradient_of(forces), start, masses, temperature, random, STRIDE)
    for _ in range(EQUILIBRATION // STRIDE):
        next(states)
    for _ in range(PER_TRAJECTORY):
        positions = next(states).positions
        if broken(start, positions, bonds):
            yield None
            return
        yield bohr_from_angstrom(positions - masses @ positions / masses.sum())


def broken(start: np.ndarray, positions: np.ndarray, bonds: np.ndarray) -> bool:
    """Whether positions (N, 3) are not finite, or one of ``bonds`` (B, 2) is ``LONGEST_BOND`` times as long."""
    if not np.isfinite(positions).all():
        return True
    before, after = (np.linalg.norm(x[bonds[:, 0]] - x[bonds[:, 1]], axis=1) for x in (start, positions))
    return bool((after > LONGEST_BOND * before).any())
