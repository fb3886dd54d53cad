"""Geometries that no molecule has, and those that are odd and allowed; SMILES that are not of their geometry."""

from __future__ import annotations

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import AllChem

from qmgen.constants import BOHR_TO_ANGSTROM
from qmgen.molecules.connectivity import bonds_problem, near_pairs
from qmgen.molecules.entries import from_geometry, from_molecule
from qmgen.molecules.geometry import (
    COVALENT_RADII,
    MOST_ATOMS,
    SYMBOLS,
    bohr_from,
    bohr_from_angstrom,
    given_geometry_problem,
    stored_precision,
    unit_of_length,
)
from qmgen.molecules.types import Failure, Molecule, Reason


def embedded(smiles: str) -> tuple[np.ndarray, np.ndarray]:
    """Atomic numbers (atoms,) and positions (atoms, 3) in Bohr, in the order of RDKit."""
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    assert AllChem.EmbedMolecule(mol, randomSeed=7) == 0
    AllChem.MMFFOptimizeMolecule(mol)
    numbers = np.array([atom.GetAtomicNum() for atom in mol.GetAtoms()])
    return numbers, bohr_from_angstrom(mol.GetConformer().GetPositions())


def two(first: str, second: str, angstrom: float) -> tuple[np.ndarray, np.ndarray]:
    numbers = np.array([SYMBOLS.index(first), SYMBOLS.index(second)])
    return numbers, bohr_from_angstrom(np.array([[0.0, 0, 0], [0, 0, angstrom]]))


def problem(numbers: np.ndarray, positions: np.ndarray) -> tuple[Reason, str] | None:
    return given_geometry_problem(numbers, positions)[0]


def test_covalent_radii_are_those_of_rdkit():
    table = Chem.GetPeriodicTable()
    assert len(COVALENT_RADII) == len(SYMBOLS)
    assert list(COVALENT_RADII[1:]) == pytest.approx([table.GetRcovalent(z) for z in range(1, len(SYMBOLS))], abs=6e-3)


@pytest.mark.parametrize(
    ("pair", "angstrom"),
    [("HH", 0.4), ("HH", 0.74), ("HH", 10.0), ("BH", 0.9), ("CH", 0.7), ("CC", 1.1), ("CC", 1.6), ("NN", 0.75)]
    + [("CO", 0.8), ("FH", 0.5), ("CO", 50.0), ("OO", 0.9)],
)
def test_bonds_of_scans_are_labeled(pair, angstrom):
    assert problem(*two(*pair, angstrom)) is None


@pytest.mark.parametrize(
    ("pair", "angstrom", "reason"),
    [("CH", 0.577, Reason.BAD_COORDINATES), ("OH", 0.508, Reason.BAD_COORDINATES)]
    + [("NN", 0.581, Reason.BAD_COORDINATES), ("CC", 0.7, Reason.BAD_COORDINATES)]
    + [("HH", 0.3, Reason.BAD_COORDINATES), ("HH", 0.09, Reason.COINCIDENT_ATOMS)],
)
def test_atoms_nearer_than_bonds_are_refused(pair, angstrom, reason):
    found, detail = problem(*two(*pair, angstrom))
    assert found is reason and f"{angstrom:.3f} Angstrom apart" in detail
    assert (reason is Reason.COINCIDENT_ATOMS) or "unit" in detail


@pytest.mark.parametrize(
    "smiles", ["CCO", "O", "N", "c1ccccc1", "FC(F)(F)F", "ClC(Cl)(Cl)Cl", "CS", "B", "CC#N", "O=C=O"]
)
def test_angstrom_taken_for_bohr(smiles):
    numbers, positions = embedded(smiles)
    assert problem(numbers, positions) is None
    reason, detail = problem(numbers, stored_precision(positions * BOHR_TO_ANGSTROM))
    assert reason is Reason.BAD_COORDINATES and "check the unit" in detail


def test_more_atoms_than_are_read():
    grid = np.array([(x, y, 0.0) for x in range(80) for y in range(80)]) * 6.0
    numbers = np.full(len(grid), 2)
    assert problem(numbers[:MOST_ATOMS], grid[:MOST_ATOMS]) is None
    reason, detail = problem(numbers, grid)
    assert reason is Reason.UNREADABLE and "6400 atoms" in detail


