"""The ``.xyz`` reader: columns, numbers, the count of atoms, what follows a frame, and sizes."""

from __future__ import annotations

import time

import numpy as np
import pytest

from qmgen.molecules.geometry import MOST_ATOMS, number_of
from qmgen.molecules.types import Failure, Molecule, Reason
from tests.molecules.geometries import ROWS, SYMBOLS, assert_water, frame, in_angstrom, water

#: the first file of QM9 (Ramakrishnan et al. 2014), with its trailing lines
QM9_METHANE = """5
gdb 1\t157.7118\t157.70997\t157.70699\t0.\t13.21\t-0.3877\t0.1171\t0.5048\t35.3641\t0.044749\t-40.47893\t-40.476062\t-40.475117\t-40.498597\t6.469\t
C\t-0.0126981359\t 1.0858041578\t 0.0080009958\t-0.535689
H\t 0.002150416\t-0.0060313176\t 0.0019761204\t 0.133921
H\t 1.0117308433\t 1.4637511618\t 2.765748*^-4\t 0.133922
H\t-0.540815069\t 1.4475266138\t-0.8766437152\t 0.133923
H\t-0.5238136345\t 1.4379326443\t 0.9063972942\t 0.133923
1341.307\t1341.3284\t1341.365\t1562.6731\t1562.7453\t3038.3205\t3151.6034\t3151.6788\t3151.7078
C\tC\t
InChI=1S/CH4/h1H4\tInChI=1S/CH4/h1H4
"""  # noqa: E501


# ---- columns


@pytest.mark.parametrize(
    ("properties", "before", "after"),
    [
        ("species:S:1:pos:R:3", "", ""),
        ("species:S:1:pos:R:3:forces:R:3", "", "1.5 2.5 3.5"),
        ("species:S:1:id:I:1:pos:R:3", "{i}", ""),
        ("species:S:1:masses:R:1:Z:I:1:pos:R:3", "1.008 {z}", ""),
        ("species:S:1:momenta:R:3:pos:R:3:move_mask:L:1", "0.1 0.2 0.3", "T"),
        ("species:S:1:forces:R:3:tags:I:1:pos:R:3:energies:R:1", "1e-3 -2 3 0", "-0.5"),
        ("species:S:1:initial_charges:R:1:pos:R:3:magmoms:R:1", "0.0", "0.0"),
    ],
)
@pytest.mark.parametrize(
    "form", ["Properties={}", 'energy=-76.4 Properties = "{}" pbc="F F F"', '{{"Properties":"{}"}}']
)
def test_properties_name_the_columns(read, properties, before, after, form):
    lines = [
        f"{s} {before.format(i=i, z=8 if s == 'O' else 1)} {row} {after}"
        for i, (s, row) in enumerate(zip(SYMBOLS, ROWS, strict=True))
    ]
    (entry,) = read("a.xyz", frame(form.format(properties), lines))
    assert_water(entry)


def test_properties_may_give_the_element_anywhere_and_as_a_number(read):
    lines = [f"{row} {i} {z}" for i, (row, z) in enumerate(zip(ROWS, (8, 1, 1), strict=True))]
    (entry,) = read("a.xyz", frame("Properties=pos:R:3:id:I:1:Z:I:1", lines))
    assert_water(entry)


@pytest.mark.parametrize(
    ("properties", "after"),
    [
        ("species:S:1:pos:R:3:forces:R:3", "1 2"),
        ("species:S:1:pos:R:3", "1"),
        ("species:S:1:forces:R:3", ""),
        ("species:S:1:pos:R:3:pos:R:3", "1 2 3"),
        ("pos:R:3:id:S:1", ""),
        ("species:S:1:pos:R:2:z:R:1", ""),
        ("species:S:1:pos:R", ""),
        ("species:S:1:pos:Q:3", ""),
        ("species:S:1:pos:R:" + "9" * 5000, ""),
        ("species:S:1:pos:R:3:Z:I:1", "7"),
        ("", ""),
    ],
)
def test_lines_that_are_not_as_properties_says_are_refused(read, properties, after):
    (entry,) = read("a.xyz", water(f"Properties={properties}", after=after))
    assert isinstance(entry, Failure) and entry.reason in (Reason.UNREADABLE, Reason.BAD_COORDINATES)


@pytest.mark.parametrize("before", ["{i}", "7", "{i}.0", "1.008", "0.1 0.2 0.3", "-0.02", "12 1.0"])
@pytest.mark.parametrize("after", ["", "0.5"])
def test_columns_before_the_positions_are_never_taken_for_positions(read, before, after):
    (entry,) = read("a.xyz", water("x", before, after))
    assert isinstance(entry, Failure) and "Properties=" in entry.detail


@pytest.mark.parametrize(
    "column",
    [
        ("8", "1", "1"),
        ("15.999", "1.008", "1.008"),
        ("16.0", "1.0", "1.0"),
        ("1.52", "1.2", "1.2"),
        ("1.0", "2.0", "3.0"),
        ("-0.5", "0.25", "0.25"),
    ],
)
def test_values_of_each_atom_before_the_positions_are_refused(read, column):
    lines = [f"{s} {c} {row}" for s, c, row in zip(SYMBOLS, column, ROWS, strict=True)]
    (entry,) = read("a.xyz", frame("x", lines))
    assert isinstance(entry, Failure) and entry.reason is Reason.UNREADABLE and "ambiguous" in entry.detail


