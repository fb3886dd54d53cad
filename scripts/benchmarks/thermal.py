"""Geometries of a molecule as of a temperature, by Langevin dynamics in a force field; and as a multi-frame ``.xyz``,
which ``read_xyz`` gives back to the last bit.

>>> made = thermal_geometries("CCO", 500, (300.0, 500.0), seed=0)
>>> made.conformers[7].positions                      # Bohr, as the corpus stores them

The field is MMFF94, or UFF where MMFF94 has no parameters. Each trajectory has a temperature of its own, begins at an
embedding of its own, relaxed, and gives ``PER_TRAJECTORY`` geometries; all it does is settled by the seed, the molecule
and its number. So the first 100 geometries of 500 are those that 100 alone would be.

The integrator is BAOAB: kick, drift, friction and noise (exact), drift, kick. In a harmonic well its positions have
exactly the variance k_B T / k at any stable step; velocities are colder by (1 - ω² dt² / 4) in a vibration ω.

References:
B. Leimkuhler, C. Matthews, Appl. Math. Res. eXpress 2013, 34 (2013).

Units of the dynamics: Angstrom, femtosecond, atomic mass unit (Dalton), kcal/mol (that of a calorie of 4.184 J),
Kelvin.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count as count_from
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from qmgen import files
from qmgen.constants import BOHR_TO_ANGSTROM
from qmgen.errors import UsageError
from qmgen.molecules import embedding
from qmgen.molecules.embedding import EmbeddingRefused
from qmgen.molecules.geometry import bohr_from_angstrom, geometry_problem, symbol_of
from qmgen.molecules.smiles import elements_of, from_smiles, quiet_chem
from qmgen.molecules.stated_charge import has_statement
from qmgen.molecules.types import Conformer, Failure, Molecule, Reason

#: the molar gas constant of CODATA 2018, 8.31446261815324 J/(mol K), in kcal/(mol K)
BOLTZMANN: Final = 8.31446261815324 / 4184.0
#: 1 kcal/mol/Angstrom over 1 Dalton is 4184 J/mol / (1e-10 m · 1e-3 kg/mol) = 4.184e16 m/s², in Angstrom/fs²
ACCELERATION: Final = 4184.0 / 1e7
#: a vibration of X-H takes about nine femtoseconds
TIME_STEP: Final = 0.5
FRICTION: Final = 0.02

#: flat coordinates (3 N,) to the flat derivatives of the energy, kcal/mol/Angstrom
Gradient = Callable[[list[float]], Sequence[float]]


class LangevinState(NamedTuple):
    """``positions`` and ``velocities`` (N, 3), Angstrom and Angstrom/fs."""

    positions: np.ndarray
    velocities: np.ndarray


def kinetic_energy(velocities: np.ndarray, masses: np.ndarray) -> float:
    """kcal/mol, of velocities (N, 3) and masses (N,)."""
    return float(0.5 * (masses[:, None] * velocities**2).sum() / ACCELERATION)


def dynamics(
    gradient: Gradient,
    positions: np.ndarray,
    masses: np.ndarray,
    temperature: float,
    random: np.random.Generator,
    stride: int,
    time_step: float = TIME_STEP,
    friction: float = FRICTION,
) -> Iterator[LangevinState]:
    """The state after every ``stride`` steps, without end, from ``positions`` (N, 3) and velocities of Maxwell's.

    The motion of the center of mass is not taken out. What runs away gives numbers that are not finite, no exception.
    """
    weights = np.repeat(np.asarray(masses, dtype=np.float64), 3)
    thermal = np.sqrt(BOLTZMANN * temperature * ACCELERATION / weights)
    kick = 0.5 * time_step * ACCELERATION / weights
    drift = 0.5 * time_step
    kept = np.exp(-friction * time_step)
    noise = np.sqrt(1.0 - kept**2) * thermal
    x = np.array(positions, dtype=np.float64).ravel()
    v = thermal * random.standard_normal(len(x))
    shove = -kick * np.asarray(gradient(x.tolist()))
    while True:
        with np.errstate(over="ignore", invalid="ignore"):
            for push in noise * random.standard_normal((stride, len(x))):
                v += shove
                x += drift * v
                v *= kept
                v += push
                x += drift * v
                shove = -kick * np.asarray(gradient(x.tolist()))
                v += shove
        yield LangevinState(x.reshape(-1, 3).copy(), v.reshape(-1, 3).copy())


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
    field, numbers = _field_name(mol), elements_of(mol)
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


@dataclass(frozen=True)
class Written:
    """What came of a file; ``refused`` are molecules that have no geometry in it."""

    geometries: int
    molecules: int
    discarded: int
    refused: int


def write_thermal(
    entries: Iterable[Molecule | Failure],
    out: Path,
    count: int,
    temperatures: tuple[float, float],
    seed: int,
    refuse: Callable[[str, str], None],
) -> Written:
    """``count`` geometries of each molecule in Angstrom, one after the other; the file is whole or not there at all.

    The comment of a frame holds name (the SMILES where there is none), SMILES, temperature in Kelvin, force field and
    seed. ``refuse`` gets the name or SMILES, and the reason, of each molecule that has none. A geometry that an entry
    comes with is not used. Raises ``UsageError`` when nothing is left, or ``out`` cannot be written.
    """
    geometries = molecules = discarded = refused = 0
    try:
        with files.replacing(out.parent, out.name, make=False) as stream:
            for place, entry in enumerate(entries):
                try:
                    if isinstance(entry, Failure):
                        raise EmbeddingRefused(entry.detail, entry.reason)
                    made = thermal_geometries(entry.smiles, count, temperatures, seed, entry.name, place)
                except EmbeddingRefused as error:
                    refuse(entry.name or entry.smiles, f"{error.reason.value}: {error}")
                    refused += 1
                    continue
                for conformer, temperature in zip(made.conformers, made.temperatures, strict=True):
                    recipe = f"temperature_K={temperature:.2f} force_field={made.field} seed={seed}"
                    stream.write(frame(conformer, recipe).encode())
                geometries += len(made.conformers)
                molecules += 1
                discarded += made.discarded
            if not geometries:
                raise UsageError(f"none of {refused} molecules has a geometry: {out} is not written")
    except OSError as error:
        raise UsageError(f"cannot write {out}: {error.strerror or error}; choose another --out") from error
    return Written(geometries, molecules, discarded, refused)


def frame(conformer: Conformer, recipe: str) -> str:
    """A frame of an ``.xyz`` file, positions in Angstrom; the comment ends with ``recipe``."""
    # a quote would end the name, a backslash before one too; and the reader takes "charge=1" in a name for a charge
    name = " ".join((conformer.name or conformer.smiles).split()).replace('"', "'")
    name = re.sub("[=:]", "-", name) if has_statement(name) else name
    name = re.sub(r"\\(?=[\\'\"]|$)", r"\\\\", name)
    lines = [f"{len(conformer.numbers)}", f'name="{name}" smiles="{conformer.smiles}" {recipe}']
    for number, at in zip(conformer.numbers, np.asarray(conformer.positions) * BOHR_TO_ANGSTROM, strict=True):
        lines.append(" ".join([symbol_of(int(number)), *(f"{x:.13g}" for x in at)]))
    return "\n".join(lines) + "\n"
