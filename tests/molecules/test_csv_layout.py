"""Tables as people have them: delimiters, names of columns, none at all, quotes, compression, encodings."""

from __future__ import annotations

import gzip
import importlib
from collections.abc import Callable

import pytest

from qmgen.errors import UsageError
from qmgen.molecules.readers import read_molecules
from qmgen.molecules.types import Failure, Molecule, Reason

Read = Callable[..., list[Molecule | Failure]]
TWO = [(0, "CCO", "ethanol"), (1, "c1ccccc1", "benzene")]


def keys(entries: list[Molecule | Failure]) -> list[tuple[int, str, str]]:
    assert all(isinstance(entry, Molecule) for entry in entries), entries
    return [(entry.molecule_id, entry.smiles, entry.name) for entry in entries]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("file", ["a.csv", "a.tsv", "A.CSV"])
@pytest.mark.parametrize("header", ["smiles{}name\n", ""])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_delimiters_with_and_without_a_line_of_names(read: Read, delimiter, file, header, ending) -> None:
    text = header.format(delimiter) + f"OCC{delimiter}ethanol\nc1ccccc1{delimiter}benzene\n"
    assert keys(read(file, text.replace("\n", ending))) == TWO


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("OCC\nC\n", [(0, "CCO", ""), (1, "C", "")]),
        ("OCC", [(0, "CCO", "")]),
        ("\ufeffOCC,ethanol\n", [(0, "CCO", "ethanol")]),
        ("ethanol,OCC\nbenzene,c1ccccc1\n", TWO),
        ("1,OCC,46.07\n2,C,16.04\n", [(0, "CCO", ""), (1, "C", "")]),
        ("N\nC\nO\n", [(0, "N", ""), (1, "C", ""), (2, "O", "")]),
        ('"OCC";"ethanol; 96 %"\n"C";"methane"\n', [(0, "CCO", "ethanol; 96 %"), (1, "C", "methane")]),
        ("C[C@H](N)C(=O)O|alanine\nC|methane\n", [(0, "C[C@H](N)C(=O)O", "alanine"), (1, "C", "methane")]),
        ("\n\nOCC,a\n\nC,b\n", [(0, "CCO", "a"), (1, "C", "b")]),
    ],
)
def test_without_a_line_of_names_no_molecule_is_lost(read: Read, text: str, expected) -> None:
    assert keys(read("a.csv", text)) == expected


def test_without_a_line_of_names_failures_keep_their_places(read: Read) -> None:
    entries = read("a.csv", "OCC,a\nC1CC,b\n[Na+].[Cl-],c\nN,d\nC~C,e\nF,f\nO,g\n")
    assert [(e.molecule_id, e.name) for e in entries] == [(k, name) for k, name in enumerate("abcdefg")]
    assert [isinstance(e, Failure) for e in entries] == [False, True, True, False, True, False, False]
    (charged, _) = read("b.csv", "[NH4+]\nC\n")
    assert isinstance(charged, Failure) and charged.reason is Reason.NET_CHARGE


@pytest.mark.parametrize(
    "column",
    ["Smiles", "SMILES", "smile", "Canonical SMILES", "canonical_smiles", "IsomericSMILES", "isosmiles", "SMI",
     "Ligand SMILES", "rdkit_smiles", "PUBCHEM_SMILES", " smiles ", "Isomeric-Smiles"],
)  # fmt: skip
def test_usual_names_of_the_column(read: Read, column: str) -> None:
    assert keys(read("a.csv", f"x,{column},Name\n1,OCC,ethanol\n2,c1ccccc1,benzene\n")) == TWO


def test_a_table_of_chembl(read: Read) -> None:
    text = (
        '"ChEMBL ID";"Name";"Molecular Weight";"Smiles"\n'
        '"CHEMBL545";"ALCOHOL; 96 %";"46.07";"CCO"\n"CHEMBL277500";"BENZENE";"78.11";"c1ccccc1"\n'
    )
    assert keys(read("a.csv", text)) == [(0, "CCO", "ALCOHOL; 96 %"), (1, "c1ccccc1", "BENZENE")]


