"""Readers of geometries: ``.sdf``, ``.xyz`` and ``.parquet``, good and bad input, and exactness of positions."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rdkit import Chem
from rdkit.Chem import AllChem

from qmgen.constants import BOHR_TO_ANGSTROM
from qmgen.errors import UsageError
from qmgen.molecules.readers import read_molecules
from qmgen.molecules.types import Failure, Molecule, Reason

WATER = "3\nwater\nO -1.551007 -0.114520 0\nH -1.934259 0.762503 0\nH -0.599677 0.040712 0\n"
HYDROGEN = "2\nhydrogen\nH 0 0 0\nH 0 0 0.74\n"


def block(smiles: str, name: str = "", hydrogens: bool = True) -> str:
    mol = Chem.MolFromSmiles(smiles)
    mol = Chem.AddHs(mol)
    AllChem.EmbedMolecule(mol, randomSeed=7)
    mol = mol if hydrogens else Chem.RemoveHs(mol)
    mol.SetProp("_Name", name)
    return Chem.MolToMolBlock(mol)


def assert_stored_precision(positions: np.ndarray) -> None:
    assert positions.dtype == np.float64
    assert np.array_equal(positions, positions.astype(np.float32).astype(np.float64))


# ---- xyz


def test_xyz_in_angstrom_rounded_once(read):
    (water,) = read("a.xyz", WATER)
    assert isinstance(water, Molecule) and water.name == "water" and water.smiles == "" and water.charge == 0
    assert water.numbers.dtype == np.uint8 and water.numbers.tolist() == [8, 1, 1]
    assert_stored_precision(water.positions)
    exact = np.array([[-1.551007, -0.114520, 0], [-1.934259, 0.762503, 0], [-0.599677, 0.040712, 0]])
    assert np.array_equal(water.positions, (exact / BOHR_TO_ANGSTROM).astype(np.float32).astype(np.float64))


def test_xyz_frames_windows_endings_blank_lines_numbers_and_names(read):
    text = WATER + "\n\n" + '2\nenergy=-1.1 name="di hydrogène" charge=0\n1 0 0 0 9.9\nh 0 0 0.74\n' + "1\n\nNe 0 0 0"
    entries = read("a.xyz", text.replace("\n", "\r\n"))
    assert [(e.molecule_id, e.name, len(e.numbers)) for e in entries] == [
        (0, "water", 3),
        (1, "di hydrogène", 2),
        (2, "", 1),
    ]


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        ("2\nx\nH 0 0 nan\nH 0 0 1\n", Reason.BAD_COORDINATES),
        ("2\nx\nH 0 0 inf\nH 0 0 1\n", Reason.BAD_COORDINATES),
        ("2\nx\nH 0 0 1e60\nH 0 0 1\n", Reason.BAD_COORDINATES),
        ("2\nx\nH 0 0 one\nH 0 0 1\n", Reason.BAD_COORDINATES),
        ("2\nx\nH 0 0\nH 0 0 1\n", Reason.BAD_COORDINATES),
        ("2\nx\nH 0 0 0\nH 0 0 0\n", Reason.COINCIDENT_ATOMS),
        ("2\nx\nH 0 0 0\nH 0 0 0.09\n", Reason.COINCIDENT_ATOMS),
        ("2\nx\nH 0 0 0\nF 0 0 0.45\n", Reason.BAD_COORDINATES),
        ("2\nx\nQq 0 0 0\nH 0 0 1\n", Reason.UNREADABLE),
        ("2\nx charge=+1\nH 0 0 0\nH 0 0 1\n", Reason.NET_CHARGE),
        ("2\nx charge=half\nH 0 0 0\nH 0 0 1\n", Reason.UNREADABLE),
        ("2\nx\nN 0 0 0\nO 0 0 1.15\n", Reason.ODD_ELECTRONS),
        ("3\nx\nH 0 0 0\nH 0 0 1\n", Reason.UNREADABLE),
        ("0\nx\n", Reason.UNREADABLE),
        ("two\nx\nH 0 0 0\nH 0 0 1\n", Reason.UNREADABLE),
        ("-2\nx\nH 0 0 0\nH 0 0 1\n", Reason.UNREADABLE),
        ("99999999999999\nx\nH 0 0 0\nH 0 0 1\n", Reason.UNREADABLE),
    ],
)
def test_xyz_bad_frame_is_one_failure_and_reading_goes_on(read, frame, reason):
    entries = read("a.xyz", WATER + frame + HYDROGEN)
    assert [e.molecule_id for e in entries] == [0, 1, 2]
    assert isinstance(entries[1], Failure) and entries[1].reason is reason and "\n" not in entries[1].detail
    assert entries[2].name == "hydrogen" and isinstance(entries[2], Molecule)


def test_xyz_cut_off_at_the_end(read):
    entries = read("a.xyz", HYDROGEN + WATER[:40])
    assert isinstance(entries[0], Molecule) and entries[1].reason is Reason.UNREADABLE and entries[1].name == "water"


def test_xyz_many_broken_frames(read):
    entries = read("a.xyz", "4\nx\nH 0 0 0\n" * 5000 + HYDROGEN)
    assert len(entries) == 5001 and isinstance(entries[-1], Molecule)


# ---- sdf


def test_sdf_geometry_as_given_and_canonical_smiles(read):
    text = block("OCC", "Äthanol")
    (ethanol,) = read("a.sdf", text + "$$$$\n")
    assert (ethanol.name, ethanol.smiles, ethanol.molecule_id) == ("Äthanol", "CCO", 0)
    assert_stored_precision(ethanol.positions)
    given = Chem.MolFromMolBlock(text, removeHs=False).GetConformer().GetPositions()
    assert np.abs(ethanol.positions * BOHR_TO_ANGSTROM - given).max() < 1e-6
    assert ethanol.numbers.tolist() == [8, 6, 6] + [1] * 6


def test_sdf_records_endings_and_data_fields(read):
    text = "$$$$\n".join(
        [block("CCO", "a") + "> <x>\n1\n\n", "rubbish\n\n\n", block("[H][H]", "h2"), block("C", "last")]
    )
    entries = read("a.sdf", text.replace("\n", "\r\n"))
    assert [e.molecule_id for e in entries] == [0, 1, 2, 3]
    assert entries[1].reason is Reason.UNREADABLE and entries[1].name == "rubbish"
    assert [e.smiles for e in entries] == ["CCO", "", "[H][H]", "C"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (block("CC(=O)[O-]"), Reason.NET_CHARGE),
        (block("[CH3]"), Reason.ODD_ELECTRONS),
        (block("CCO", hydrogens=False), Reason.BAD_COORDINATES),
        (block("CCO").replace("RDKit          3D", "RDKit          2D"), Reason.BAD_COORDINATES),
        ("\n\n\n  0  0  0  0  0  0  0  0  0  0999 V2000\nM  END\n", Reason.UNREADABLE),
    ],
)
def test_sdf_bad_records(read, capfd, text, reason):
    bad, good = read("a.sdf", text + "$$$$\n" + block("N") + "$$$$\n")
    assert isinstance(bad, Failure) and bad.reason is reason, bad
    assert isinstance(good, Molecule) and capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("value", "reason"), [("nan", Reason.BAD_COORDINATES), ("0.0", Reason.COINCIDENT_ATOMS)])
def test_sdf_bad_positions(read, value, reason):
    lines = block("[H][H]").splitlines()
    for at in (4, 5):
        lines[at] = f"{value:>10}" * 3 + lines[at][30:]
    (bad,) = read("a.sdf", "\n".join(lines) + "\n$$$$\n")
    assert bad.reason is reason


# ---- parquet


def parquet(tmp_path, **columns):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table(columns), path)
    return list(read_molecules(path))


FLAT = [0.0, 0.0, 0.0, 0.0, 0.0, 1.4]


def test_parquet_in_the_names_of_qm1b(tmp_path):
    entries = parquet(tmp_path, smile=["[H][H]", ""], atoms=["HH", "H F"], z=[[1, 1], [1, 9]], pos=[FLAT, FLAT])
    assert [(e.molecule_id, e.conformer_id, e.smiles) for e in entries] == [(0, 0, "[H][H]"), (1, 0, "")]
    assert entries[0].positions.shape == (2, 3) and entries[0].positions[1, 2] == np.float64(np.float32(1.4))
    assert_stored_precision(entries[0].positions)


@pytest.mark.parametrize("atoms", ["HF", "H F", "H,F", "['H', 'F']", ["H", "F"], [1, 9]])
def test_parquet_atoms_without_z(tmp_path, atoms):
    (entry,) = parquet(tmp_path, atoms=[atoms], pos=[FLAT])
    assert entry.numbers.tolist() == [1, 9]


def test_parquet_keeps_the_keys_of_a_corpus(tmp_path):
    ids = {"molecule_id": [5, 5, None, 6], "conformer_id": [0, 1, 0, 0], "name": ["ä", "ä", None, "b"]}
    entries = parquet(tmp_path, z=[[1, 1]] * 4, pos=[FLAT] * 4, smile=["[H][H]"] * 4, **ids)
    assert [(e.molecule_id, e.conformer_id, e.name) for e in entries] == [
        (5, 0, "ä"),
        (5, 1, "ä"),
        (2, -1, ""),
        (6, 0, "b"),
    ]
    assert entries[2].reason is Reason.UNREADABLE


@pytest.mark.parametrize(
    ("z", "pos", "smile", "reason"),
    [
        ([1, 1], FLAT[:5], "", Reason.BAD_COORDINATES),
        ([1, 1], None, "", Reason.BAD_COORDINATES),
        ([1, 1], [*FLAT[:5], float("nan")], "", Reason.BAD_COORDINATES),
        ([1, 1], [0.0] * 6, "", Reason.COINCIDENT_ATOMS),
        (None, FLAT, "", Reason.UNREADABLE),
        ([], [], "", Reason.UNREADABLE),
        ([0, 1], FLAT, "", Reason.UNREADABLE),
        ([300, 1], FLAT, "", Reason.UNREADABLE),
        ([1, 2], FLAT, "", Reason.ODD_ELECTRONS),
        ([1, 1], FLAT, "[H-]", Reason.NET_CHARGE),
    ],
)
def test_parquet_bad_rows(tmp_path, z, pos, smile, reason):
    good = {"z": [1, 1], "pos": FLAT, "smile": "[H][H]"}
    entries = parquet(tmp_path, z=[good["z"], z, good["z"]], pos=[FLAT, pos, FLAT], smile=["", smile, ""])
    assert [e.molecule_id for e in entries] == [0, 1, 2]
    assert isinstance(entries[1], Failure) and entries[1].reason is reason
    assert isinstance(entries[2], Molecule)


def test_parquet_without_its_columns_or_no_parquet(tmp_path):
    with pytest.raises(UsageError, match="the columns are z, x"):
        parquet(tmp_path, z=[[1, 1]], x=[1])
    with pytest.raises(UsageError, match="'z' or 'atoms'"):
        parquet(tmp_path, pos=[FLAT])
    (tmp_path / "b.parquet").write_text("no parquet at all")
    with pytest.raises(UsageError, match="is not a Parquet file"):
        read_molecules(tmp_path / "b.parquet")


WATER_IN_BOHR = [0.0, 0.0, 0.221, 0.0, 1.430, -0.886, 0.0, -1.430, -0.886]


@pytest.mark.parametrize("factor", [BOHR_TO_ANGSTROM**-1, BOHR_TO_ANGSTROM**-2, 53.0])
@pytest.mark.parametrize("unit", [None, "", "1", "Bohr"])
def test_parquet_of_atoms_that_are_all_far_apart_must_state_its_unit(tmp_path, unit, factor):
    field = pa.field("pos", pa.list_(pa.float64()), metadata={} if unit is None else {"unit": unit})
    schema = pa.schema([pa.field("z", pa.list_(pa.int64())), field])
    rows = {"z": [[8, 1, 1]] * 2, "pos": [WATER_IN_BOHR, [factor * x for x in WATER_IN_BOHR]]}
    pq.write_table(pa.table(rows, schema=schema), tmp_path / "a.parquet")
    near, far = read_molecules(tmp_path / "a.parquet")
    assert isinstance(near, Molecule)
    if unit == "Bohr":
        assert isinstance(far, Molecule)
    else:
        assert isinstance(far, Failure) and "{'unit': 'Bohr'}" in far.detail
