"""Readers of SMILES: ``.smi`` and ``.csv``, good and bad input, and the errors of ``read_molecules`` itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from qmgen.config.base import MOLECULE_FILES
from qmgen.errors import UsageError
from qmgen.molecules.readers import SMILES_SUFFIXES, SUFFIXES, read_molecules
from qmgen.molecules.smiles import from_smiles
from qmgen.molecules.types import Failure, Molecule, Reason


def test_help_and_document_name_every_suffix():
    document = (Path(__file__).resolve().parents[2] / "docs" / "formats.md").read_text("utf-8")
    assert set(SMILES_SUFFIXES) < set(SUFFIXES)
    for suffix in SUFFIXES:
        assert f"`{suffix}`" in document and suffix in MOLECULE_FILES.replace(",", "").split()


def test_smi_names_comments_and_places(read):
    entries = read("a.smi", "# a comment\nOCC ethanol\n\nc1ccccc1\tbenzene of Faraday\nC\n")
    assert [(e.molecule_id, e.smiles, e.name) for e in entries] == [
        (0, "CCO", "ethanol"),
        (1, "c1ccccc1", "benzene of Faraday"),
        (2, "C", ""),
    ]
    assert all(isinstance(e, Molecule) and e.positions is None for e in entries)


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_smi_line_endings_byte_order_mark_and_unicode(read, ending, mark):
    entries = read("a.SMI", f"{mark}CCO Äthanol λ 乙醇{ending}C méthane")
    assert [(e.smiles, e.name) for e in entries] == [("CCO", "Äthanol λ 乙醇"), ("C", "méthane")]


def test_smi_bytes_that_are_not_utf8_cost_nothing(read):
    entries = read("a.smi", b"CCO \xe4thanol\nC\xff\nN\n")
    assert entries[0].smiles == "CCO" and entries[0].name.endswith("thanol")
    assert entries[1].reason is Reason.UNREADABLE
    assert entries[2].smiles == "N"


@pytest.mark.parametrize(
    ("smiles", "reason"),
    [
        ("C1CC", Reason.UNREADABLE),
        ("smiles", Reason.UNREADABLE),
        ("C(C)(C)(C)(C)C", Reason.UNREADABLE),
        ("c1cccc1", Reason.UNREADABLE),
        ("C" * 5000, Reason.UNREADABLE),
        ("[NH4+]", Reason.NET_CHARGE),
        ("CC(=O)[O-]", Reason.NET_CHARGE),
        ("[CH3]", Reason.ODD_ELECTRONS),
        ("[CH2]", Reason.ODD_ELECTRONS),
        ("[N]=O", Reason.ODD_ELECTRONS),
        ("C*", Reason.UNSUPPORTED_ELEMENT),
    ],
)
def test_smi_bad_entry_is_a_failure_in_its_place(read, capfd, smiles, reason):
    entries = read("a.smi", f"C first\n{smiles} bad\nN last\n")
    assert [e.molecule_id for e in entries] == [0, 1, 2]
    bad = entries[1]
    assert isinstance(bad, Failure) and bad.reason is reason and bad.name == "bad" and bad.conformer_id == -1
    assert bad.detail and "\n" not in bad.detail
    assert [e.smiles for e in (entries[0], entries[2])] == ["C", "N"]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "smiles", ["C[N+](=O)[O-]", "[NH3+]CC(=O)[O-]", "CN=[N+]=[N-]", "[C-]#[O+]", "[H][H]", "F", "O=C=O", "[2H]O[2H]"]
)
def test_ordinary_molecules_are_ordinary(read, smiles):
    assert isinstance(read("a.smi", smiles)[0], Molecule)


def test_csv_finds_its_columns(read):
    entries = read("a.csv", 'id,name,smiles\r\n7,"an, alcohol",OCC\r\n8,,C\r\n')
    assert [(e.molecule_id, e.smiles, e.name) for e in entries] == [(0, "CCO", "an, alcohol"), (1, "C", "")]


@pytest.mark.parametrize("column", ["smiles", "SMILES", "smile"])
def test_csv_usual_names_of_the_column(read, column):
    assert read("a.csv", f"x,{column}\n1,OCC\n")[0].smiles == "CCO"


def test_csv_column_by_name(read):
    assert read("a.csv", "smiles,Structure\nC,OCC\n", smiles_column="Structure")[0].smiles == "CCO"


@pytest.mark.parametrize("options", [{}, {"smiles_column": "smiles"}])
def test_csv_without_the_column_names_those_there(read, options):
    with pytest.raises(UsageError, match=r"the columns are id, structure.*--smiles-column"):
        read("a.csv", "id,structure\n1,C\n", **options)


def test_csv_short_and_empty_rows_are_failures(read):
    entries = read("a.csv", "id,smiles\n1,C\n2\n3,\n\n4,N\n")
    assert [e.molecule_id for e in entries] == [0, 1, 2, 3]
    assert [getattr(e, "reason", None) for e in entries] == [None, Reason.UNREADABLE, Reason.UNREADABLE, None]


def test_csv_open_quote_and_overlong_field_are_failures(read):
    entries = read("a.csv", f'smiles\nC\n{"C" * 200_000}\nN\n"CC\nCCC\n')
    assert [type(e) for e in entries] == [Molecule, Failure, Molecule, Failure, Molecule]
    assert "line 5: a quote" in entries[3].detail and entries[4].smiles == "CCC"


@pytest.mark.parametrize("name", ["a.smi", "a.csv", "a.sdf", "a.xyz", "a.parquet"])
def test_missing_and_empty_files(tmp_path, name):
    with pytest.raises(UsageError, match="no such file"):
        read_molecules(tmp_path / name)
    (tmp_path / name).touch()
    with pytest.raises(UsageError, match="is empty"):
        read_molecules(tmp_path / name)


@pytest.mark.parametrize(("name", "content"), [("a.smi", "# none\n\n"), ("a.csv", "smiles\n"), ("a.xyz", "\n\n")])
def test_files_without_a_molecule(read, name, content):
    with pytest.raises(UsageError, match="holds no molecules"):
        read(name, content)


def test_unknown_suffix_directory_and_stray_option(tmp_path):
    for name in ("a.mol2", "a.gz", "a.parquet.gz", "a.mol2.gz"):
        with pytest.raises(UsageError, match=r"\.smi \.csv \.sdf \.xyz \.parquet \.tsv \.mol \.extxyz.*\.gz"):
            read_molecules(tmp_path / name)
    (tmp_path / "b.smi").mkdir()
    with pytest.raises(UsageError, match="is a directory"):
        read_molecules(tmp_path / "b.smi")
    (tmp_path / "c.smi").write_text("C\n")
    with pytest.raises(UsageError, match=r"for \.csv files only"):
        read_molecules(tmp_path / "c.smi", smiles_column="x")


def test_reading_is_a_stream(tmp_path):
    path = tmp_path / "long.smi"
    path.write_text("C\n" * 300_000)
    entries = read_molecules(path)
    assert [next(entries).molecule_id for _ in range(3)] == [0, 1, 2]


@pytest.mark.parametrize("text", ["CC O", "C C.O"])
def test_a_space_ends_no_smiles_in_silence(text: str) -> None:
    """RDKit reads up to the space: the label would belong to another molecule."""
    entry = from_smiles(0, text, "")
    assert isinstance(entry, Failure) and entry.reason is Reason.UNREADABLE


@pytest.mark.parametrize(
    ("line", "smiles", "name"),
    [
        ("CC |a:0| ethane of Frankland", "CC", "ethane of Frankland"),
        ("CC\t|$;$|\tethane", "CC", "ethane"),
        ("CC |(0,0,;1.5,0,)|", "CC", ""),
        ("CC ethane |^1:0|", "CC", "ethane |^1:0|"),  # a name: the block stands right behind the SMILES
    ],
)
def test_smi_with_a_block_of_cxsmiles(read, line: str, smiles: str, name: str) -> None:
    (entry,) = read("a.smi", line + "\n")
    assert isinstance(entry, Molecule) and (entry.smiles, entry.name) == (smiles, name)


@pytest.mark.parametrize("line", ["CC |^1:0|", "CC |^1:0| ethyl", "CC\t|^1:0,a:1|\tethyl"])
def test_smi_radicals_of_cxsmiles_are_no_names(read, line: str) -> None:
    (entry,) = read("a.smi", line + "\n")
    assert isinstance(entry, Failure) and entry.reason is Reason.ODD_ELECTRONS and "radical" in entry.detail
    assert entry.name in ("", "ethyl") and entry.smiles.startswith("CC |^1:0")


@pytest.mark.parametrize(
    ("smiles", "pieces"), [("[Na+].[Cl-]", 2), ("CCO.O", 2), ("CC(=O)[O-].[NH4+].O", 3), ("C.C", 2), ("[HH].[HH]", 2)]
)
def test_a_mixture_says_that_it_is_one(smiles: str, pieces: int) -> None:
    entry = from_smiles(0, smiles, "")
    assert isinstance(entry, Failure) and entry.reason is Reason.MIXTURE
    assert f"a mixture of {pieces} molecules" in entry.detail and ("a salt" in entry.detail) == ("+" in smiles)


def test_pieces_that_ring_closures_join_are_one_molecule() -> None:
    entry = from_smiles(0, "C1.C1", "")
    assert isinstance(entry, Molecule) and entry.smiles == "CC"
