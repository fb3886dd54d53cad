"""Charges and multiplicities in columns of ``.parquet`` and ``.csv`` and in properties of ``.sdf``."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rdkit import Chem
from rdkit.Chem import AllChem

from qmgen.errors import UsageError
from qmgen.molecules.readers import read_molecules
from qmgen.molecules.types import Failure, Molecule, Reason

COLUMNS = [
    ("charge", 1, Reason.NET_CHARGE),
    ("charge", 0, None),
    ("charge", None, None),
    ("charge", 0.5, Reason.UNREADABLE),
    ("charge", "one", Reason.UNREADABLE),
    ("charge", True, Reason.UNREADABLE),
    ("charge", float("nan"), Reason.UNREADABLE),
    ("charge", float("inf"), Reason.UNREADABLE),
    ("magmom", float("nan"), Reason.UNREADABLE),
    ("spin", float("nan"), Reason.UNREADABLE),
    ("total_charge", -2.0, Reason.NET_CHARGE),
    ("Total Charge", "+1", Reason.NET_CHARGE),
    ("q", 1, Reason.NET_CHARGE),
    ("spin", 0, None),
    ("spin", 1, None),
    ("spin", 3, Reason.ODD_ELECTRONS),
    ("multiplicity", 1, None),
    ("multiplicity", 2, Reason.UNREADABLE),
    ("spin_multiplicity", 3, Reason.ODD_ELECTRONS),
    ("n_unpaired_electrons", 2, Reason.ODD_ELECTRONS),
]


def parquet(tmp_path, **columns):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"z": [[8, 1, 1]], "pos": [np.ravel(POSITIONS).tolist()], **columns}), path)
    return list(read_molecules(path))


POSITIONS = np.array([[0.0, 0.0, 0.117], [0.0, 0.757, -0.469], [0.0, -0.757, -0.469]]) / 0.529177


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        *COLUMNS,
        ("net_charge_of_ion", 1, Reason.UNREADABLE),
        ("charges", [-0.8, 0.4, 0.4], None),
        ("charges", [0.2, 0.4, 0.4], Reason.NET_CHARGE),
        ("charge", [1], Reason.NET_CHARGE),
        ("info", {"charge": 1, "note": "x"}, Reason.NET_CHARGE),
        ("nuclear_charges", [8, 1, 1], None),
        ("mulliken_spin_density", [1.0, 0.5, 0.5], Reason.UNREADABLE),
        ("charge_units", "e", None),
        ("spin_hint", "", None),
        ("spin_hint", "triplet ground state", None),
        ("info", {"qm": {"Charge": "+1"}, "charge_units": "e"}, Reason.NET_CHARGE),
        ("info", {"note": "charge=1", "spin": 3}, Reason.ODD_ELECTRONS),
        ("info", None, None),
    ],
)
def test_parquet_columns(tmp_path, column, value, reason):
    (entry,) = parquet(tmp_path, **{column: [value]})
    assert getattr(entry, "reason", None) is reason, entry
    if reason is Reason.UNREADABLE:
        assert column.split("_")[0] in entry.detail


def test_parquet_columns_that_contradict_one_another(tmp_path):
    (entry,) = parquet(tmp_path, charge=[0], total_charge=[1])
    assert isinstance(entry, Failure) and "contradict" in entry.detail


def test_parquet_members_of_one_name_are_all_read(tmp_path):
    (entry,) = parquet(tmp_path, a=[{"charge": 0}], b=[{"charge": 1}])
    assert isinstance(entry, Failure) and "contradict" in entry.detail


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_parquet_columns_of_text(tmp_path, kind):
    (entry,) = parquet(tmp_path, charge=pa.array(["1"]).cast(kind))
    assert isinstance(entry, Failure) and entry.reason is Reason.NET_CHARGE


@pytest.mark.parametrize("inside", [False, True])
def test_long_texts_and_lists_in_parquet_are_bounded(tmp_path, inside):
    text = [{"charge": "1" * 70_000}] if inside else ["1" * 70_000]
    (entry,) = parquet(tmp_path, info=text) if inside else parquet(tmp_path, charge=text)
    assert isinstance(entry, Failure) and "charge has more than 65536 bytes" in entry.detail
    zeros = [0] * 200_000
    (entry,) = parquet(tmp_path, info=[{"charges": zeros}]) if inside else parquet(tmp_path, charges=[zeros])
    assert isinstance(entry, Failure) and entry.reason is Reason.UNREADABLE and "charges=" in entry.detail
    (entry,) = (
        parquet(tmp_path, info=[{"charge_density": zeros}]) if inside else parquet(tmp_path, charge_density=[zeros])
    )
    assert isinstance(entry, Molecule)


def test_lists_of_charges_that_a_small_file_multiplies_are_not_decoded(tmp_path, monkeypatch):
    count = 2**24 + 1
    charges = pa.ListArray.from_arrays(pa.array(np.array([0, count], np.int32)), pa.array(np.zeros(count, np.int8)))
    monkeypatch.setattr(pq.ParquetFile, "iter_batches", lambda *_, **__: pytest.fail("the row is decoded"))
    (entry,) = parquet(tmp_path, charges=charges)
    assert isinstance(entry, Failure) and f"column charges has {count} values" in entry.detail


def test_notes_beside_a_charge_may_be_long(tmp_path):
    path = tmp_path / "a.parquet"
    notes = [{"charge": 0, "note": f"{place} " * 500} for place in range(2000)]
    flat = np.ravel(POSITIONS).tolist()
    pq.write_table(pa.table({"z": [[8, 1, 1]] * 2000, "pos": [flat] * 2000, "info": notes}), path)
    assert all(isinstance(entry, Molecule) for entry in read_molecules(path))


def test_two_parquet_columns_of_one_name_are_refused(tmp_path):
    table = pa.table({"z": [[8, 1, 1]], "pos": [np.ravel(POSITIONS).tolist()], "charge": [0], "x": [1]})
    pq.write_table(table.rename_columns(["z", "pos", "charge", "charge"]), tmp_path / "a.parquet")
    with pytest.raises(UsageError, match="2 columns 'charge'"):
        list(read_molecules(tmp_path / "a.parquet"))


def sdf(tmp_path, smiles: str, properties: dict[str, str]):
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    AllChem.EmbedMolecule(mol, randomSeed=7)
    text = Chem.MolToMolBlock(mol) + "".join(f">  <{key}>  (1)\n{value}\n\n" for key, value in properties.items())
    path = tmp_path / "a.sdf"
    path.write_text(text + "$$$$\n")
    (entry,) = read_molecules(path)
    return entry


@pytest.mark.parametrize(("column", "value", "reason"), [c for c in COLUMNS if c[1] is not None])
def test_sdf_properties(tmp_path, column, value, reason):
    entry = sdf(tmp_path, "O", {"energy": "-76.4", column: str(value), "ID": "1"})
    if reason is Reason.NET_CHARGE:  # the atoms of the block say otherwise
        assert "contradict" in entry.detail
        reason = Reason.UNREADABLE
    assert getattr(entry, "reason", None) is reason, entry


@pytest.mark.parametrize(
    ("properties", "read"),
    [
        ({"PUBCHEM_TOTAL_CHARGE": "0", "PUBCHEM_MMFF94_PARTIAL_CHARGES": "3\n1 -0.86\n2 0.43\n3 0.43"}, True),
        ({"JCHEM_PHYSIOLOGICAL_CHARGE": "-1", "atom.dprop.PartialCharge": "-0.4 0.2 0.2"}, True),
        ({"PUBCHEM_TOTAL_CHARGE": "2"}, False),
        ({"charge of the complex": "high"}, False),
        ({"Charge": ""}, True),
    ],
)
def test_sdf_properties_of_databases(tmp_path, properties, read):
    assert isinstance(sdf(tmp_path, "O", properties), Molecule) is read


@pytest.mark.parametrize("between", ["\n", ""])
def test_sdf_properties_of_one_name_are_all_read(read, between):
    mol = Chem.AddHs(Chem.MolFromSmiles("O"))
    AllChem.EmbedMolecule(mol, randomSeed=7)
    items = f">  <charge>\n2\n{between}>  <charge>\n0\n\n"
    (entry,) = read("a.sdf", f"{Chem.MolToMolBlock(mol)}{items}$$$$\n")
    assert isinstance(entry, Failure) and entry.reason is Reason.UNREADABLE


def test_sdf_blocks_of_too_many_atoms_never_reach_rdkit(read, monkeypatch):
    monkeypatch.setattr(Chem, "MolFromMolBlock", None)
    head = "big\n  RDKit          3D\n\n  0  0  0  0  0  0  0  0  0  0999 V3000\nM  V30 BEGIN CTAB\n"
    for count in ("200000", "9" * 5000):
        (entry,) = read("a.sdf", head + f"M  V30 COUNTS {count} 0 0 0 0\nM  V30 BEGIN ATOM\n$$$$\n")
        assert isinstance(entry, Failure) and "at most" in entry.detail and entry.name == "big"


def test_parquet_rows_of_too_many_atoms(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"z": [[2] * 20_000, [2]], "pos": [[0.0] * 60_000, [0.0] * 3]}), path)
    bad, good = read_molecules(path)
    assert isinstance(bad, Failure) and "at most" in bad.detail and isinstance(good, Molecule)


@pytest.mark.parametrize(("column", "value", "reason"), [c for c in COLUMNS if c[1] is not None and c[0] != "magmom"])
def test_csv_columns_are_held_against_the_smiles(read, column, value, reason):
    (entry,) = read("a.csv", f"smiles,name,{column}\nO,water,{value}\n")
    if reason is Reason.NET_CHARGE:
        assert "contradict" in entry.detail
        reason = Reason.UNREADABLE
    assert getattr(entry, "reason", None) is reason, entry


def test_csv_columns_without_a_statement(read):
    entries = read(
        "a.csv", "smiles,charge,charge at pH 7,MaxPartialCharge,logP\nO,,-1,0.4,1\n[NH4+],1,1,0.3,1\nC,0,0,1,1\n"
    )
    assert [getattr(entry, "reason", None) for entry in entries] == [None, Reason.NET_CHARGE, None]


#: names that something else may have, and values that are then no charge or multiplicity
OTHER_COLUMNS = [
    *(("UHF", "-40.1"), ("q", "0.5"), ("mult", "1.5"), ("nopen", "12.5"), ("2S", "0.25"), ("CHG", "12"), ("M", "3")),
    *(("spin", "left"), ("Charge", "A1234"), ("Charge No.", "12345"), ("charge_center", "0.3"), ("Surcharge", "7")),
    *(("Charge at pH 7", "1"), ("NetCharge_pH7.4", "1"), ("charge_pH", "-2"), ("S", "1"), ("S2", "2.0")),
]


@pytest.mark.parametrize(("column", "value"), OTHER_COLUMNS)
def test_columns_of_something_else_refuse_nothing(read, tmp_path, column, value):
    (entry,) = read("a.csv", f"smiles,{column}\nO,{value}\n")
    assert isinstance(entry, Molecule), entry
    assert isinstance(sdf(tmp_path, "O", {column: value}), Molecule)


@pytest.mark.parametrize(
    ("column", "value"), [("q", "1"), ("mult", "3"), ("UHF", "2"), ("spin", "triplet"), ("CHG", "-1")]
)
def test_short_names_with_plausible_values_are_read(read, tmp_path, column, value):
    (entry,) = read("a.csv", f"smiles,{column}\nO,{value}\n")
    assert isinstance(entry, Failure)
    assert isinstance(sdf(tmp_path, "O", {column: value}), Failure)


def test_the_advice_for_a_table_is_about_its_column(read, tmp_path):
    (entry,) = read("a.csv", "smiles,charge\nO,high\n")
    for found in (entry, sdf(tmp_path, "O", {"charge": "high"})):
        assert isinstance(found, Failure) and "rename or remove the column" in found.detail


@pytest.mark.parametrize("text", ["smiles;charge;charge\nO;1;0\n", "smiles\tcharge\nO\t1\n", "Smiles|q\nO|-1\n"])
def test_csv_columns_of_any_layout(read, text):
    (entry,) = read("a.csv", text)
    assert isinstance(entry, Failure) and "contradict" in entry.detail


def test_csv_columns_of_other_names_are_kept_with_their_statement(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("smiles,charge,x\nO,0,a\nO,1,b\n")
    good, bad = read_molecules(path, keep=["x", "charge"])
    assert good.kept == ("a", "0") and isinstance(bad, Failure)


@pytest.mark.parametrize("name", ["charge=1", "Charge: 2 triplet", "1 2", "radical", json.dumps({"charge": 1})])
def test_names_of_smi_files_are_free_text(read, name):
    (entry,) = read("a.smi", f"O {name}\n")
    assert isinstance(entry, Molecule) and entry.name == name
