"""The comment of an ``.xyz`` frame: units, cells, and names."""

from __future__ import annotations

import numpy as np
import pytest

from qmgen.constants import BOHR_TO_ANGSTROM
from qmgen.molecules.types import Failure, Molecule, Reason
from tests.molecules.geometries import SYMBOLS, WATER, assert_water, frame, in_angstrom, water


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
