"""Mol blocks with fields out of their columns, drawings that pass for geometries, and bonds of other geometries."""

from __future__ import annotations

import itertools

import pytest
from rdkit import Chem
from rdkit.Chem import AllChem

from qmgen.molecules.types import Failure, Molecule, Reason

METHANOL = """methanol
     RDKit          3D

  6  5  0  0  0  0  0  0  0  0999 V2000
   -0.3970   -0.0110   -0.0028 C   0  0  0  0  0  0  0  0  0  0  0  0
    0.8851   -0.4280   -0.3964 O   0  0  0  0  0  0  0  0  0  0  0  0
   -0.3936   -0.1196    1.1067 H   0  0
   -1.1181   -0.6639   -0.5103 H   0  0
   -0.4836    1.0515   -0.3049 H   0  0
    1.5073    0.1710    0.1077 H   0  0
  1  2  1  0
  1  3  1
  1  4  1  0
  1  5  1  0
  2  6  1  0
M  END
$$$$
"""
#: the line of the first carbon without its coordinates
_REST = " C   0  0  0  0  0  0  0  0  0  0  0  0"


def changed(line: int, text: str) -> str:
    lines = METHANOL.split("\n")
    lines[line] = text
    return "\n".join(lines)


def block(smiles: str, flat: bool = False, scale: float = 1.0, v3000: bool = False) -> str:
    """A mol block whose header says 3D; ``flat`` is a drawing of all atoms."""
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    if flat:
        AllChem.Compute2DCoords(mol)
    else:
        assert AllChem.EmbedMolecule(mol, randomSeed=7) == 0
    conformer = mol.GetConformer()
    for at in range(mol.GetNumAtoms()):
        conformer.SetAtomPosition(at, [scale * x for x in conformer.GetAtomPosition(at)])
    text = Chem.MolToV3KMolBlock(mol) if v3000 else Chem.MolToMolBlock(mol)
    return text.replace("RDKit          2D", "RDKit          3D") + "$$$$\n"


def test_the_block_itself(read):
    (entry,) = read("a.sdf", METHANOL)
    assert isinstance(entry, Molecule) and entry.smiles == "CO" and entry.numbers.tolist() == [6, 8, 1, 1, 1, 1]


@pytest.mark.parametrize(
    "coordinates",
    ["   -0.4.19   -0.0110   -0.0028", "             -0.0110   -0.0028", "    -0.3970   -0.0110   -0.0028"]
    + ["  -0.3970   -0.0110   -0.0028", "   1.0 2.0   -0.0110   -0.0028", "   -0.3970     8.0 y   -0.0028"]
    + ["   -0.3970   -0.0110   0x1p-3 ", "   -0.3970   1.1D-02   -0.0028", "   -0.3970   0_0.011   -0.0028"]
    + ["   -0.3970   -0.0110   --0.28 ", "   -0.3970   -0.0110       inf", "-0.3970 -0.0110 -0.0028"],
)
def test_coordinates_out_of_their_columns(read, coordinates):
    bad, good = read("a.sdf", changed(4, coordinates + _REST) + METHANOL)
    assert isinstance(bad, Failure) and bad.reason is Reason.BAD_COORDINATES, bad
    assert "line 5: unreadable coordinates" in bad.detail and isinstance(good, Molecule)