@pytest.mark.parametrize(
    ("unit", "angstrom"),
    [
        ("Bohr", BOHR_TO_ANGSTROM),
        ("a.u.", BOHR_TO_ANGSTROM),
        ("Atomic units", BOHR_TO_ANGSTROM),
        ("a0", BOHR_TO_ANGSTROM),
    ]
    + [("Angstrom", 1.0), ("Å", 1.0), ("\u212b", 1.0), ("ang", 1.0), ("nm", 10.0), ("pm", 0.01)]
    + [("bohr radius", BOHR_TO_ANGSTROM), ("a_0", BOHR_TO_ANGSTROM), ("atomic", BOHR_TO_ANGSTROM), ("Angstroem", 1.0)],
)
def test_units_of_length(unit, angstrom):
    assert unit_of_length(unit) and bohr_from(np.array([1.4]), unit)[0] == pytest.approx(
        1.4 * angstrom / BOHR_TO_ANGSTROM
    )
    assert unit_of_length(f"1/{unit}") is None and unit_of_length("") is None


def described(smiles: str, numbers: np.ndarray, positions: np.ndarray) -> Molecule | Failure:
    return from_geometry(Molecule(0, "", smiles), numbers, positions, as_given=True)


@pytest.mark.parametrize(
    ("geometry", "smiles"),
    [("CCO", "OCC"), ("C[C@H](N)C(=O)O", "CC(N)C(=O)O"), ("[O-][N+](=O)c1ccccc1", "O=[N+]([O-])c1ccccc1")]
    + [("C1C2CC1C2", "C1C2CC1C2"), ("[H][H]", "[H][H]"), ("FF", "FF"), ("O=S(=O)(O)O", "OS(O)(=O)=O"), ("OO", "OO")],
)
def test_smiles_of_the_geometry(geometry, smiles):
    entry = described(smiles, *embedded(geometry))
    assert isinstance(entry, Molecule) and entry.smiles == Chem.CanonSmiles(smiles)


@pytest.mark.parametrize(
    ("geometry", "smiles", "says"),
    [("CCO", "CC=O", "C2H4O, the geometry C2H6O"), ("CCO", "CCO.O", "C2H8O2"), ("CCO", "COC", "bonds")]
    + [
        ("COC", "CCO", "bonds"),
        ("C1CCC1", "C=CCC", "bonds"),
        ("C=CCC", "C1CCC1", "bonds"),
        ("C=CC=C", "C1=CCC1", "bonds"),
    ]
    + [
        ("CC(C)CC", "CC(C)(C)C", "bonds"),
        ("CC=CC", "C=CCC", "bonds"),
        ("OC=C", "CC=O", "bonds"),
        ("c1ccccc1", "C1=CC2C=CC12", "bonds"),
    ],
)
def test_smiles_of_another_molecule(geometry, smiles, says):
    entry = described(smiles, *embedded(geometry))
    assert isinstance(entry, Failure) and entry.reason is Reason.SMILES_MISMATCH and says in entry.detail, entry


@pytest.mark.parametrize("text", ["none", "hello world", "CC(", "Ä", "C\nC", "1", "C" * 5000])
def test_text_that_is_no_smiles(text):
    entry = described(text, *embedded("C"))
    assert isinstance(entry, Failure) and entry.reason is Reason.UNREADABLE
    assert "SMILES" in entry.detail and "\n" not in entry.detail


def ring(apart: float, heavy: str, bond: float, light: str, hydrogens: float = 0.0) -> tuple[str, list[list[float]]]:
    """Symbols and positions (Angstrom) of a ring of two heavy atoms, ``apart``, and two light ones; two hydrogens at
    each heavy atom where their bonds have a length."""
    x = apart / 2
    y = float(np.sqrt(bond**2 - x**2))
    symbols, at = f"{heavy} {heavy} {light} {light}", [[x, 0, 0], [-x, 0, 0], [0, y, 0], [0, -y, 0]]
    for sign in (1, -1) if hydrogens else ():
        outwards, up = hydrogens * np.cos(np.radians(55)), hydrogens * np.sin(np.radians(55))
        symbols += " H H"
        at += [[sign * (x + outwards), 0, up], [sign * (x + outwards), 0, -up]]
    return symbols, at


#: contacts of Si and S without a bond: symbols, positions in Angstrom, SMILES and whether it has hydrogens of N besides
CONTACTS = {
    "cyclodisiloxane": (*ring(2.40, "Si", 1.68, "O", 1.48), "[SiH2]1O[SiH2]O1"),
    "S2N2": (*ring(2.34, "S", 1.654, "N"), "N1=S=NS1"),
    "trithiapentalene": (
        "S S S C C C C C H H H H",
        [[-2.36, 0, 0], [0, 0, 0], [2.36, 0, 0], [0, 1.75, 0], [1.23, 2.45, 0], [2.45, 1.68, 0], [-1.23, 2.45, 0]]
        + [[-2.45, 1.68, 0], [1.23, 3.53, 0], [3.35, 2.28, 0], [-1.23, 3.53, 0], [-3.35, 2.28, 0]],
        "S=CC=C1C=CSS1",
    ),
}


