"""The ``.xyz`` reader: columns, numbers, units, cells, what follows a frame, and sizes."""

from __future__ import annotations

import time

import numpy as np
import pytest

from qmgen.constants import BOHR_TO_ANGSTROM
from qmgen.molecules.geometry import MOST_ATOMS, number_of
from qmgen.molecules.types import Failure, Molecule, Reason

WATER = np.array([[0.0, 0.0, 0.117], [0.0, 0.757, -0.469], [0.0, -0.757, -0.469]])
SYMBOLS = ("O", "H", "H")
ROWS = [f"{x:.3f} {y:.3f} {z:.3f}" for x, y, z in WATER]
#: the first file of QM9 (Ramakrishnan et al. 2014), with its trailing lines
METHANE = """5
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


def frame(comment: str, lines: list[str], count: str | None = None) -> str:
    return "\n".join([count or str(len(lines)), comment, *lines]) + "\n"


def water(comment: str = "", before: str = "", after: str = "", count: str | None = None) -> str:
    """Water with further columns ``before`` and ``after`` its positions; ``{i}`` is the place of the atom."""
    lines = [
        f"{s} {before.format(i=i)} {row} {after.format(i=i)}"
        for i, (s, row) in enumerate(zip(SYMBOLS, ROWS, strict=True))
    ]
    return frame(comment, lines, count)


def in_angstrom(molecule) -> np.ndarray:
    assert isinstance(molecule, Molecule), molecule
    return molecule.positions * BOHR_TO_ANGSTROM


def assert_water(entry) -> None:
    assert np.abs(in_angstrom(entry) - WATER).max() < 1e-6 and entry.numbers.tolist() == [8, 1, 1]


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


# ---- units and cells


@pytest.mark.parametrize(
    "comment",
    ["units=bohr", 'unit="Bohr"', "length_unit=au", "Units: Bohr", "coordinates in Bohr", "au", "a.u.", "(bohr)"]
    + ["geometry in atomic units", "xyz [a.u.], energy -1.1 Hartree", '{"units": {"length": "bohr"}}', "pos_units=a0"]
    + ['comment="coordinates in bohr" energy=-1.1', "units=bohr energy_units=eV"]
    + ["energy=-1.17 hartree, unit bohr", "unit system: atomic", "x/bohr y/bohr z/bohr", "pos/bohr", "in_bohr=True"]
    + ["positions in units of a_0", 'name="hydrogen (bohr)"', "title='bohr'", "coords_bohr", "unit_system=atomic"]
    + ["E in hartree, R in bohr", "lengths/bohr"]
    + ["units=bohr_radius", "Step: 0 positions{atomic_unit}", '{"use_bohr": true}'],
)
def test_bohr_is_honored(read, comment):
    (entry,) = read("a.xyz", f"2\n{comment}\nH 0 0 0\nH 0 0 1.4\n")
    assert isinstance(entry, Molecule), entry
    assert entry.positions[1, 2] == np.float64(np.float32(1.4))


@pytest.mark.parametrize("comment", ["units=nm", "length_unit=nanometer", "coordinates in nm", "x/nm y/nm z/nm"])
def test_nanometers_are_read_as_in_parquet(read, comment):
    (entry,) = read("a.xyz", f"2\n{comment}\nH 0 0 0\nH 0 0 0.074\n")
    assert abs(in_angstrom(entry)[1, 2] - 0.74) < 1e-6


@pytest.mark.parametrize("factor", [1 / BOHR_TO_ANGSTROM, BOHR_TO_ANGSTROM**-2, 100.0])
def test_atoms_that_are_all_far_apart_must_state_their_unit(read, factor):
    lines = [f"{s} {x} {y} {z}" for s, (x, y, z) in zip(SYMBOLS, WATER * factor, strict=True)]
    (entry,) = read("a.xyz", frame("water", lines))
    assert isinstance(entry, Failure) and entry.reason is Reason.BAD_COORDINATES and "units=bohr" in entry.detail
    (entry,) = read("a.xyz", frame("units=angstrom", lines))
    assert np.allclose(in_angstrom(entry), WATER * factor, atol=1e-4)


def test_atoms_of_which_two_are_near_need_no_unit(read):
    (entry,) = read("a.xyz", frame("", ["He 0 0 0", "He 0 0 9", "H 0 5 0", "H 0 5 0.8"]))
    assert isinstance(entry, Molecule)


def test_a_unit_after_the_count(read):
    (entry,) = read("a.xyz", "2 au\nx\nH 0 0 0\nH 0 0 1.4\n")
    assert entry.positions[1, 2] == np.float64(np.float32(1.4))
    (entry,) = read("a.xyz", "2 bohr\nunits=angstrom\nH 0 0 0\nH 0 0 1.4\n")
    assert isinstance(entry, Failure)


@pytest.mark.parametrize(
    "comment",
    ["unit=angstrom", 'units="eV, Angstrom"', "E = -1.17 a.u.", "energy -1.17 au", "Energy in a.u.: -1.17", "Au2"]
    + [
        "energy_units=hartree forces_units=hartree/bohr",
        "coordinates (Å), forces in Ha/Bohr",
        "dipole_unit=au",
        "R=1.4",
    ]
    + ["energies in atomic units, geometry in Angstrom"],
)
def test_angstrom_where_it_is_stated_or_the_unit_is_of_something_else(read, comment):
    (entry,) = read("a.xyz", f"2\n{comment}\nH 0 0 0\nH 0 0 0.74\n")
    assert abs(in_angstrom(entry)[1, 2] - 0.74) < 1e-6


@pytest.mark.parametrize(
    "comment",
    [
        "units=furlong",
        "units=m",
        "angstrom=False",
        "fractional coordinates",
        "frame bohr 3",
    ]
    + ["units=bohr unit=angstrom", "coordinates in Bohr or Angstrom", "units=", 'units="Å or bohr"'],
)
def test_other_units_and_contradictions_are_refused(read, comment):
    (entry,) = read("a.xyz", f"2\n{comment}\nH 0 0 0\nH 0 0 0.74\n")
    assert isinstance(entry, Failure) and entry.reason is Reason.UNREADABLE and "unit" in entry.detail


@pytest.mark.parametrize(
    "comment",
    [
        'pbc="T T T"',
        'pbc="F F T"',
        "pbc=T",
        "pbc=[False, True, False]",
        "pbc=F F T",
        'pbc=""',
        '{"pbc": [true, true, true]}',
    ]
    + [
        'Lattice="9 0 0 0 9 0 0 0 9"',
        "Lattice={9 0 0 0 9 0 0 0 9} Properties=species:S:1:pos:R:3",
        "lattice: 9 9 9 90 90 90",
    ]
    + ['cell="9 9 9"', 'pbc="F F', "periodic boundary conditions"]
    + ["# CELL(abcABC): 9 9 9 90 90 90 Step: 0 positions{angstrom}", "# CELL{H}: 9 0 0 0 9 0 0 0 9"]
    + ["CRYST1 9.0 9.0 9.0 90 90 90", 'box_vectors="9 0 0 0 9 0 0 0 9"', 'latvec="9 0 0"', 'cell_lengths="9 9 9"']
    + ["a=9 b=9 c=9 alpha=90 beta=90 gamma=90", "3D periodic", "periodic: yes", "periodic slab", "is_periodic=T"]
    + ["pbc: T T T", 'note="a periodic system"', 'Lattice="0 0 0 0 0 0 0 0 9"', 'Lattice="0 0 0" pbc="T T T"'],
)
def test_periodic_cells_are_refused_by_name(read, comment):
    (entry,) = read("a.xyz", water(comment))
    assert isinstance(entry, Failure) and entry.reason is Reason.UNREADABLE and "periodic cell" in entry.detail


@pytest.mark.parametrize(
    "comment",
    [
        'pbc="F F F"',
        "pbc=[false, false, false]",
        'Lattice="9 0 0 0 9 0 0 0 9" pbc="F F F"',
        '{"pbc": false}',
        "cell=None",
    ]
    + ["no pbc", "cell 5", "pbc=FFF", "pbc=none", "periodic=no", "pbc: F F F", "periodic: no", "non-periodic"]
    + ["nonperiodic", "not periodic", "aperiodic", "periodic table", "a=1 b=2 c=3", 'Lattice="0 0 0 0 0 0 0 0 0"']
    + ['{"cell": [[0, 0, 0], [0, 0, 0], [0, 0, 0]]}', 'Lattice="0.0 0.0 0.0 0.0 0.0 0.0 0.0 0.0 0.0" energy=-76.4'],
)
def test_no_direction_is_periodic(read, comment):
    (entry,) = read("a.xyz", water(comment))
    assert_water(entry)


def test_vectors_of_a_cell_after_the_atoms(read):
    entry, other = read("a.xyz", water("x") + "VEC1 9 0 0\nVEC2 0 9 0\nVEC3 0 0 9\n" + water("y"))
    assert isinstance(entry, Failure) and "periodic cell" in entry.detail
    assert_water(other)


HARMLESS = [
    *("ion channel", "Mulliken", "S = 1.2 A", "conf 12", "energy=-76.4", "E = -76.4 Eh", "limonene (-)", "(+)-camphor"),
    *(
        "name=water_3",
        "step 5 time 2.5 fs",
        "HF-D3/6-31+G*",
        "B3LYP-D3BJ",
        "singlet-triplet gap=0.3 eV",
        "water dimer 2",
    ),
    *("S1=4.2 S2=5.4", "M06-2X", "M=18.015", "S=2.34", "formula=H2O", "InChI=1S/H2O/h1H2", "n_electrons=10"),
    *("n_electrons=8 charge=0", "radical=0", "ion=False", "open_shell=False", "state=S0", "state=converged"),
    *(
        "<S^2>=0.00",
        "s2=0.0",
        "InChIKey=XLYOFNOQVPJJNP-UHFFFAOYSA-N",
        "frame 12 of 100",
        "rmsd 0.5 A",
        "dihedral (-60)",
    ),
    *(
        "R(OH)=0.96 angle=104.5",
        "periodic acid",
        "gold complex (Au)",
        "Au cluster",
        "C60 Ih",
        "T1 diagnostic 0.01",
        "mass=18 m/z 19",
    ),
    *("CO2 -> H2O", "distance 5 nm", "5 nm cutoff", "PM6 geometry", "energy units: a.u. -76.4", "units: energy a.u."),
    *('note="singlet/triplet crossing"', "1,3-dipolar cycloaddition", "discharge=12", "bohr_radius_scale=0.5"),
    *(
        'title="Bohr effect"',
        "rmsd_angstrom=0.1",
        "angstrom=True",
        "d(O-H) = 1.83 bohr",
        "(R)-(+)-x",
        "box 7",
        "mag=0.0",
    ),
]


@pytest.mark.parametrize("comment", HARMLESS)
def test_ordinary_comments_state_nothing(read, comment):
    (entry,) = read("a.xyz", water(comment))
    assert_water(entry)


# ---- comments


@pytest.mark.parametrize(
    ("comment", "name"),
    [
        (r'name="a \"b\" c" energy=1', 'a "b" c'),
        ("name='it is' x=1", "it is"),
        (r'name="C/C=C\C" smiles="C/C=C\C"', r"C/C=C\C"),
        ("x=1,name=a;b", "a;b"),
        ("a = 1, b = [1, [2, 3]] name = z", "z"),
        ('stress="1 0 0" name={two words}', "two words"),
        ("5'-AMP of [a set", "5'-AMP of [a set"),
        ("i = 1, time = 2.0", ""),
    ],
)
def test_names_in_comments(read, comment, name):
    (entry,) = read("a.xyz", water(comment))
    assert_water(entry)
    assert entry.name == name


# ---- what follows a frame


def test_raw_files_of_qm9_one_after_the_other(read):
    entries = read("a.xyz", METHANE + METHANE + water("w"))
    assert [len(entry.numbers) for entry in entries] == [5, 5, 3]
    assert np.allclose(in_angstrom(entries[0])[2], [1.0117308433, 1.4637511618, 2.765748e-4], atol=1e-6)


def test_planar_molecules_of_qm9_need_no_other_evidence(read):
    """Water in the yz plane with small charges: without QM9's comment both readings of four numbers place bonds."""
    comment = METHANE.splitlines()[1]
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