@pytest.mark.parametrize(
    ("line", "text", "at", "says"),
    [
        (3, "6 5 0 0 0 V2000", 4, "the count is no whole number in its columns"),
        (3, "  7  5  0  0  0  0  0  0  0  0999 V2000", 11, "unreadable coordinates"),
        (3, "  5  5  0  0  0  0  0  0  0  0999 V2000", 10, "the bond is no whole number in its columns"),
        (3, " 99  5  0  0  0  0  0  0  0  0999 V2000", 4, "states 99 atoms and 5 bonds, and 13 lines follow"),
        (4, "   -0.3970   -0.0110   -0.0028 C   0  9  0", 5, "no code of a charge is 9"),
        (4, "   -0.3970   -0.0110   -0.0028 C   0 +x  0", 5, "the charge is no whole number in its columns: ' +x'"),
        (4, "   -0.3970   -0.0110   -0.0028     0  0  0", 5, "no element in columns 32 to 34"),
        (10, "1 2 1 0", 11, "the bond is no whole number in its columns: '1 2'"),
        (10, "   1  2  1  0", 11, "the bond is no whole number in its columns"),
        (10, "  1  2     0", 11, "the bond is no whole number in its columns"),
        (10, "  1  2  8  0", 11, "a bond of type 8, a query (~)"),
        (10, "  1  9  1  0", 11, "a bond of atoms 1 and 9, of 6 atoms"),
        (10, "  1  1  1  0", 11, "a bond of atoms 1 and 1, of 6 atoms"),
        (15, "M CHG  1   1   1\nM  END", 16, "'M CHG 1 1 1' is out of its columns"),
        (15, "M  CHG  1   9   1\nM  END", 16, "there is no atom 9"),
        (15, "M  CHG  1   1\nM  END", 16, "the value is no whole number in its columns: ''"),
        (15, "M  CHG  2   1   1\nM  END", 16, "the atom is no whole number in its columns: ''"),
        (15, "M  RAD  1   1   x\nM  END", 16, "the value is no whole number in its columns: ' x'"),
    ],
)
def test_other_fields_out_of_their_columns(read, line, text, at, says):
    bad, good = read("a.sdf", changed(line, text) + METHANOL)
    reason = Reason.BAD_COORDINATES if "coordinates" in says else Reason.UNREADABLE
    assert isinstance(bad, Failure) and bad.reason is reason, bad
    assert bad.detail.startswith(f"mol block, line {at}") and says in bad.detail and isinstance(good, Molecule)


@pytest.mark.parametrize(
    "coordinates", ["-0.4.19 0 0", "1_0 0 0", "0x1p3 0 0", "1.0D-3 0 0", "0..1 2 3", "1 2", "nan 0 0"]
)
def test_coordinates_of_v3000(read, coordinates):
    good = block("CO", v3000=True)
    (entry,) = read("a.sdf", good)
    assert isinstance(entry, Molecule) and entry.smiles == "CO"
    line = next(line for line in good.split("\n") if line.startswith("M  V30 1 C"))
    (entry,) = read("a.sdf", good.replace(line, f"M  V30 1 C {coordinates} 0"))
    assert isinstance(entry, Failure) and entry.reason in (Reason.BAD_COORDINATES, Reason.UNREADABLE), entry


def test_v3000_of_more_atoms_than_are_read(read):
    atoms = "".join(f"M  V30 {n} He {3 * n} 0 0 0\n" for n in range(1, 5002))
    head = "\n\n\n  0  0  0  0  0  0            999 V3000\nM  V30 BEGIN CTAB\nM  V30 COUNTS 5001 0 0 0 0\n"
    (entry,) = read("a.sdf", f"{head}M  V30 BEGIN ATOM\n{atoms}M  V30 END ATOM\nM  V30 END CTAB\nM  END\n$$$$\n")
    assert isinstance(entry, Failure) and "at most 5000 atoms" in entry.detail


@pytest.mark.parametrize("wide", [True, False])
def test_lines_of_v3000_that_go_on(read, wide):
    text = block("CO", v3000=True)
    line = next(line for line in text.split("\n") if line.startswith("M  V30 1 C"))
    words = line[7:].split()
    parts = [" ".join(words[:at]) for at in range(len(words) + 1)]
    pieces = [after[len(before) :] for before, after in itertools.pairwise(parts)]
    broken = "-\n".join(f"M  V30 {' ' * 60 * wide}{piece}" for piece in pieces)
    (entry,) = read("a.sdf", text.replace(line, broken))
    assert isinstance(entry, Molecule) and entry.smiles == "CO"


def test_a_line_of_v3000_that_goes_on_too_long(read):
    text = block("CO", v3000=True)
    line = next(line for line in text.split("\n") if line.startswith("M  V30 1 C"))
    more = f"M  V30 {' ' * 60}x-\n" * 80_000
    bad, good = read("a.sdf", text.replace(line, more + line) + text)
    assert isinstance(bad, Failure) and "more than 262144 characters in continued lines" in bad.detail
    assert isinstance(good, Molecule)


