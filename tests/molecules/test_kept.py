"""Columns, properties and keys of a source that are carried through."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rdkit import Chem
from rdkit.Chem import AllChem

from qmgen.errors import UsageError
from qmgen.molecules.readers import read_molecules
from qmgen.molecules.readers.objects import entries_of
from qmgen.molecules.readers.text import Kept, as_text
from qmgen.molecules.types import Molecule


def kept(path: Path, *keep: str) -> list[tuple[str, ...]]:
    """The kept values of each entry; of a failure its name alone."""
    return [(e.name, *e.kept) if isinstance(e, Molecule) else (e.name,) for e in read_molecules(path, keep=keep)]


CSV = (
    'smiles,name,pIC50,"assay, type",n\nCCO,ethanol,5.10,"a, b",1\nnope,broken,1,,2\nC,methane\nCO,"two\nlines",,x,3\n'
)


def test_columns_of_csv(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(CSV)
    assert kept(path, "pIC50", "assay, type") == [
        ("ethanol", "5.10", "a, b"), ("broken",), ("methane", "", ""), ("two\nlines", "", "x"),
    ]  # fmt: skip
    assert kept(path, "name", "n")[0] == ("ethanol", "1")
    assert kept(path)[0] == ("ethanol",)


SDF = """>  <pIC50>  (7)
5.10

> <remark>
first line
> <not a head>

>  <name>
from the data

> <empty>

"""


def block(smiles: str, title: str, data: str) -> str:
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    AllChem.EmbedMolecule(mol, randomSeed=7)
    mol.SetProp("_Name", title)
    return f"{Chem.MolToMolBlock(mol)}{data}$$$$\n"


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_properties_of_sdf(tmp_path: Path, ends: str) -> None:
    path = tmp_path / "a.sdf"
    text = block("CO", "title", SDF) + block("C", "other", ">  <late>\n1\n\n") + "rubbish\n$$$$\n"
    path.write_bytes(text.replace("\n", ends).encode())
    assert kept(path, "pIC50", "remark", "empty", "late") == [
        ("title", "5.10", "first line\n> <not a head>", "", ""), ("other", "", "", "", "1"), ("rubbish",),
    ]  # fmt: skip
    assert kept(path, "name", "late")[:2] == [("from the data", ""), ("other", "1")]
    with pytest.raises(UsageError, match="no entry has 'pic50' to keep; there are pIC50, remark, name, empty, late"):
        kept(path, "pIC50", "pic50")


def test_keys_of_xyz(tmp_path: Path) -> None:
    path = tmp_path / "a.xyz"
    comments = ['energy=-1.1 note="a b" name=x charge=0', "energy=2 tag='c d'", "a name"]
    path.write_text("".join(f"2\n{comment}\nH 0 0 0\nH 0 0 0.74\n" for comment in comments))
    assert kept(path, "energy", "note", "tag") == [
        ("x", "-1.1", "a b", ""), ("", "2", "", "c d"), ("a name", "", "", ""),
    ]  # fmt: skip
    with pytest.raises(UsageError, match="no entry has 'forces' to keep; there are energy, note, name, charge, tag"):
        kept(path, "forces")


@pytest.mark.parametrize(
    ("comment", "value"),
    [
        (r'note="a \"b\" c"', 'a "b" c'), ("note = 5", "5"), ("note=[1, 2]", "1, 2"),
        ('{"note": [1, 2.5]}', "[1, 2.5]"),
        ("x=1,note=2", "2"), ("'note'=\"it's\"", "it's"),
    ],
)  # fmt: skip
def test_keys_of_xyz_in_all_forms(tmp_path: Path, comment: str, value: str) -> None:
    path = tmp_path / "a.extxyz"
    path.write_text(f"2\n{comment}\nH 0 0 0\nH 0 0 0.74\n")
    assert [entry[1] for entry in kept(path, "note")] == [value]


def test_keys_of_xyz_frames_that_are_refused_are_there(tmp_path: Path) -> None:
    path = tmp_path / "a.xyz"
    path.write_text("2\nname=x energy=1 charge=1\nH 0 0 0\nH 0 0 0.74\n")
    assert kept(path, "energy") == [("x",)]


def test_columns_of_parquet(tmp_path: Path) -> None:
    columns: dict[str, Any] = {
        "z": [[1, 1], [1, 1]], "pos": [[0.0, 0, 0, 0, 0, 1.4]] * 2, "y": [0.1, None], "split": ["a", None],
        "N": pa.array([3, None], pa.uint16()), "ok": [True, False], "list": [[1.5, None], []], "name": ["n", "m"],
    }  # fmt: skip
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table(columns), path)
    assert kept(path, "y", "split", "N", "ok", "list", "name") == [
        ("n", "0.1", "a", "3", "true", "[1.5, null]"), ("m", "", "", "", "false", "[]"),
    ]  # fmt: skip
    with pytest.raises(UsageError, match="no column 'x' to keep; the columns are z, pos, y, split, N, ok, list, name"):
        kept(path, "x")


@pytest.mark.parametrize(
    ("name", "text", "keep", "message"),
    [
        ("a.csv", CSV, "pic50", "no column 'pic50' to keep; the columns are smiles, name, pIC50, assay, type, n"),
        ("a.csv", "smiles,x\nC,1\n", "name", "no column 'name' to keep; the columns are smiles, x"),
        ("a.smi", "C methane\n", "pIC50", "no column 'pIC50' to keep; this kind of source has none"),
        ("a.sdf", block("C", "", ""), "pIC50", "no entry has 'pIC50' to keep; there are none"),
    ],
)
def test_what_is_not_there_is_named(tmp_path: Path, name: str, text: str, keep: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=message) as caught:
        kept(tmp_path / name, keep)
    assert "\n" not in str(caught.value)


def test_names_need_not_be_columns_where_the_format_has_them(tmp_path: Path) -> None:
    (tmp_path / "a.smi").write_text("C methane\n")
    (tmp_path / "a.csv").write_text("smiles,ID\nC,M1\n")
    assert kept(tmp_path / "a.smi", "name") == [("methane",)]
    assert kept(tmp_path / "a.csv", "name") == [("M1",)]


def test_properties_of_objects() -> None:
    mol = Chem.MolFromSmiles("C")
    mol.SetProp("pIC50", "5.10")
    mol.SetDoubleProp("logP", 0.1)
    mol.SetIntProp("n", 3)
    properties = Kept(["pIC50", "n", "logP", "other"])
    (entry,) = entries_of(0, mol, kept=properties) or []
    assert isinstance(entry, Molecule) and [*map(float, entry.kept[:3])] == [5.1, 3.0, 0.1] and entry.kept[3] == ""
    with pytest.raises(UsageError, match="molecules: no entry has 'other' to keep"):
        properties.finish("molecules")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""), ("", ""), ("é\t", "é\t"), (0, "0"), (-3, "-3"), (True, "true"), (0.1, "0.1"), (1e-300, "1e-300"),
        (float("nan"), "nan"), (b"caf\xc3\xa9", "café"), ([1, 2.5], "[1, 2.5]"), ({"a": None}, '{"a": null}'),
        (Decimal("1.10"), "1.10"),
    ],
    ids=str,
)  # fmt: skip
def test_values_as_text(value: Any, text: str) -> None:
    assert as_text(value) == text
