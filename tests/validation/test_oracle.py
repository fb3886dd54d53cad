"""The oracle against another program, and its ways out of a solution that is not the lowest."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from pyscf import dft, gto, scf

from qmgen.constants import AU_TO_DEBYE, BOHR_TO_ANGSTROM
from qmgen.corpus.columns import CHECKED
from qmgen.dft.level import LevelOfTheory
from qmgen.errors import UsageError
from qmgen.validation.oracle import REFERENCES, Thresholds, mean_field, solve, solve_lower

NUMBERS = np.array([8, 1, 1], dtype=np.uint8)
POSITIONS = (
    np.array([[-1.551007, -0.114520, 0.0], [-1.934259, 0.762503, 0.0], [-0.599677, 0.040712, 0.0]]) / BOHR_TO_ANGSTROM
)
#: Q-Chem, 6-31G, fine grid
Q_CHEM = {"b3lyp": -76.3850899091, "b3lyp5": -76.3479565264, "pbe": -76.2983301284, "pbe0": -76.3011288827}
SMALL = LevelOfTheory("b3lyp5", "sto-3g", 1)


@pytest.fixture(scope="module")
def water():
    return solve(NUMBERS, POSITIONS, SMALL)


@pytest.mark.parametrize("xc", Q_CHEM)
def test_functionals_mean_what_other_programs_mean(xc):
    found = solve(NUMBERS, POSITIONS, LevelOfTheory(xc, "6-31g", 3))
    assert found.converged
    assert abs(found.energy - Q_CHEM[xc]) < 2e-5


@pytest.mark.parametrize(
    ("level", "basis", "cartesian", "auxbasis"),
    [
        (LevelOfTheory("pbe", "6-31g*", 0, cartesian=True), "6-31g*", True, None),
        (LevelOfTheory("pbe", "def2-svp", 0, "df"), "def2-svp", False, "def2-universal-jkfit"),
        (LevelOfTheory("hf", "6-31g*", 0, "df", "def2-universal-jkfit", True), "6-31g*", True, "def2-universal-jkfit"),
    ],
)
def test_shells_are_those_of_the_names(level, basis, cartesian, auxbasis):
    """PySCF gets shells from us, and has the same energy as with the names of its own tables."""
    mol = gto.M(atom=list(zip(map(int, NUMBERS), POSITIONS)), basis=basis, cart=cartesian, unit="Bohr", verbose=0)
    mf = scf.RHF(mol) if level.xc == "hf" else dft.RKS(mol, xc="pbe,pbe")
    mf = mf if auxbasis is None else mf.density_fit(auxbasis=auxbasis)
    if level.xc != "hf":
        mf.grids.level = 0
    assert abs(mf.kernel(dm0=mf.get_init_guess(key="minao")) - mean_field(NUMBERS, POSITIONS, level).kernel()) < 1e-9


def test_fitting_functions_are_ours():
    """In a set that lacks an element, and in one without a name."""
    numbers, positions = np.array([3, 1]), np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 3.0]])
    for basis in ("6-31g*", "dzvp"):
        level = LevelOfTheory("pbe", basis, 0, "df")
        mf = mean_field(numbers, positions, level)
        mf.with_df.build()
        assert mf.with_df.auxmol.nao == level.fitting_set.n_orbitals(numbers)


def test_hartree_fock_needs_no_grid():
    energies = [solve(NUMBERS, POSITIONS, LevelOfTheory("hf", "sto-3g", level)).energy for level in (0, 5)]
    assert abs(energies[0] - energies[1]) < 1e-10
    assert energies[0] < -74.9


def test_result_is_tight_and_in_atomic_units(water):
    loose = solve(NUMBERS, POSITIONS, SMALL, thresholds=Thresholds(conv_tol=1e-6, conv_tol_grad=None))
    assert water.converged and loose.cycles < water.cycles
    assert 0 <= loose.energy - water.energy < 1e-6
    assert water.homo < water.lumo
    np.testing.assert_allclose(water.values["dipole"], water.dipole * AU_TO_DEBYE)
    assert 1.2 < np.linalg.norm(water.values["dipole"]) < 2.2


def test_start_from_a_given_density(water):
    density = np.eye(7) * 10 / 7
    assert abs(solve(NUMBERS, POSITIONS, SMALL, density=density).energy - water.energy) < 1e-10


def test_second_order_finishes_what_diis_leaves():
    few = Thresholds(max_cycle=3)
    assert solve(NUMBERS, POSITIONS, SMALL, thresholds=few).converged
    assert not solve(NUMBERS, POSITIONS, SMALL, thresholds=dataclasses.replace(few, second_order=False)).converged


def test_a_lower_solution_is_found_and_the_search_stops_there(water):
    excited = dataclasses.replace(water, energy=water.energy + 0.3, guess="excited")
    found = solve_lower(NUMBERS, POSITIONS, SMALL, excited, target=water.energy + 1e-6)
    assert abs(found.energy - water.energy) < 1e-9
    assert found.guess == "atom"


def test_the_first_solution_stands_where_nothing_lies_below(water):
    assert solve_lower(NUMBERS, POSITIONS, SMALL, water, target=water.energy - 1) is water


@pytest.mark.parametrize(
    ("numbers", "level", "message"),
    [
        (NUMBERS, LevelOfTheory("b3lyp7", "sto-3g", 1), "unknown functional"),
        (NUMBERS, LevelOfTheory("pbe", "sto-33g", 1), "unknown basis"),
        (NUMBERS[:2], SMALL, "closed shells"),
    ],
)
def test_what_the_oracle_cannot_do_is_one_line(numbers, level, message):
    with pytest.raises(UsageError, match=message) as caught:
        solve(numbers, POSITIONS[: len(numbers)], level)
    assert "\n" not in str(caught.value)


def test_each_column_that_is_checked_has_a_reference(water):
    assert REFERENCES.keys() == {column.name for column in CHECKED.values()}
    assert water.values.keys() == CHECKED.keys()