def placed(symbols: str, at: list[list[float]]) -> tuple[np.ndarray, np.ndarray]:
    numbers = np.array([SYMBOLS.index(symbol) for symbol in symbols.split()])
    return numbers, stored_precision(np.array(at) / BOHR_TO_ANGSTROM)


@pytest.mark.parametrize("name", CONTACTS)
def test_contacts_of_heavy_atoms_are_no_bonds(name):
    symbols, at, smiles = CONTACTS[name]
    numbers, positions = placed(symbols, at)
    entry = described(smiles, numbers, positions)
    assert isinstance(entry, Molecule), entry
    pairs = {pair for share, pair in near_pairs(numbers, positions) if share < 1.05}
    assert bonds_problem(numbers, positions, pairs) is None
    reason, detail = bonds_problem(numbers, positions, sorted(pairs)[1:])
    assert reason is Reason.SMILES_MISMATCH and "with no bond between" in detail


@pytest.mark.parametrize(
    ("symbols", "at", "missing"),
    [
        ("H S S H", [[0.96, 0, 0.93], [0, 0, 1.03], [0, 0, -1.03], [0, 0.96, -0.93]], (1, 2)),
        ("C S S H H", [[0, 1.4, 0], [1.035, 0, 0], [-1.035, 0, 0], [0, 2, 0.9], [0, 2, -0.9]], (1, 2)),
        ("P P P P", [[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], (0, 3)),
        ("Si Si", [[0, 0, 0], [0, 0, 2.35]], (0, 1)),
        ("O Se Se", [[0, 1.4, 0], [1.17, 0, 0], [-1.17, 0, 0]], (1, 2)),
    ],
)
def test_missing_bonds_of_heavy_atoms_are_seen(symbols, at, missing):
    scale = 2.21 / np.sqrt(8) if symbols == "P P P P" else 1.0
    numbers, positions = placed(symbols, (scale * np.array(at)).tolist())
    pairs = {pair for share, pair in near_pairs(numbers, positions) if share < 1.15}
    assert missing in pairs and bonds_problem(numbers, positions, pairs) is None
    reason, detail = bonds_problem(numbers, positions, pairs - {missing})
    assert reason is Reason.SMILES_MISMATCH and f"atoms {missing[0] + 1} " in detail and f"{missing[1] + 1} (" in detail


@pytest.mark.parametrize("angstrom", [0.5, 1.0, 1.5, 8.0])
def test_a_bond_that_a_scan_stretches_keeps_its_smiles(angstrom):
    numbers, positions = embedded("CC")
    axis = positions[1] - positions[0]
    moved = [1, *(at for at in range(2, 8) if np.linalg.norm(positions[at] - positions[1]) < 2.5)]
    positions[moved] += axis / np.linalg.norm(axis) * angstrom / BOHR_TO_ANGSTROM
    assert isinstance(described("CC", numbers, stored_precision(positions)), Molecule)


def test_h2_of_ten_angstrom_keeps_its_smiles():
    assert isinstance(described("[H][H]", *two("H", "H", 10.0)), Molecule)


@pytest.mark.parametrize(
    ("smiles", "factor"), [("CCO", 1 / BOHR_TO_ANGSTROM), ("N", 1 / BOHR_TO_ANGSTROM), ("CCO", 100.0)]
)
def test_geometry_that_is_too_large_for_its_smiles(smiles, factor):
    numbers, positions = embedded(smiles)
    entry = described(smiles, numbers, stored_precision(positions * factor))
    assert isinstance(entry, Failure) and entry.reason is Reason.BAD_COORDINATES and "unit" in entry.detail


@pytest.mark.parametrize("smiles", ["C12C3C4C1C5C4C3C25", "CC(C)(C)C(C)(C)C", "C1C2CC3CC1CC(C2)C3"])
def test_the_order_of_the_atoms_does_not_matter(smiles):
    numbers, positions = embedded(smiles)
    order = np.random.default_rng(1).permutation(len(numbers))
    assert isinstance(described(smiles, numbers[order], positions[order]), Molecule)


def test_molecules_of_a_program_are_checked_alike():
    numbers, positions = embedded("CCO")
    made = Molecule(0, "", "COC", numbers.astype(np.uint8), positions)
    entry = from_molecule(3, made)
    assert isinstance(entry, Failure) and entry.reason is Reason.SMILES_MISMATCH and entry.molecule_id == 3
