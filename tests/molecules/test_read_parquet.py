"""Parquet geometries: units, shapes of ``pos``, identifiers, and sizes that a small file states."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qmgen.constants import BOHR_TO_ANGSTROM
from qmgen.errors import UsageError
from qmgen.molecules.readers import read_files, read_molecules
from qmgen.molecules.types import Failure, Molecule, Reason
from tests.molecules.geometries import BOHR, METHANE, Z

H2 = [0.0, 0.0, 0.0, 0.0, 0.0, 1.4]


def write(folder: Path, pos: Any, z: Any = None, metadata: dict[str, str] | None = None, **columns: Any) -> Path:
    path = folder / "a.parquet"
    z = [Z] if z is None else z
    pos = pos if isinstance(pos, pa.Array) else pa.array(pos)
    fields = [pa.field("pos", pos.type, metadata=metadata), pa.field("z", pa.list_(pa.uint8()))]
    table = pa.table([pos, pa.array(z, pa.list_(pa.uint8()))], schema=pa.schema(fields))
    for name, column in columns.items():
        table = table.append_column(name, column if isinstance(column, pa.Array) else pa.array(column))
    pq.write_table(table, path)
    return path


def positions(entry: Molecule | Failure) -> np.ndarray:
    assert isinstance(entry, Molecule) and entry.positions is not None, entry
    return entry.positions


STORED = BOHR.astype(np.float32).astype(np.float64)
KINDS = {
    "flat": pa.list_(pa.float64()),
    "float32": pa.list_(pa.float32()),
    "large": pa.large_list(pa.float64()),
    "fixed": pa.list_(pa.float64(), 15),
    "nested": pa.list_(pa.list_(pa.float64())),
    "nested float32": pa.list_(pa.list_(pa.float32())),
    "nested fixed": pa.list_(pa.list_(pa.float64(), 3)),
    "nested large": pa.large_list(pa.large_list(pa.float64())),
}


@pytest.mark.parametrize("kind", KINDS)
def test_flat_and_nested_positions_are_the_same(tmp_path, kind):
    value = BOHR.tolist() if "nested" in kind else BOHR.ravel().tolist()
    (entry,) = read_molecules(write(tmp_path, pa.array([value], KINDS[kind])))
    assert np.array_equal(positions(entry), STORED)


@pytest.mark.parametrize(
    ("pos", "says"),
    [
        ([[BOHR.T.tolist()]], "lists of numbers"),
        ([BOHR.T.tolist()], "3 lists, one of 5 numbers"),
        ([BOHR[:4].tolist()], "4 lists"),
    ]
    + [([BOHR[:, :2].tolist()], "one of 2 numbers"), ([[*BOHR[:4].tolist(), None]], "one of 0 numbers")]
    + [
        ([["a"] * 15], "lists of numbers"),
        ([[True] * 15], "lists of numbers"),
        (["0 0 0"], "lists of numbers"),
        ([1.0], "lists of numbers"),
    ],
)
def test_positions_of_another_shape(tmp_path, pos, says):
    path = write(tmp_path, pos)
    try:
        (entry,) = read_molecules(path)
    except UsageError as error:
        assert says in str(error)
    else:
        assert isinstance(entry, Failure) and entry.reason is Reason.BAD_COORDINATES and says in entry.detail


@pytest.mark.parametrize("key", ["unit", "units", "Unit"])
@pytest.mark.parametrize(
    ("unit", "angstrom"), [("Angstrom", 1.0), ("Å", 1.0), ("bohr", BOHR_TO_ANGSTROM), ("nm", 10.0), ("pm", 0.01)]
)
def test_unit_of_the_metadata(tmp_path, key, unit, angstrom):
    path = write(tmp_path, [(METHANE / angstrom).ravel().tolist()], metadata={key: unit})
    (entry,) = read_molecules(path)
    assert np.abs(positions(entry) - BOHR).max() < 1e-6


def test_unit_of_nested_elements_and_of_the_file(tmp_path):
    inner = pa.field("element", pa.float64(), metadata={"unit": "Angstrom"})
    (entry,) = read_molecules(write(tmp_path, pa.array([METHANE.ravel().tolist()], pa.list_(inner))))
    assert np.abs(positions(entry) - BOHR).max() < 1e-6
    path = write(tmp_path, [METHANE.tolist()])
    pq.write_table(pq.read_table(path).replace_schema_metadata({"pos_unit": "Angstrom"}), path)
    (entry,) = read_molecules(path)
    assert np.abs(positions(entry) - BOHR).max() < 1e-6


@pytest.mark.parametrize("unit", ["", " ", "1", "None", "null"])
def test_metadata_without_a_unit(tmp_path, unit):
    (entry,) = read_molecules(write(tmp_path, [BOHR.tolist()], metadata={"unit": unit}))
    assert np.array_equal(positions(entry), STORED)
    (entry,) = read_molecules(write(tmp_path, [METHANE.tolist()], metadata={"unit": unit}))
    assert isinstance(entry, Failure) and "state its unit in the metadata" in entry.detail


@pytest.mark.parametrize("unit", ["furlong", "eV", "Bohr\nor so"])
def test_unit_that_is_not_known(tmp_path, unit):
    with pytest.raises(UsageError, match="no known unit of length") as error:
        read_molecules(write(tmp_path, [BOHR.tolist()], metadata={"unit": unit}))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("z", "angstrom", "unit", "read"),
    [
        (Z, METHANE, None, False),
        ([9, 1], [[0, 0, 0], [0, 0, 0.92]], None, False),
        ([1, 1], [[0, 0, 0], [0, 0, 0.74]], None, False),
        ([17, 17], [[0, 0, 0], [0, 0, 1.99]], None, False),
        ([1, 1], [[0, 0, 0], [0, 0, 0.4 / BOHR_TO_ANGSTROM]], None, True),
        ([1, 1], [[0, 0, 0], [0, 0, 10 / BOHR_TO_ANGSTROM]], None, True),
        ([1, 1], [[0, 0, 0], [0, 0, 0.74]], "Bohr", True),
        (Z, METHANE, "Bohr", False),
    ],
)
def test_angstrom_without_a_unit(tmp_path, z, angstrom, unit, read):
    path = write(tmp_path, [np.array(angstrom, float).tolist()], [z], metadata={"unit": unit} if unit else None)
    (entry,) = read_molecules(path)
    assert isinstance(entry, Molecule) is read
    if isinstance(entry, Failure):
        how = "Bohr, the unit that its metadata state" if unit else "Bohr: state its unit in the metadata of the field"
        assert entry.reason is Reason.BAD_COORDINATES and f"; pos is read in {how}" in entry.detail
        assert unit or entry.detail.endswith("as {'unit': 'Angstrom'}")


STRUCTURES = pa.list_(pa.struct([("charge", pa.int64()), ("note", pa.string())]))
CHARGED: dict[str, tuple[str, pa.Array]] = {
    "list of structures": ("info", pa.array([[{"charge": 1, "note": "x"}]], STRUCTURES)),
    "structures in it": ("a", pa.array([{"b": [{"total_charge": 1}]}])),
    "list of atoms": ("sites", pa.array([[{"charge": 0.2}] * 5])),
    "map": ("info", pa.array([[("energy", 3), ("charge", 1)]], pa.map_(pa.string(), pa.int64()))),
    "map of another name": ("more", pa.array([[("Charge", "1")]], pa.map_(pa.string(), pa.string()))),
    "map in a structure": (
        "a",
        pa.array([{"m": [("charge", 1.0)]}], pa.struct([("m", pa.map_(pa.string(), pa.float64()))])),
    ),
    "list of maps": ("a", pa.array([[[("charge", 1)]]], pa.list_(pa.map_(pa.string(), pa.int32())))),
    "text in a map": ("info", pa.array([[("text", "charge=1")]], pa.map_(pa.string(), pa.string()))),
    "JSON": ("info", pa.array(['{"charge": 1}'])),
    "JSON in JSON": ("Metadata", pa.array(['{"energy": 3, "qm": {"charge": 1}}'])),
    "JSON as properties": ("properties", pa.array(['{"charge": 1}'])),
    "extended XYZ": ("comment", pa.array(["energy=3 charge=1"])),
    "words": ("Comment", pa.array(["methane, total charge: 1"])),
    "a pair": ("comment", pa.array(["1 2"])),
    "dictionary": ("info", pa.array(["charge=1"]).dictionary_encode()),
    "binary": ("info", pa.array([b"charge=1"])),
    "text in a structure": ("a", pa.array([{"info": "charge=1"}])),
}


@pytest.mark.parametrize("shape", CHARGED)
def test_a_charge_in_any_shape(tmp_path, shape):
    name, column = CHARGED[shape]
    (entry,) = read_molecules(write(tmp_path, [BOHR.tolist()], **{name: column}))
    assert isinstance(entry, Failure) and entry.reason is Reason.NET_CHARGE and "net charge +1" in entry.detail, entry


NEUTRAL: dict[str, tuple[str, pa.Array]] = {
    "list of structures": ("info", pa.array([[{"charge": 0, "note": "x"}]], STRUCTURES)),
    "list of atoms": ("sites", pa.array([[{"charge": -0.4}] + [{"charge": 0.1}] * 4])),
    "no structures": ("info", pa.array([[], None], STRUCTURES)[:1]),
    "null": ("info", pa.array([None], STRUCTURES)),
    "map": ("info", pa.array([[("charge", 0), ("n", 5)]], pa.map_(pa.string(), pa.int64()))),
    "map of others": ("more", pa.array([[("text", "charge=1")]], pa.map_(pa.string(), pa.string()))),
    "map by numbers": ("more", pa.array([[(1, 2)]], pa.map_(pa.int64(), pa.int64()))),
    "JSON": ("info", pa.array(['{"charge": 0, "multiplicity": 1}'])),
    "no JSON": ("Metadata", pa.array(["{broken"])),
    "words": ("comment", pa.array(["methane, energy=-40.5 note='first step'"])),
    "other columns": ("remarks_of_mine", pa.array(["charge=1"])),
    "a long text": ("info", pa.array(["x " * 100_000])),
    "null text": ("info", pa.array([None], pa.string())),
}


@pytest.mark.parametrize("shape", NEUTRAL)
def test_columns_that_state_no_charge(tmp_path, shape):
    name, column = NEUTRAL[shape]
    (entry,) = read_molecules(write(tmp_path, [BOHR.tolist()], **{name: column}))
    assert np.array_equal(positions(entry), STORED)


def test_a_long_text_with_a_charge_is_refused(tmp_path):
    (entry,) = read_molecules(write(tmp_path, [BOHR.tolist()], info=["x " * 100_000 + "charge=1"]))
    assert isinstance(entry, Failure) and "column info has more than 65536 bytes" in entry.detail


@pytest.mark.parametrize(
    ("atoms", "z"),
    [
        ("H2O", None), ("O2", None), ("CH4", None), ("C6 H6", None), ("C 6 H", None), ("6 H H H H", None),
        ("OHH", [6, 1, 1, 1, 1]), ("CHHHC", Z), (["C", "H", "H", "H"], Z), ([6, 1, 1, 1, 9], Z), ("C2H6", Z),
        ("CH5", Z), ("CHHHH H", Z),
    ],
)  # fmt: skip
def test_formulas_and_other_atoms_are_refused(tmp_path, atoms, z):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"atoms": [atoms], "pos": [BOHR.tolist()]} | ({"z": [z]} if z else {})), path)
    (entry,) = read_molecules(path)
    says = "columns z and atoms state different atoms" if z else "symbols and numbers in"
    assert isinstance(entry, Failure) and entry.reason is Reason.UNREADABLE and says in entry.detail, entry


@pytest.mark.parametrize(
    ("atoms", "z"),
    [
        ("CHHHH", None), ("C H H H H", None), ("6 1 1 1 1", None), ("[6, 1, 1, 1, 1]", None),
        ("['C','H','H','H','H']", None),
        ("CHHHH", Z), ("CH4", Z), (["C", "H", "H", "H", "H"], Z), (Z, Z), (5, Z), ("methane", Z), ("", Z), (None, Z),
    ],
)  # fmt: skip
def test_elements_that_agree(tmp_path, atoms, z):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"atoms": [atoms], "pos": [BOHR.tolist()]} | ({"z": [z]} if z else {})), path)
    (entry,) = read_molecules(path)
    assert isinstance(entry, Molecule) and entry.numbers.tolist() == Z, entry


def test_smiles_of_another_molecule(tmp_path):
    path = write(tmp_path, [BOHR.tolist()] * 4, [Z] * 4, smile=["C", "CC", "methane", None])
    entries = list(read_molecules(path))
    assert [getattr(entry, "reason", None) for entry in entries] == [
        None,
        Reason.SMILES_MISMATCH,
        Reason.UNREADABLE,
        None,
    ]
    assert [entry.smiles for entry in entries] == ["C", "CC", "methane", ""]


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("conformer_id", pa.array([0, 2**31, 2**31 - 1])),
        ("molecule_id", pa.array([0, 2**64 - 1, 2**63 - 1], pa.uint64())),
    ]
    + [
        ("molecule_id", pa.array([7, -1, 8])),
        ("molecule_id", pa.array([7, None, 8])),
        ("conformer_id", pa.array([7.0, 0.5, 8.0])),
    ]
    + [
        ("molecule_id", pa.array([True, False, True])),
        ("conformer_id", pa.array([True, False, True])),
        ("molecule_id", pa.array(["a", "b", "c"])),
    ],
)
def test_identifiers_that_no_corpus_holds(tmp_path, column, values):
    entries = list(read_molecules(write(tmp_path, [H2] * 3, [[1, 1]] * 3, **{column: values})))
    whole = pa.types.is_integer(values.type)
    assert [isinstance(entry, Molecule) for entry in entries] == [whole, False, whole]
    assert (entries[1].molecule_id, entries[1].conformer_id) == (1, -1) and column in entries[1].detail
    if whole:
        assert [getattr(entries[at], column) for at in (0, 2)] == [values[0].as_py(), values[2].as_py()]


def test_texts_that_are_not_utf8(tmp_path):
    bad = pa.array([b"\xff\xfe", b"C"], pa.binary()).view(pa.string())
    entries = list(read_molecules(write(tmp_path, [BOHR.tolist()] * 2, [Z] * 2, name=bad, smile=["C", "C"])))
    assert [entry.name for entry in entries] == ["\ufffd\ufffd", "C"] and all(isinstance(e, Molecule) for e in entries)
    first, second = read_molecules(write(tmp_path, [BOHR.tolist()] * 2, [Z] * 2, smile=bad))
    assert isinstance(first, Failure) and isinstance(second, Molecule)


def test_names_of_columns(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"z": [[1, 1]], "pos": [H2], "unknown": [1]}), path, store_schema=False)
    path.write_bytes(path.read_bytes().replace(b"unknown", b"unk\xff\xfewn"))
    with pytest.raises(UsageError, match="not UTF-8"):
        read_molecules(path)
    pq.write_table(
        pa.Table.from_arrays([pa.array([H2]), pa.array([[1, 1]]), pa.array([H2])], ["pos", "z", "pos"]), path
    )
    with pytest.raises(UsageError, match="2 columns 'pos'"):
        read_molecules(path)


# ---- sizes


def zeros(count: int, *lengths: int) -> pa.Array:
    """Lists of these lengths, then one of ``count`` zeros; a byte each in memory, nothing in the file."""
    offsets = np.cumsum([0, *lengths, count]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(np.zeros(offsets[-1], np.int8)))


def test_more_atoms_than_are_read(tmp_path):
    path = write(tmp_path, zeros(60_000, 3), [[2], [1, 1]])
    first, second = read_molecules(path)
    assert isinstance(first, Molecule) and isinstance(second, Failure)
    assert second.reason is Reason.UNREADABLE and "20000 atoms; a molecule of at most 5000" in second.detail
    (entry,) = read_molecules(write(tmp_path, [H2], [[1] * 5001]))
    assert isinstance(entry, Failure) and "5001 atoms; a molecule of at most 5000" in entry.detail


@pytest.mark.parametrize("lengths", [(), (0,) * 5000])
def test_a_small_file_takes_little_memory(tmp_path, monkeypatch, lengths):
    count = 2**24 + 2
    z = pa.ListArray.from_arrays(
        pa.array(np.array([*([0] * (len(lengths) + 1)), count // 3], np.int32)), pa.array(np.ones(count // 3, np.uint8))
    )
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"z": z, "pos": zeros(count, *lengths)}), path, row_group_size=10**9)
    assert path.stat().st_size < 3000
    monkeypatch.setattr(pq.ParquetFile, "iter_batches", lambda *_, **__: pytest.fail("the row is decoded"))
    if lengths:
        with pytest.raises(
            UsageError, match=rf"rows 0 to {len(lengths)}: column pos has {count + len(lengths)} values"
        ):
            list(read_molecules(path))
    else:
        (entry,) = read_molecules(path)
        assert isinstance(entry, Failure) and f"{count} values in 1 rows" in entry.detail


def test_long_texts_that_are_written_once(tmp_path):
    once = pa.DictionaryArray.from_arrays(pa.array([0, 1], pa.int32()), pa.array(["x" * 70_000, "methane"]))
    first, second = read_molecules(write(tmp_path, [BOHR.tolist()] * 2, [Z] * 2, name=once))
    assert isinstance(first, Failure) and "column name has more than 65536 bytes" in first.detail
    assert isinstance(second, Molecule) and second.name == "methane"
    symbols = pa.array([["C", "H", "H", "H", "H" * 2_000_000]])
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"atoms": symbols, "pos": [BOHR.tolist()]}), path)
    (entry,) = read_molecules(path)
    assert isinstance(entry, Failure) and "bytes for 5 values" in entry.detail


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.binary(), pa.dictionary(pa.int8(), pa.string()), pa.int64()]
)
def test_names_of_any_kind(tmp_path, kind):
    names = pa.array([1, None]) if kind == pa.int64() else pa.array(["1", None]).cast(kind)
    entries = read_molecules(write(tmp_path, [H2] * 2, [[1, 1]] * 2, name=names))
    assert [entry.name for entry in entries] == ["1", ""]


@pytest.mark.parametrize("kind", [pa.string(), pa.list_(pa.string()), pa.list_(pa.uint8()), pa.list_(pa.int64())])
def test_elements_of_any_kind(tmp_path, kind):
    atoms = "CHHHH" if kind == pa.string() else list("CHHHH") if kind.value_type == pa.string() else Z
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"atoms": pa.array([atoms], kind), "pos": [BOHR.tolist()]}), path)
    (entry,) = read_molecules(path)
    assert isinstance(entry, Molecule) and entry.numbers.tolist() == Z


@pytest.mark.parametrize("atoms", [[6, 1], [6.0], [[6.0, 1.0]], [True], [[True]]])
def test_elements_of_a_wrong_kind(tmp_path, atoms):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"z": atoms, "pos": [BOHR.tolist()] * len(atoms)}), path)
    with pytest.raises(UsageError, match="not the elements of the atoms"):
        read_molecules(path)


def test_files_behind_one_of_large_identifiers(tmp_path):
    large = write(tmp_path, [H2], [[1, 1]], molecule_id=[2**63 - 1]).rename(tmp_path / "large.parquet")
    assert [entry.molecule_id for entry in read_files([large, large])] == [0, 1]
