"""RDKit's and ASE's objects as molecules: the right geometry, or a refusal that says why."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import AllChem

from qmgen.constants import BOHR_TO_ANGSTROM
from qmgen.molecules.readers.objects import entries_of, is_one
from qmgen.molecules.types import Failure, Molecule


def embedded(smiles: str, conformers: int = 1) -> Any:
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    AllChem.EmbedMultipleConfs(mol, conformers, randomSeed=7)
    return mol


def entries(given: object) -> list[Molecule | Failure]:
    found = entries_of(4, given)
    assert found is not None and all(entry.molecule_id == 4 for entry in found)
    return found


@pytest.mark.parametrize("smiles", ["CCO", "c1ccccc1O", "C[C@H](N)C(=O)O", "C[N+](=O)[O-]", "F/C=C/F"])
def test_a_mol_without_conformers_is_its_smiles(smiles: str) -> None:
    mol = Chem.MolFromSmiles(smiles)
    for given in (mol, Chem.AddHs(mol)):
        (entry,) = entries(given)
        assert isinstance(entry, Molecule) and entry.positions is None
        assert entry.smiles == Chem.CanonSmiles(smiles)


def test_a_drawing_is_its_smiles() -> None:
    mol = Chem.MolFromSmiles("CCO")
    AllChem.Compute2DCoords(mol)
    (entry,) = entries(mol)
    assert isinstance(entry, Molecule) and entry.positions is None and entry.smiles == "CCO"


@pytest.mark.parametrize("smiles", ["CCO", "Oc1ccccc1", "C[C@H](N)C(=O)O", "F/C=C/F"])
def test_conformers_are_used_as_they_are(smiles: str) -> None:
    mol = embedded(smiles, 3)
    order = list(np.random.default_rng(3).permutation(mol.GetNumAtoms()))
    mol = Chem.RenumberAtoms(mol, [int(place) for place in order])
    mol.SetProp("_Name", "mine")
    found = entries(mol)
    assert [entry.conformer_id for entry in found] == [0, 1, 2]
    for entry, conformer in zip(found, mol.GetConformers(), strict=True):
        assert isinstance(entry, Molecule) and entry.name == "mine" and entry.smiles == Chem.CanonSmiles(smiles)
        assert entry.numbers is not None and entry.positions is not None
        assert entry.numbers.tolist() == [atom.GetAtomicNum() for atom in mol.GetAtoms()]
        np.testing.assert_allclose(entry.positions * BOHR_TO_ANGSTROM, conformer.GetPositions(), atol=1e-6)


def test_labels_of_atoms_make_no_molecule() -> None:
    mol = embedded("CO")
    for atom in mol.GetAtoms():
        atom.SetAtomMapNum(atom.GetIdx() + 1)
        atom.SetIsotope(2 * atom.GetAtomicNum())
    before = Chem.MolToSmiles(mol)
    (entry,) = entries(mol)
    assert entry.smiles == "CO" and Chem.MolToSmiles(mol) == before


def of_geometry(smiles: str, explicit: bool = True) -> Any:
    mol = embedded(smiles)
    return mol if explicit else Chem.RemoveHs(mol)


def flat() -> Any:
    mol = embedded("CC")
    for place in range(mol.GetNumAtoms()):
        x, y, _ = mol.GetConformer().GetAtomPosition(place)
        mol.GetConformer().SetAtomPosition(place, (x, y, 0.0))
    return mol


def unsound() -> Any:
    mol = Chem.RWMol(embedded("C"))
    place = mol.AddAtom(Chem.Atom(1))
    mol.AddBond(0, place, Chem.BondType.SINGLE)
    return mol


@pytest.mark.parametrize(
    ("given", "reason", "detail"),
    [
        (of_geometry("CCO", explicit=False), "bad_coordinates", "6 hydrogens have no position"),
        (of_geometry("C[NH3+]"), "net_charge", "+1"),
        (of_geometry("[CH3]"), "odd_electrons", "odd number of electrons"),
        (flat(), "bad_coordinates", "a flat drawing"),
        (unsound(), "unreadable", "RDKit molecule: "),
        (Chem.MolFromSmiles("[Na+]"), "net_charge", "+1"),
        (Chem.Mol(), "unreadable", "no SMILES"),
        (None, "unreadable", "None stands where a molecule should"),
    ],
)  # fmt: skip
def test_what_cannot_be_labeled_is_refused_by_name(given: Any, reason: str, detail: str) -> None:
    (entry,) = entries(given)
    assert isinstance(entry, Failure) and entry.reason == reason and detail in entry.detail


def stating(smiles: str, key: str, value: object, conformers: bool = True) -> Any:
    mol = embedded(smiles) if conformers else Chem.MolFromSmiles(smiles)
    set_one = {int: mol.SetIntProp, float: mol.SetDoubleProp, bool: mol.SetBoolProp, str: mol.SetProp}[type(value)]
    set_one(key, value)
    return mol


def drawn(smiles: str) -> Any:
    """All atoms in one plane, and marked as a geometry."""
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    AllChem.Compute2DCoords(mol)
    mol.GetConformer().Set3D(True)
    return mol


def scaled(smiles: str, factor: float) -> Any:
    mol = embedded(smiles)
    mol.GetConformer().SetPositions(factor * mol.GetConformer().GetPositions())
    return mol


def swapped(smiles: str, first: int, second: int) -> Any:
    """Two atoms at the place of one another, so that the bonds are those of another geometry."""
    mol = embedded(smiles)
    positions = mol.GetConformer().GetPositions()
    positions[[first, second]] = positions[[second, first]]
    mol.GetConformer().SetPositions(positions)
    return mol


@pytest.mark.parametrize(
    ("given", "reason", "detail"),
    [
        (drawn("CCO"), "bad_coordinates", "a flat drawing"),
        (drawn("N"), "bad_coordinates", "a flat drawing"),
        (drawn("c1ccccc1"), "bad_coordinates", "a flat drawing"),
        (scaled("CCO", 1 / BOHR_TO_ANGSTROM), "bad_coordinates", "check the unit"),
        (scaled("CCC", 100.0), "bad_coordinates", "check the unit"),
        (swapped("CCO", 0, 2), "smiles_mismatch", "no bond between"),
        (swapped("CC#N", 0, 2), "smiles_mismatch", "no bond between"),
        (stating("O", "Charge", 1), "unreadable", "contradict one another"),
        (stating("O", "Charge", "1"), "unreadable", "contradict one another"),
        (stating("O", "multiplicity", 3), "odd_electrons", "multiplicity 3"),
        (stating("O", "multiplicity", "3", conformers=False), "odd_electrons", "multiplicity 3"),
        (stating("CCO", "total_charge", -1.0, conformers=False), "unreadable", "contradict"),
    ],
)
def test_the_checks_of_a_record_of_sdf_hold_for_conformers(given: Any, reason: str, detail: str) -> None:
    (entry,) = entries(given)
    assert isinstance(entry, Failure) and entry.reason == reason and detail in entry.detail, entry


@pytest.mark.parametrize(
    ("key", "value"),
    [("Charge", 0), ("charge", "0"), ("multiplicity", 1), ("spin", 0), ("Charge", ""), ("logP", 1.5), ("note", "+2")]
    + [("PUBCHEM_TOTAL_CHARGE", "0"), ("PUBCHEM_MMFF94_PARTIAL_CHARGES", "3\n1 -0.6\n2 0.3\n3 0.3"), ("ok", True)],
)
@pytest.mark.parametrize("conformers", [True, False])
def test_properties_that_state_a_neutral_singlet_or_nothing(key: str, value: Any, conformers: bool) -> None:
    (entry,) = entries(stating("O", key, value, conformers))
    assert isinstance(entry, Molecule) and entry.smiles == "O", entry


@pytest.mark.parametrize(
    "smiles", ["O=C=O", "c1ccccc1", "C=C", "O=CO", "NC=O", "[H][H]", "C12C3C4C1C5C4C3C25", "CS(=O)(=O)C"]
)
def test_sound_conformers_are_read(smiles: str) -> None:
    (entry,) = entries(embedded(smiles))
    assert isinstance(entry, Molecule) and entry.smiles == Chem.CanonSmiles(smiles)


class Atoms:
    """As much of ASE's class as counts: the methods, in Angstrom, and ``info``. It is a sequence, as ASE's is."""

    def __init__(self, numbers: list, positions: Any, pbc: Any = False, **more: Any) -> None:
        self.numbers, self.positions, self.pbc = numbers, positions, pbc
        self.charges, self.moments = more.pop("charges", None), more.pop("moments", None)
        self.info = more

    def get_atomic_numbers(self) -> np.ndarray:
        return np.array(self.numbers)

    def get_positions(self) -> np.ndarray:
        return np.array(self.positions, dtype=float)

    def get_pbc(self) -> np.ndarray:
        return np.array([self.pbc] * 3 if isinstance(self.pbc, bool) else self.pbc)

    def get_initial_charges(self) -> np.ndarray:
        return np.zeros(len(self.numbers)) if self.charges is None else np.array(self.charges)

    def get_initial_magnetic_moments(self) -> np.ndarray:
        return np.zeros(len(self.numbers)) if self.moments is None else np.array(self.moments)

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, place: int) -> int:
        return self.numbers[place]


WATER = [[0.0, 0.0, 0.119], [0.0, 0.763, -0.477], [0.0, -0.763, -0.477]]


@pytest.mark.parametrize(
    "more",
    [
        {}, {"charge": 0}, {"charge": 0, "spin": 1}, {"charge": 0.0, "spin": 0}, {"multiplicity": 1},
        {"charges": [-0.6, 0.3, 0.3]}, {"charges": [-0.8, 0.41, 0.4]},
        {"moments": [1e-12, 0.0, 0.0]}, {"charge": 0, "multiplicity": 1, "moments": [1.0, -1.0, 0.0]},
        {"energy": -76.0, "total_charge": "0"}, {"charge": "neutral"}, {"uhf": 0},
        {"charge": None}, {"spin_hint": ""},
    ],
    ids=str,
)  # fmt: skip
def test_the_atoms_of_ase(more: dict[str, Any]) -> None:
    atoms = Atoms([8, 1, 1], WATER, name="water", **more)
    assert is_one(atoms)
    (entry,) = entries(atoms)
    assert isinstance(entry, Molecule) and entry.name == "water" and entry.smiles == ""
    assert entry.numbers is not None and entry.numbers.tolist() == [8, 1, 1] and entry.numbers.dtype == np.uint8
    np.testing.assert_allclose(entry.positions, np.array(WATER) / BOHR_TO_ANGSTROM, atol=1e-6)


@pytest.mark.parametrize(
    ("more", "reason", "detail"),
    [
        ({"charge": 1}, "net_charge", "+1"),
        ({"total_charge": -2}, "net_charge", "-2"),
        ({"charges": [-1.0, 0.0, 0.0]}, "net_charge", "-1"),
        ({"charges": [-0.5, 0.0, 0.0]}, "unreadable", "-0.5"),
        ({"charge": 0, "charges": [1.0, 0.0, 0.0]}, "unreadable", "contradict one another"),
        ({"charge": 0.5}, "unreadable", 'charge=0.5" is no charge'),
        ({"charge": "half"}, "unreadable", "charge=half"),
        ({"Charge": 1}, "net_charge", "+1"),
        ({"charge_state": "high"}, "unreadable", "charge_state=high"),
        ({"qm": {"charge": 1}}, "net_charge", "+1"),
        ({"n_unpaired": 2}, "odd_electrons", "multiplicity 3"),
        ({"note": "a triplet"}, "odd_electrons", "multiplicity 3"),
        ({"charge": 0, "spin": 3}, "odd_electrons", "multiplicity 3"),
        ({"multiplicity": 2}, "unreadable", "does not go with 10 electrons"),
        ({"moments": [1.0, 0.0, 0.0]}, "unreadable", "magmoms=[1"),
        ({"charges": [0.4, 0.0, 0.0]}, "unreadable", "sum 0.4"),
        ({"pbc": True}, "unreadable", "a periodic cell"),
        ({"pbc": [True, False, False]}, "unreadable", "a periodic cell"),
    ],
    ids=str,
)
def test_a_charge_a_spin_or_a_cell_that_ase_states_is_not_passed_over(
    more: dict[str, Any], reason: str, detail: str
) -> None:
    (entry,) = entries(Atoms([8, 1, 1], WATER, **more))
    assert isinstance(entry, Failure) and (entry.reason, entry.conformer_id) == (reason, 0) and detail in entry.detail


@pytest.mark.parametrize(
    ("numbers", "positions", "reason"),
    [
        ([1], [[0, 0, 0]], "odd_electrons"),
        ([0, 1], [[0, 0, 0], [0, 0, 1]], "unsupported_element"),
        ([1, 1], [[0, 0, 0], [0, 0, np.nan]], "bad_coordinates"),
        ([1, 1], [[0, 0, 0], [0, 0, 0]], "coincident_atoms"),
        ([], np.zeros((0, 3)), "unreadable"),
    ],
)
def test_atoms_are_checked_as_in_a_file(numbers: list, positions: Any, reason: str) -> None:
    (entry,) = entries(Atoms(numbers, positions))
    assert isinstance(entry, Failure) and entry.reason == reason


@pytest.mark.parametrize(
    "given", [3, b"CCO", {"smiles": "C"}, object(), ["CCO"], Atoms], ids=lambda given: type(given).__name__
)
def test_anything_else_is_no_molecule(given: object) -> None:
    assert entries_of(0, given) is None and not is_one(given)