@pytest.mark.parametrize("after", ["text", "C_3 T", "-0.7", "0.0001 label"])
def test_what_must_stand_after_the_positions_is_passed_over(read, after):
    tilted = ["0.31 0.42 0.13", "0.98 -0.25 0.19", "-0.42 -0.20 0.33"]
    lines = [f"{s} {row} {after}" for s, row in zip(SYMBOLS, tilted, strict=True)]
    (entry,) = read("a.xyz", frame("x", lines))
    assert np.allclose(in_angstrom(entry)[0], [0.31, 0.42, 0.13], atol=1e-6)


@pytest.mark.parametrize("after", ["nan", "0_1", "D-3", "1,5", "*^2", "0.1 1e"])
def test_broken_numbers_after_three_are_no_text(read, after):
    (entry,) = read("a.xyz", water("x", after=after))
    assert isinstance(entry, Failure) and entry.reason is Reason.BAD_COORDINATES


@pytest.mark.parametrize("after", ["1 2 3", "0.1 0.2", "0.0 0.757 0.2 1"])
def test_several_numbers_after_three_are_ambiguous(read, after):
    (entry,) = read("a.xyz", water("x", after=after))
    assert isinstance(entry, Failure) and "Properties=" in entry.detail


TILTED = ["0.31 0.42 0.13", "0.98 -0.25 0.19", "-0.42 -0.20 0.33"]


@pytest.mark.parametrize(
    "after",
    [
        ("0.01 -0.02 0.03", "-0.004 0.01 0.0", "0.05 0.0 -0.01"),
        ("0 0 0", "0 0 0", "0 0 0"),
        ("-51.2 13.1 7.5", "30.5 -12.7 4.2", "20.7 -0.4 -11.7"),
        ("0.1 0.2 0.3 -0.4 55.5 6.6 0.7", "0.2 0.1 0.3 0.4 15.5 6.1 0.9", "0.3 0.1 0.2 0.4 35.1 6.6 0.4"),
    ],
)
def test_vectors_after_the_positions_are_passed_over(read, after):
    lines = [f"{s} {row} {more}" for s, row, more in zip(SYMBOLS, TILTED, after, strict=True)]
    (entry,) = read("a.xyz", frame("x", lines))
    assert np.allclose(in_angstrom(entry), [[float(x) for x in row.split()] for row in TILTED], atol=1e-6)


@pytest.mark.parametrize("first", [TILTED, ["0.3 0.1 0.0", "0.0 1.1 0.0", "0.9 0.3 0.7"]])
def test_vectors_that_place_bonds_themselves_are_ambiguous(read, first):
    lines = [f"{s} {vector} {row}" for s, vector, row in zip(SYMBOLS, first, TILTED, strict=True)]
    (entry,) = read("a.xyz", frame("x", lines))
    assert isinstance(entry, Failure) and entry.reason is not Reason.NET_CHARGE


def test_counted_atoms_without_elements_are_refused(read):
    (entry,) = read("a.xyz", frame("x", [f"{i + 1} {row}" for i, row in enumerate(ROWS)]))
    assert isinstance(entry, Failure) and "no element" in entry.detail


# ---- numbers


@pytest.mark.parametrize(
    ("text", "value"), [("1.0D-3", 1e-3), ("1.0*^-3", 1e-3), ("-2.5d0", -2.5), ("+.5", 0.5), ("2.", 2.0), ("1e+0", 1.0)]
)
def test_numbers_of_fortran_and_mathematica(read, text, value):
    (entry,) = read("a.xyz", f"2\n\nH 0 0 {text}\nH 0 3 0\n")
    assert abs(in_angstrom(entry)[0, 2] - value) < 1e-6


@pytest.mark.parametrize(
    "text",
    [
        "0_0.7_4",
        "1_0",
        "٠.٧٤",
        "0.7४",
        "0x1p3",
        "nan",
        "inf",
        "-Infinity",
        "1e400",
        "10000.1",
        "-1.1e4",
        "1,5",
        "1.0-3",
        "--1",
    ]
    + ["1" * 5000, "0." + "1" * 5000, "1e" + "9" * 5000, "1.0 D-3", "−1", "1·5", "1.0f"],
)
def test_numbers_that_are_refused(read, text):
    (entry,) = read("a.xyz", f"2\n\nH 0 0 0\nH 0 0 {text}\n")
    assert isinstance(entry, Failure) and entry.reason is Reason.BAD_COORDINATES and len(entry.detail) <= 200


@pytest.mark.parametrize("text", ["1" * 5000, "H" * 5000, "٦", "ſi", "119", "0", "-1", "C1", "X", "6.0"])
def test_elements_that_are_none(read, text):
    assert number_of(text) is None
    (entry,) = read("a.xyz", f"1\n\n{text} 0 0 0\n")
    assert isinstance(entry, Failure) and entry.reason is Reason.UNREADABLE and len(entry.detail) <= 200