@pytest.mark.parametrize(
    ("header", "place"),
    [
        ("SMILES,smiles,Smiles", 1),  # as written goes first
        ("Smiles,canonical_smiles,isosmiles", 0),
        ("canonicalsmiles,isosmiles,x", 1),  # says more
        ("rdkit_smiles,id,smi", 2),
    ],
)
def test_of_several_columns_the_one_that_says_most(read: Read, header: str, place: int) -> None:
    row = ["C", "C", "C"]
    row[place] = "OCC"
    assert read("a.csv", f"{header}\n{','.join(row)}\n")[0].smiles == "CCO"


@pytest.mark.parametrize(
    ("text", "options", "says"),
    [
        ("a_smiles,b_smiles\nC,N\n", {}, r"several columns of SMILES: a_smiles, b_smiles; choose .*--smiles-column"),
        ("smiles,smiles\nC,N\n", {}, "several columns"),
        ("C,N\nO,F\n", {}, "columns 1, 2 all hold SMILES; write the names"),
        ("id,structure\n1,CCO\n", {}, r"are id, structure: .*--smiles-column \('structure' holds SMILES\)"),
        ("C1CC,a\nCCO,b\nC,c\n", {}, "the columns are C1CC, a: .* or write a line of names if this is none"),
        ("id;structure\n1;CCO\n", {}, "the columns are id, structure"),
        ("id\tx\n1\t2\n", {}, "the columns are id, x"),
        ("CCO,ethanol\nC,methane\n", {"smiles_column": "CCO"}, "leave --smiles-column out"),
        ("CCO,ethanol\nC,methane\n", {"smiles_column": "smiles"}, "leave --smiles-column out"),
        ("CCO;ethanol\nC;methane\n", {"smiles_column": "CCO;ethanol"}, "leave --smiles-column out"),
        ("a,b\n1,C\n", {"smiles_column": "c"}, "no column 'c'; the columns are a, b: name one with --smiles-column"),
        ('"a\nb",c\n1,2\n', {}, "the columns are a b, c"),
        ("x" * 200_000 + ",smiles\n1,C\n", {}, "the first line cannot be read: field larger than field limit"),
        ("x" * 2_000_000 + ",smiles\n1,C\n", {}, "the first line cannot be read"),
        (",".join(f"column{k}" for k in range(5000)) + "\n1,C\n", {}, "the columns are column0"),
    ],
)  # fmt: skip
def test_what_can_be_taken_in_two_ways_is_refused_in_one_line(read: Read, text: str, options, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        read("a.csv", text, **options)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    ("text", "unlike", "asked"),
    [
        ("CAS,F\n64-17-5,OCC\n71-43-2,c1ccccc1\n", "CAS", "F"),
        ("CN,value\nOCC,1.5\nc1ccccc1,2e-3\n", "value", "CN"),
        ("C,N,O\n1,2,OCC\n3,4,c1ccccc1\n", "C", "O"),
        ("ref,C\nCHEMBL545,OCC\nCHEMBL277500,c1ccccc1\n", "ref", "C"),
        ("ID,F\nA,OCC\nB,c1ccccc1\n", "ID", "F"),
        ("date;I\n2020-01-01;OCC\n2021-12-31;c1ccccc1\n", "date", "I"),
        ("CO\tlogP\nOCC\t-0.3\nc1ccccc1\t\n", "logP", "CO"),
    ],
)
def test_a_line_of_names_that_is_a_smiles_is_no_molecule(read: Read, text: str, unlike: str, asked: str) -> None:
    with pytest.raises(UsageError, match=f"{unlike!r} is unlike the rows below; name .*--smiles-column {asked},"):
        read("a.csv", text)
    entries = read("a.csv", text, smiles_column=asked)
    assert [entry.smiles for entry in entries] == ["CCO", "c1ccccc1"]


