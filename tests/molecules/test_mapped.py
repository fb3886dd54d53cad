"""A molecule can be rebuilt from its mapped SMILES and its positions, in the order of its atoms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rdkit import Chem
from rdkit.Chem import AllChem, rdDetermineBonds

from qmgen.constants import BOHR_TO_ANGSTROM
from qmgen.molecules.embedding import Procedure
from qmgen.molecules.embedding_pool import conformers
from qmgen.molecules.entries import mapped_smiles, with_bonds
from qmgen.molecules.readers.objects import entries_of
from qmgen.molecules.types import Conformer, Failure, Molecule

SMILES = [
    "Oc1ccccc1", "C", "[H][H]", "C[C@H](N)C(=O)O", "C[C@@H](N)C(=O)O", "F/C=C/F", "F/C=C\\F", "C[N+](=O)[O-]",
    "c1cc[nH]c1", "C[C@H]1CC[C@@H](O)C1", "OO", "[C-]#[O+]", "C/C=N/O", "O=S(=O)(C)C", "CC(=O)Oc1ccccc1C(=O)O",
]  # fmt: skip


def rebuilt(text: str) -> Any:
    """As the card of a corpus says."""
    parameters = Chem.SmilesParserParams()
    parameters.removeHs = False
    mol = Chem.MolFromSmiles(text, parameters)
    order = sorted(range(mol.GetNumAtoms()), key=lambda i: mol.GetAtomWithIdx(i).GetAtomMapNum())
    mol = Chem.RenumberAtoms(mol, order)
    assert [atom.GetAtomMapNum() for atom in mol.GetAtoms()] == list(range(1, mol.GetNumAtoms() + 1))
    return mol


def canonical(mol: Any) -> str:
    mol = Chem.Mol(mol)
    for atom in mol.GetAtoms():
        atom.SetAtomMapNum(0)
    return Chem.CanonSmiles(Chem.MolToSmiles(Chem.RemoveHs(mol)))


def shuffled(smiles: str, seed: int = 1) -> Any:
    """The molecule with hydrogens and a geometry, its atoms in an order of chance."""
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    assert AllChem.EmbedMolecule(mol, randomSeed=7) == 0
    order = np.random.default_rng(seed).permutation(mol.GetNumAtoms())
    return Chem.RenumberAtoms(mol, [int(place) for place in order])


def bonds(mol: Any) -> set[tuple[int, int, str]]:
    """Pairs of places and orders, with aromatic rings as such."""
    return {
        (*sorted((bond.GetBeginAtomIdx(), bond.GetEndAtomIdx())), str(bond.GetBondType())) for bond in mol.GetBonds()
    }  # type: ignore[misc]


def assert_is(mol: Any, text: str, smiles: str) -> None:
    back = rebuilt(text)
    assert [atom.GetAtomicNum() for atom in back.GetAtoms()] == [atom.GetAtomicNum() for atom in mol.GetAtoms()]
    assert bonds(back) == bonds(mol)
    assert [atom.GetFormalCharge() for atom in back.GetAtoms()] == [atom.GetFormalCharge() for atom in mol.GetAtoms()]
    assert canonical(back) == Chem.CanonSmiles(smiles)


@pytest.mark.parametrize("smiles", SMILES)
def test_records_of_sdf_keep_their_order_and_bonds(read: Any, smiles: str) -> None:
    mol = shuffled(smiles)
    (entry,) = read("a.sdf", Chem.MolToMolBlock(mol) + "$$$$\n")
    assert isinstance(entry, Molecule) and entry.numbers is not None and entry.positions is not None
    assert entry.numbers.tolist() == [atom.GetAtomicNum() for atom in mol.GetAtoms()]
    np.testing.assert_allclose(entry.positions * BOHR_TO_ANGSTROM, mol.GetConformer().GetPositions(), atol=1e-4)
    assert_is(mol, entry.mapped_smiles, entry.smiles)


@pytest.mark.parametrize("smiles", SMILES)
def test_embedded_conformers_have_their_bonds(smiles: str) -> None:
    (made,) = conformers([Molecule(0, "", Chem.CanonSmiles(smiles))], 1, 0, in_process=True)
    assert isinstance(made, Conformer)
    mol = rebuilt(made.mapped_smiles)
    assert [atom.GetAtomicNum() for atom in mol.GetAtoms()] == made.numbers.tolist()
    assert canonical(mol) == made.smiles
    # the bonds are where the atoms are: within 1.4 times the sum of covalent radii, and nothing else is
    table = Chem.GetPeriodicTable()
    places = made.positions * BOHR_TO_ANGSTROM
    radii = np.array([table.GetRcovalent(int(number)) for number in made.numbers])
    near = np.linalg.norm(places[:, None] - places[None], axis=-1) < 1.3 * (radii[:, None] + radii[None])
    assert {(i, j) for i, j in zip(*np.nonzero(near)) if i < j} == {pair[:2] for pair in bonds(mol)}


def test_isomers_have_their_own(read: Any) -> None:
    found = conformers([Molecule(0, "", "CC(F)O")], 1, 0, in_process=True, procedure=Procedure(stereo="enumerate"))
    made = [one for one in found if isinstance(one, Conformer)]
    assert [canonical(rebuilt(one.mapped_smiles)) for one in made] == [one.smiles for one in made]
    assert len({one.smiles for one in made}) == 2


def test_several_molecules_in_one_record(read: Any) -> None:
    mol = shuffled("O.C")
    at = mol.GetConformer()
    for place in Chem.GetMolFrags(mol)[1]:  # the embedding puts both in one place
        x, y, z = at.GetAtomPosition(place)
        at.SetAtomPosition(place, (x + 5, y, z))
    (entry,) = read("a.sdf", Chem.MolToMolBlock(mol) + "$$$$\n")
    assert_is(mol, entry.mapped_smiles, "C.O")


@pytest.mark.parametrize("smiles", ["Oc1ccccc1", "C[C@H](N)C(=O)O"])
def test_objects_of_rdkit_have_their_bonds(smiles: str) -> None:
    mol = shuffled(smiles)
    (entry,) = entries_of(0, mol) or []
    assert isinstance(entry, Molecule)
    assert_is(mol, entry.mapped_smiles, smiles)


def test_bare_geometries_have_none(read: Any) -> None:
    (entry,) = read("a.xyz", "2\n\nH 0 0 0\nH 0 0 0.74\n")
    assert entry.mapped_smiles == ""
    (made,) = conformers([entry], 1, 0, in_process=True)
    assert isinstance(made, Conformer) and made.mapped_smiles == ""


@pytest.mark.parametrize("smile", ["", "[2H]O[2H]", "O"])
def test_labels_of_isotopes_are_left_out(smile: str) -> None:
    assert mapped_smiles(Chem.AddHs(Chem.MolFromSmiles("[2H]O[2H]"))) == "[H:1][O:2][H:3]"


WATER = np.array([8, 1, 1], np.uint8)
PLACES = np.array([[0, 0, 0.2], [0, 1.4, -0.9], [0, -1.4, -0.9]])


def parquet(tmp_path: Any, **columns: list[Any]) -> Any:
    table = {"z": [[8, 1, 1]], "pos": [PLACES.ravel().tolist()], "smile": ["O"], **columns}
    pq.write_table(pa.table(table), tmp_path / "a.parquet")
    return tmp_path / "a.parquet"


def test_a_corpus_as_a_source_hands_its_bonds_on(tmp_path: Any) -> None:
    from qmgen.molecules.readers import read_molecules

    for text in ("[O:1]([H:2])[H:3]", "", None):
        (entry,) = read_molecules(parquet(tmp_path, mapped_smiles=[text]))
        assert isinstance(entry, Molecule) and entry.mapped_smiles == (text or "")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[H:1][O:2][H:3]", "does not number the atoms of this geometry"),
        ("[O:1]([H:2])", "does not number the atoms"),
        ("[O:0]([H:1])[H:2]", "does not number the atoms"),
        ("[O:1]([H:2])[H:2]", "does not number the atoms"),
        ("O", "does not number the atoms"),
        ("[OH2:1]", "does not number the atoms"),
        ("[O:1]([H:2])[H:3].[H:4][H:5]", "does not number the atoms"),
        ("[OH2:1].[H:2][H:3]", "has hydrogens without a number"),
        ("[O:1].[H:2][H:3]", "is another molecule than the SMILES"),
        ("[O:1](", "is no SMILES that RDKit accepts"),
        ("[O:1]([H:2])[H:3] water", "is no SMILES"),
    ],
)
def test_bonds_of_other_atoms_are_refused(tmp_path: Any, text: str, why: str) -> None:
    entry = with_bonds(Molecule(3, "w", "O", WATER, PLACES, conformer_id=2), text)
    assert isinstance(entry, Failure) and (entry.molecule_id, entry.conformer_id) == (3, 2)
    assert f"mapped_smiles {why}" in entry.detail
    (given,) = entries_of(0, Molecule(3, "w", "O", WATER, PLACES, mapped_smiles=text)) or []
    assert isinstance(given, Failure) and why in given.detail


def test_bonds_are_those_that_distances_tell(read: Any) -> None:
    """By a way of its own: bonds from distances alone."""
    (entry,) = read("a.sdf", Chem.MolToMolBlock(shuffled("CC(=O)N", seed=4)) + "$$$$\n")
    places = entry.positions * BOHR_TO_ANGSTROM
    lines = [f"{Chem.Atom(int(z)).GetSymbol()} {x} {y} {w}" for z, (x, y, w) in zip(entry.numbers, places)]
    mol = Chem.MolFromXYZBlock("\n".join([str(len(lines)), "", *lines]))
    rdDetermineBonds.DetermineBonds(mol, charge=0)
    assert bonds(rebuilt(entry.mapped_smiles)) == bonds(mol)