# ---- the count and what states a cell


def test_a_unit_after_the_count(read):
    (entry,) = read("a.xyz", "2 au\nx\nH 0 0 0\nH 0 0 1.4\n")
    assert entry.positions[1, 2] == np.float64(np.float32(1.4))
    (entry,) = read("a.xyz", "2 bohr\nunits=angstrom\nH 0 0 0\nH 0 0 1.4\n")
    assert isinstance(entry, Failure)


def test_vectors_of_a_cell_after_the_atoms(read):
    entry, other = read("a.xyz", water("x") + "VEC1 9 0 0\nVEC2 0 9 0\nVEC3 0 0 9\n" + water("y"))
    assert isinstance(entry, Failure) and "periodic cell" in entry.detail
    assert_water(other)


# ---- what follows a frame


def test_raw_files_of_qm9_one_after_the_other(read):
    entries = read("a.xyz", QM9_METHANE + QM9_METHANE + water("w"))
    assert [len(entry.numbers) for entry in entries] == [5, 5, 3]
    assert np.allclose(in_angstrom(entries[0])[2], [1.0117308433, 1.4637511618, 2.765748e-4], atol=1e-6)


def test_planar_molecules_of_qm9_need_no_other_evidence(read):
    """Water in the yz plane with small charges: without QM9's comment both readings of four numbers place bonds."""
    comment = QM9_METHANE.splitlines()[1]
    lines = [f"{s} {row} {q}" for s, row, q in zip(SYMBOLS, ROWS, ("-0.3", "0.15", "0.15"), strict=True)]
    qm9, unknown, charged = read(
        "a.xyz",
        frame(comment, lines) + frame("x", lines) + frame(comment, [line + "9" for line in lines[:1]] + lines[1:]),
    )
    assert_water(qm9)
    assert isinstance(unknown, Failure) and isinstance(charged, Molecule)


@pytest.mark.parametrize("after", ["\n\n", "energy -76.4\n", "O\tO\nInChI=1S/H2O/h1H2\n", "1595.1\t3657.2\t3756.1\n"])
def test_lines_after_a_frame_are_no_frame(read, after):
    entries = read("a.xyz", water("a") + after + water("b") + after)
    assert [entry.name for entry in entries] == ["a", "b"]
    for entry in entries:
        assert_water(entry)


@pytest.mark.parametrize(
    "broken",
    ["two\nx\nH 0 0 0\nH 0 0 1\n", "x\nH 0 0 zero\nH 0.0 0,1 1\n", "3 atoms\nx\n", "-2\n", "2.0\nx\n", "\0\0\0\0\n"]
    + ["\n\nwater\nO 0 0 1\n", "#\nO;0;0;1\n"],
)
def test_a_broken_frame_after_a_whole_one_is_a_failure(read, broken):
    first, bad, last = read("a.xyz", water("a") + broken + water("b"))
    assert isinstance(bad, Failure) and bad.reason is Reason.UNREADABLE and bad.molecule_id == 1
    for entry in (first, last):
        assert_water(entry)


@pytest.mark.parametrize("gap", ["", "\n"])
def test_more_atoms_than_the_count_says_refuse_the_frame(read, gap):
    entry, other = read("a.xyz", "2\nx\nH 0 0 0\nH 0 0 0.74\n" + gap + "H 0 0 3\n" + water("b"))
    assert isinstance(entry, Failure) and "more follow" in entry.detail
    assert_water(other)


# ---- sizes


@pytest.mark.parametrize("count", [str(MOST_ATOMS + 1), "200000", "9" * 5000, "000" + "9" * 40])
@pytest.mark.parametrize("atoms", [3, 200_000])
def test_a_frame_of_too_many_atoms_is_passed_over(read, count, atoms):
    begun = time.process_time()
    entries = read("a.xyz", frame("big", ["He 0 0 0"] * atoms, count) + water("small"))
    bad = entries[0]
    assert isinstance(bad, Failure) and str(MOST_ATOMS) in bad.detail and bad.name == "big"
    if atoms == 3 or len(count) > 5:
        assert len(entries) == 2
        assert_water(entries[1])
    assert time.process_time() - begun < 60  # a comparison of all pairs of atoms takes ten minutes


def test_the_most_atoms_that_are_read(read):
    side = np.arange(MOST_ATOMS // 2)
    lines = [f"H {3 * (i % 50)} {3 * (i // 50)} {z}" for i in side for z in ("0", "0.74")]
    (entry,) = read("a.xyz", frame("x", lines))
    assert isinstance(entry, Molecule) and len(entry.numbers) == MOST_ATOMS


def test_lines_of_any_length(read):
    long = "x" * 3_000_000
    entries = read(
        "a.xyz", f"2\n{long}\nH 0 0 0\nH 0 0 0.74\n" + water("a") + f"2\n\nH 0 0 {long}\nH 0 0 1\n" + water("b")
    )
    assert [isinstance(entry, Molecule) for entry in entries] == [False, True, False, True]
    assert all(len(entry.name) < 10 for entry in entries)