@pytest.mark.parametrize(
    "text",
    [
        "ethanol,OCC\n2-butanol,CCC(C)O\n", "mol1,OCC\nmol2,C\n", "1.5,OCC\n,C\n", "n/a,OCC\n2.5,C\n",
        "OCC,x\nC,1\nN,y\n",
        "64-17-5,OCC\n74-82-8,C\n", "a,OCC\n", "1e-3,OCC\n2,C\n", "x1y,OCC\nx2y,C\nx3y,N\n",
        "ethanol,OCC\n1-propanol,CCCO\n2-propanol,CC(O)C\n", "OCC,y\nC,n\n", "OCC,type\nC,type\n",
        "mol1,OCC\nmol2,C\nmol3,N\n",
    ],
)  # fmt: skip
def test_data_like_the_rows_below_are_data(read: Read, text: str) -> None:
    entries = read("a.csv", text)
    assert len(entries) == text.count("\n") and entries[0].smiles == "CCO"


@pytest.mark.parametrize(
    "before", ["sep=;\n", "SEP=;\r\n", "# a comment\n", "# one\n\n# two: x;y\n", "#\n", "\n# one\n", '"sep=;"\n']
)
@pytest.mark.parametrize("header", ["smiles;name\n", ""])
def test_lines_before_the_table(read: Read, before: str, header: str) -> None:
    text = f"{before}{header}OCC;ethanol\nc1ccccc1;benzene\n"
    assert keys(read("a.csv", text)) == TWO
    wrong = read("a.csv", f'{text}"N;x\nC;y\n')[2]
    assert isinstance(wrong, Failure) and wrong.detail.startswith(f"line {text.count(chr(10)) + 1}: ")


@pytest.mark.parametrize("header", ["#smiles,name", "# smiles,name", "#comment\n#SMILES,name", "##smiles,name"])
def test_names_behind_a_mark(read: Read, header: str) -> None:
    assert keys(read("a.csv", f"{header}\nOCC,ethanol\nc1ccccc1,benzene\n")) == TWO
    asked = read("a.csv", "#id,structure\n1,OCC\n", smiles_column="structure")
    assert [entry.smiles for entry in asked] == ["CCO"]


@pytest.mark.parametrize(
    "text",
    [
        "smiles zinc_id\nOCC ZINC1\nC ZINC2\n",
        "zinc_id smiles\nZINC1 OCC\nZINC2 C\n",
        "OCC ethanol\nC methane\n",
        "OCC ethanol\n",
    ],
)
def test_spaces_between_columns_are_refused_with_what_to_do(read: Read, text: str) -> None:
    with pytest.raises(
        UsageError, match=r"spaces between the columns; delimit them by commas.*rename the file to \.smi"
    ):
        read("a.csv", text)


def test_names_with_spaces_are_names(read: Read) -> None:
    assert [e.smiles for e in read("a.csv", "Ligand SMILES\nOCC\nC\n")] == ["CCO", "C"]
    assert [e.smiles for e in read("a.csv", "Ligand SMILES\nOCC |$;;$|\nC |a:0|\n")] == ["CCO", "C"]


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("file", ["a.csv", "a.smi"])
def test_a_long_line_is_one_failure(read: Read, monkeypatch: pytest.MonkeyPatch, file: str, zipped: bool) -> None:
    # all are there before the first is changed: one that is imported afterwards would keep the small bound
    for module in [importlib.import_module(f"qmgen.molecules.readers.{m}") for m in ("text", "smiles")]:
        monkeypatch.setattr(module, "LONGEST", 5000)
    for name in ("read_line", "read_lines"):
        monkeypatch.setattr(f"qmgen.molecules.readers.text.{name}.__defaults__", (5000,))
    text = "smiles,name\n" if file == "a.csv" else ""
    text += "OCC\n" + "C" * 20_000 + "\nN\n" + "C" * 4000 + "\n" + "O" * 5001
    entries = read(f"{file}.gz" if zipped else file, gzip.compress(text.encode()) if zipped else text)
    assert [isinstance(entry, Molecule) for entry in entries] == [True, False, True, True, False]
    for entry, line in ((entries[1], 2), (entries[4], 5)):
        assert f"line {line + (file == 'a.csv')}: a line of more than 5000 characters" in entry.detail