@pytest.mark.parametrize("long", ["x" * 6000 + "\n", "x\n" * 3000, "x" * 20_000])
@pytest.mark.parametrize("last", [True, False])
def test_a_long_record_is_one_failure(read, monkeypatch, long, last):
    monkeypatch.setattr("qmgen.molecules.readers.sdf.LONGEST", 5000)
    monkeypatch.setattr("qmgen.molecules.readers.text.read_lines.__defaults__", (5000,))
    bad = METHANOL.replace("$$$$\n", f">  <data>\n{long}")
    entries = read("a.sdf", f"{METHANOL}{bad}" if last else f"{METHANOL}{bad}\n$$$$\n{METHANOL}")
    assert [isinstance(entry, Molecule) for entry in entries] == [True, False, True][: 3 - last]
    assert entries[1].detail == "a record of more than 5000 characters"
    assert [entry.molecule_id for entry in entries] == [0, 1, 2][: 3 - last]


@pytest.mark.parametrize(
    ("smiles", "scale"), [("CCO", 1.0), ("CCO", 0.55), ("N", 1.0), ("c1ccccc1", 1.0), ("c1ccccc1", 0.6)]
)
def test_a_drawing_that_says_3d(read, smiles, scale):
    (entry,) = read("a.sdf", block(smiles, flat=True, scale=scale))
    assert isinstance(entry, Failure) and entry.reason in (Reason.BAD_COORDINATES, Reason.SMILES_MISMATCH)
    assert scale != 1.0 or "flat drawing" in entry.detail


@pytest.mark.parametrize("smiles", ["c1ccccc1", "O", "C=C", "C#C", "O=C=O", "NC=O", "[H][H]", "O=CO", "C#N", "c1ccoc1"])
def test_flat_molecules_are_no_drawings(read, smiles):
    (entry,) = read("a.sdf", block(smiles))
    assert isinstance(entry, Molecule) and entry.smiles == Chem.CanonSmiles(smiles)


@pytest.mark.parametrize("center", ["C", "B", "N"])
def test_bonds_that_break_rules_of_valence(read, center):
    text = METHANOL.replace(" C   0", f" {center:<2}  0").replace("  2  6  1  0", "  1  6  2  0")
    (entry,) = read("a.sdf", text)
    assert isinstance(entry, Failure) and entry.reason is Reason.UNREADABLE
    assert "valence" in entry.detail and "give the geometry as .xyz" in entry.detail


def test_bonds_of_another_geometry(read):
    ether = block("COC").split("\n")
    ethanol = block("CCO").split("\n")
    mixed = [*ethanol[:4], *ether[4:13], *ethanol[13:]]
    mixed[4:13] = [line[:30] + other[30:] for line, other in zip(ether[4:13], ethanol[4:13], strict=True)]
    (entry,) = read("a.sdf", "\n".join(mixed))
    assert isinstance(entry, Failure) and entry.reason is Reason.SMILES_MISMATCH and "no bond" in entry.detail
    (entry,) = read("a.sdf", block("CCO", scale=1.8897))
    assert isinstance(entry, Failure) and entry.reason is Reason.BAD_COORDINATES and "unit" in entry.detail


@pytest.mark.parametrize("angstrom", [0.4, 0.74, 3.0, 10.0])
def test_a_scan_of_hydrogen(read, angstrom):
    lines = [
        "",
        "",
        "",
        "  2  1  0  0  0  0  0  0  0  0999 V2000",
        f"{0:10.4f}{0:10.4f}{0:10.4f} H   0  0",
        "",
        "  1  2  1",
        "M  END",
        "$$$$",
        "",
    ]
    lines[5] = f"{0:10.4f}{0:10.4f}{angstrom:10.4f} H   0  0"
    (entry,) = read("a.sdf", "\n".join(lines))
    assert isinstance(entry, Molecule) and entry.smiles == "[H][H]"