@pytest.mark.parametrize("asked", ["structure", "Structure", "STRUCTURE"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_column_that_is_asked_for(read: Read, asked: str, delimiter: str) -> None:
    text = "Smiles,Structure\nC,OCC\n".replace(",", delimiter)
    assert read("a.csv", text, smiles_column=asked)[0].smiles == "CCO"


def test_an_open_quote_costs_one_line(read: Read) -> None:
    lines = [f"{'C' * (k % 7 + 1)},n{k}" for k in range(15_000)]
    lines[3] = 'N,"n3'
    entries = read("a.csv", "smiles,name\n" + "\n".join(lines) + "\n")
    assert len(entries) == 15_000 and [e.molecule_id for e in entries if isinstance(e, Failure)] == [3]
    assert entries[3].detail.startswith("line 5: ") and keys(entries[4:5]) == [(4, "CCCCC", "n4")]
    assert keys(read("b.csv", 'smiles,name\nC,"two\nlines"\nN,"a ""b"""\n')) == [
        (0, "C", "two\nlines"),
        (1, "N", 'a "b"'),
    ]


@pytest.mark.parametrize("length", [131_066, 131_068, 131_070, 131_071, 131_072, 131_073])
def test_an_open_quote_at_the_longest_field(read: Read, length: int) -> None:
    entries = read("a.csv", f'smiles,name\nC,"a\n{"x" * (length - 2)}')
    assert isinstance(entries[0], Failure) and len(entries) == 2 and "line 2" in entries[0].detail


def test_a_row_with_fields_too_many_is_not_read_out_of_place(read: Read) -> None:
    entries = read("a.csv", "name,smiles\nan, alcohol,OCC\na,C,CCO\nb,N,,\nc,O\n")
    assert [isinstance(e, Failure) for e in entries] == [True, True, False, False]
    assert "3 fields in 2 columns" in entries[1].detail
    assert keys(read("b.csv", "smiles,name\nOCC,an, alcohol\n")) == [(0, "CCO", "an")]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("a.csv", "Smiles;name\nOCC;Äthanol\n"),
        ("a.tsv", "name\tSMILES\nÄthanol\tOCC\n"),
        ("a.smi", "OCC Äthanol\n"),
        ("a.xyz", "1\nÄthanol\nNe 0 0 0\n"),
        ("a.extxyz", "1\nname=Äthanol\nNe 0 0 0\n"),
    ],
)
def test_text_is_read_however_it_is_written_and_compressed(read: Read, file, text, encoding, zipped) -> None:
    content = text.encode(encoding)
    (entry,) = read(f"{file}.gz" if zipped else file, gzip.compress(content) if zipped else content)
    assert isinstance(entry, Molecule) and entry.name == "Äthanol" and entry.smiles in ("CCO", "")


def test_compression_is_told_by_the_content(read: Read) -> None:
    assert read("a.smi.gz", "OCC x\n")[0].smiles == "CCO"
    assert read("a.smi", gzip.compress(b"OCC x\n"))[0].smiles == "CCO"
    assert read("a.csv.gz", gzip.compress(b"smiles\nC\n") + gzip.compress(b"N\n"))[1].smiles == "N"


@pytest.mark.parametrize("file", ["a.smi.gz", "a.csv.gz"])
@pytest.mark.parametrize("damage", ["cut", "flipped", "header"])
def test_damaged_compression_is_one_line(tmp_path, file: str, damage: str) -> None:
    text = "smiles\n" + "".join(f"{'C' * (k % 50 + 1)}{'O' * (k % 3)}\n" for k in range(3000))
    content = bytearray(gzip.compress(text.encode(), mtime=0))
    if damage == "cut":
        del content[len(content) // 2 :]
    elif damage == "flipped":
        content[len(content) // 2] ^= 0xFF
    else:
        del content[6:]
    (tmp_path / file).write_bytes(content)
    with pytest.raises(UsageError, match="cut or damaged") as caught:
        list(read_molecules(tmp_path / file))
    assert "\n" not in str(caught.value)


def test_compressed_and_empty(read: Read) -> None:
    with pytest.raises(UsageError, match="holds no molecules"):
        read("a.csv.gz", gzip.compress(b""))
