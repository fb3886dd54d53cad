"""The self-consistent field against live PySCF and published energies; its first guess, its DIIS, its failures."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pyscf import gto

from qmgen.constants import AU_TO_DEBYE, BOHR_TO_ANGSTROM
from qmgen.dft.backend import ACCELERATOR, CPU, Backend, using
from qmgen.dft.basis import load_basis
from qmgen.dft.batch import solve_batch
from qmgen.dft.diis import extrapolate, init_diis, shift
from qmgen.dft.functionals import functional
from qmgen.dft.guess import superposition_of_atoms
from qmgen.dft.level import LevelOfTheory
from qmgen.dft.orbital_values import dense_values, fill_values, orbital_table
from qmgen.dft.prepare import Prepared, System, coarse_precision, model_gain, prepare, shape_of
from qmgen.dft.properties import PROPERTIES, dipole_moment, frontier_orbitals, mulliken_charges, property_inputs
from qmgen.dft.scf import ScfOptions, Solution
from qmgen.dft.variational import energy_and_fock_of
from qmgen.validation.oracle import REFERENCES, TIGHT, mean_field
from tests.reference.published import PUBLISHED, Published
from tests.reference.stored import molecules

SYMBOLS = {"H": 1, "C": 6, "N": 7, "O": 8, "F": 9}
#: positions in Angstrom, none in a symmetric orientation, so that no integral vanishes by chance
MOLECULES = {
    "water": ("OHH", [[0.1, 0.2, 0.1], [0.05, 0.95, 0.69], [0.16, -0.57, 0.67]]),
    "hydrogen cyanide": ("HCN", [[0.2, -1.03, 0.3], [0.0, 0.0, 0.0], [-0.2, 1.1, -0.32]]),
    "formaldehyde": ("COHH", [[0.0, 0.0, 0.1], [0.1, 0.0, 1.3], [0.0, 0.94, -0.48], [-0.02, -0.94, -0.48]]),
    "methyl fluoride": (
        "CFHHH",
        [[0.0, 0.0, 0.0], [1.38, 0.1, 0.0], [-0.36, 1.03, 0.0], [-0.36, -0.52, 0.89], [-0.36, -0.52, -0.89]],
    ),
    "glycine zwitterion": (
        "NCCOOHHHHH",
        [
            *([-1.09, 0.257, -0.045], [0.069, -0.581, 0.216], [1.269, 0.23, -0.14], [1.16, 1.409, -0.575]),
            *([2.5, -0.353, 0.023], [-0.818, 0.893, -0.829], [-1.898, -0.312, -0.396], [-1.408, 0.795, 0.778]),
            *([0.022, -1.524, -0.343], [0.196, -0.814, 1.31]),
        ],
    ),
}


#: the loops of both backends, on whatever device there is
BOTH = pytest.mark.parametrize("backend", [CPU, ACCELERATOR], ids=lambda backend: backend.name)


def make_system(symbols: str | tuple[str, ...], angstrom: object) -> System:
    return System(np.array([SYMBOLS[s] for s in symbols]), np.asarray(angstrom, dtype=float) / BOHR_TO_ANGSTROM)


def run(system: System, level: LevelOfTheory, options: ScfOptions | None = None) -> tuple[Solution, Prepared]:
    """One molecule at the default thresholds."""
    basis, xc = load_basis(level.basis), functional(level.xc)
    prepared = prepare(system, shape_of(system.numbers, basis, xc, level.grid_level), basis, xc, level.grid_level)
    (solution,) = solve_batch(xc, [prepared.problem], options or ScfOptions())
    return Solution(*(np.asarray(field) for field in solution)), prepared


@pytest.mark.parametrize(
    ("name", "xc", "basis", "grid_level"),
    [
        ("water", "hf", "sto-3g", 1),
        ("formaldehyde", "hf", "6-31g", 1),
        ("water", "lda", "sto-3g", 1),
        ("hydrogen cyanide", "pbe", "sto-3g", 0),
        ("water", "pbe", "6-31g", 1),
        ("hydrogen cyanide", "pbe0", "6-31g", 1),
        ("methyl fluoride", "b3lyp", "sto-3g", 1),
        ("water", "b3lyp5", "sto-3g", 0),
        ("formaldehyde", "b3lyp5", "sto-3g", 1),
        ("water", "b3lyp5", "sto-3g", 3),
        ("water", "b3lyp5", "sto-3g", 2),
        ("hydrogen cyanide", "b3lyp5", "6-31g", 3),
        ("glycine zwitterion", "b3lyp5", "sto-3g", 0),
    ],
)
def test_equals_pyscf(name: str, xc: str, basis: str, grid_level: int) -> None:
    system, level = make_system(*MOLECULES[name]), LevelOfTheory(xc, basis, grid_level)
    solution, prepared = run(system, level)
    mf = mean_field(system.numbers, system.positions, level, conv_tol=TIGHT.conv_tol, conv_tol_grad=TIGHT.conv_tol_grad)
    mf.kernel()
    assert mf.converged and solution.converged
    occupied = int(system.numbers.sum()) // 2
    inputs = property_inputs(system, level.basis_set, prepared.one_electron)
    homo, lumo = frontier_orbitals(solution, inputs)
    dipole = dipole_moment(solution, inputs, system)
    charges = mulliken_charges(solution, inputs, system)
    # what validation allows a corpus, and tighter: at our default thresholds
    assert abs(float(solution.energy) - mf.e_tot) <= 1e-7
    assert abs(homo - mf.mo_energy[occupied - 1]) <= 1e-6
    assert abs(lumo - mf.mo_energy[occupied]) <= 1e-6
    assert np.linalg.norm(dipole - mf.dip_moment(unit="AU", verbose=0)) * AU_TO_DEBYE <= 1e-4
    # of first order in the error of the density too; arms of some Bohr multiply it
    quadrupole = PROPERTIES["quadrupole"](solution, inputs, system) * AU_TO_DEBYE * BOHR_TO_ANGSTROM
    assert np.linalg.norm(quadrupole - REFERENCES["quadrupole"](mf)) <= 3e-4
    assert abs(quadrupole[[0, 3, 5]].sum()) < 1e-10
    # of first order in the error of the density, as the dipole moment: the same 1e-4 D in e Bohr, rounded
    assert np.abs(charges - mf.mulliken_pop(verbose=0)[1]).max() <= 4e-5
    lowdin = PROPERTIES["lowdin_charges"](solution, inputs, system)
    assert np.abs(lowdin - REFERENCES["lowdin_charges"](mf)).max() <= 4e-5
    assert abs(charges.sum()) < 1e-10 and abs(lowdin.sum()) < 1e-10  # electrons are tr(DS) up to rounding
    # all real levels, not only the frontier; the padding lies above them
    n = len(mf.mo_energy)
    assert (
        np.abs(solution.orbital_energies[0, :n] - mf.mo_energy).max() <= 2e-6
    )  # twice the limit: deep ones are stiffer
    assert (solution.orbital_energies[0, n:] > 100.0).all()


@pytest.mark.parametrize("entry", PUBLISHED, ids=lambda e: f"{e.program}-{e.xc}-{e.basis}")
def test_equals_other_programs(entry: Published) -> None:
    solution, _ = run(make_system(entry.symbols, entry.positions), LevelOfTheory(entry.xc, entry.basis, 5))
    # 2e-5 Ha: another grid, and another program's constant for the Angstrom
    assert float(solution.energy) == pytest.approx(entry.energy, abs=2e-5)


@pytest.mark.parametrize("basis", ["sto-3g", "3-21g", "6-31g", "6-311g", "6-31++g"])
def test_the_least_overlap_of_an_atom_is_that_of_pyscf(basis: str) -> None:
    numbers = (1, 3, 6, 7, 8, 9)
    least = []
    for number in numbers:
        mol = gto.M(atom=[(number, (0, 0, 0))], basis=basis, spin=number % 2, verbose=0)
        least.append(np.linalg.eigvalsh(mol.intor("int1e_ovlp"))[0])
    ours = load_basis(basis)
    of_these = replace(ours, table={number: ours.shells(number) for number in numbers})
    assert of_these.least_overlap == pytest.approx(min(least), rel=1e-6)  # tables of 8 digits, normalised here


@pytest.mark.parametrize(
    ("basis", "conv_gradient", "precision"),
    [
        ("sto-3g", 1e-6, np.float32),
        ("sto-3g", 1e-7, np.float64),
        ("6-31g", 1e-6, np.float64),
        ("3-21g", 1e-6, np.float64),
        ("6-31g", 1e-4, np.float32),
        ("6-311++g", 1e-5, np.float64),
    ],
)
def test_precision_of_the_model_follows_its_threshold(
    basis: str, conv_gradient: float, precision: type[np.floating]
) -> None:
    assert coarse_precision(load_basis(basis), conv_gradient) is precision


def test_a_model_that_is_too_coarse_is_never_left() -> None:
    """Why the precision follows from the basis: benzene in 6-31G, which PySCF's DIIS converges in 12 cycles."""
    one = next(one for one in molecules() if one.name == "benzene")
    system, basis, xc = System(one.numbers.astype(np.int64), one.positions), load_basis("6-31g"), functional("lda")
    shape = shape_of(system.numbers, basis, xc, 0)
    options = ScfOptions(max_cycles=40, gain=model_gain(basis))
    found = {}
    for precision in (coarse_precision(basis), np.float32):
        problem = prepare(system, shape, basis, xc, 0, precision).problem
        (found[precision],) = solve_batch(xc, [problem], options)
    assert found[np.float64].converged and found[np.float64].cycles <= 17  # 1.3 times 12, and two
    assert not found[np.float32].converged


STRETCHED_XC = "b3lyp5"
#: Angstrom, and PySCF 2.14's energy at B3LYP5/STO-3G, grid level 1, where its DIIS finds the solution of lowest levels
STRETCHED = {
    "H2 at 10": ("HH", 10.0, "b3lyp5", -0.7844169006),
    "H2 at 20": ("HH", 20.0, "b3lyp5", None),  # PySCF ends on H+ H-, at -0.222862
    "H2 at 10, lda": ("HH", 10.0, "lda", None),
    "F2 at 8": ("FF", 8.0, "b3lyp5", -196.31703644),
}


def levels_are_the_lowest(solution: Solution, prepared: Prepared, xc: str) -> bool:
    """By diagonalising the Fock matrix anew in occupied and virtual orbitals of the density, as a test of its own."""
    n, occupied = int(prepared.problem.n_real), int(prepared.problem.n_occupied)
    overlap, density = np.asarray(prepared.problem.overlap)[:n, :n], np.asarray(solution.density)[0, :n, :n]
    values, vectors = np.linalg.eigh(overlap)
    root = (vectors * np.sqrt(values)) @ vectors.T
    weights, natural = np.linalg.eigh(root @ density @ root)
    assert np.allclose(weights[-occupied:], 2.0, atol=1e-9) and np.allclose(weights[:-occupied], 0.0, atol=1e-9)
    problem = jax.tree.map(jnp.asarray, prepared.problem)
    field = energy_and_fock_of(functional(xc), problem)(jnp.asarray(solution.density[0]))[1]
    inverse = np.linalg.inv(root)
    fock = natural.T @ inverse @ np.asarray(field)[:n, :n] @ inverse @ natural
    highest = np.linalg.eigvalsh(fock[-occupied:, -occupied:])[-1]
    lowest = np.linalg.eigvalsh(fock[:-occupied, :-occupied])[0]
    return bool(highest <= lowest + 1e-6)


@BOTH
@pytest.mark.parametrize("name", STRETCHED)
def test_atoms_far_apart_converge_on_the_lowest_levels(name: str, backend: Backend) -> None:
    symbols, distance, xc_name, energy = STRETCHED[name]
    system, level = (
        make_system(symbols, [[0.1, 0.2, 0.3], [0.1, 0.2, 0.3 + distance]]),
        LevelOfTheory(STRETCHED_XC, "sto-3g", 1),
    )
    basis, xc = load_basis(level.basis), functional(level.xc)
    prepared = prepare(system, shape_of(system.numbers, basis, xc, 1), basis, xc, 1)
    neighbour = make_system(symbols, [[0.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    beside = prepare(neighbour, shape_of(system.numbers, basis, xc, 1), basis, xc, 1)
    problem = prepared.problem
    if backend is ACCELERATOR and name == "F2 at 8":
        # two atoms with spherical densities stand on a saddle, which rounding alone leaves, in one of two ways
        uneven = np.where(
            np.asarray(problem.guess) != 0.0, np.random.default_rng(0).normal(size=problem.guess.shape), 0
        )
        problem = problem._replace(guess=problem.guess + 1e-9 * (uneven + uneven.swapaxes(1, 2)))
    with using(backend):
        solution, *_ = solve_batch(xc, [problem, beside.problem], ScfOptions())
    assert solution.converged
    assert levels_are_the_lowest(solution, prepared, xc_name)
    assert (
        np.abs(
            mulliken_charges(solution, property_inputs(system, load_basis("sto-3g"), prepared.one_electron), system)
        ).max()
        < 1e-3
    )  # no H+ H-
    if energy is not None:
        assert float(solution.energy) == pytest.approx(energy, abs=1e-6)  # PySCF's own, at a gap of 0.01 Ha


def test_inverted_levels_are_left() -> None:
    """A stationary density given at the start, H+ H-, whose occupied level lies 0.8 Ha above the empty one."""
    system, level = make_system("HH", [[0.0, 0.0, 0.0], [0.0, 0.0, 10.0]]), LevelOfTheory(STRETCHED_XC, "sto-3g", 1)
    expected, prepared = run(system, level)
    ionic = np.zeros_like(np.asarray(prepared.problem.guess))
    ionic[0, 0, 0] = 2.0
    (solution,) = solve_batch(functional(level.xc), [prepared.problem._replace(guess=ionic)], ScfOptions(max_cycles=50))
    assert solution.converged and abs(float(solution.energy - expected.energy)) < 1e-8


def test_levels_that_stay_inverted_do_not_converge() -> None:
    # at 12 Angstrom the only stationary densities of whole occupations without a bond are inverted: two cycles do not
    # suffice to find the bond
    system = make_system("HH", [[0.0, 0.0, 0.0], [0.0, 0.0, 12.0]])
    _, prepared = run(system, LevelOfTheory(STRETCHED_XC, "sto-3g", 1))
    ionic = np.zeros_like(np.asarray(prepared.problem.guess))
    ionic[0, 0, 0] = 2.0
    (solution,) = solve_batch(
        functional(STRETCHED_XC), [prepared.problem._replace(guess=ionic)], ScfOptions(max_cycles=2)
    )
    assert not solution.converged


@BOTH
@pytest.mark.parametrize("basis", ["sto-3g", "6-31g"])
def test_orbitals_on_the_grid_equal_pyscf(basis: str, backend: Backend) -> None:
    system = make_system(*MOLECULES["methyl fluoride"])
    mol = mean_field(system.numbers, system.positions, LevelOfTheory("pbe", basis, 0)).mol
    points = np.random.default_rng(0).normal(scale=3.0, size=(500, 3))
    points[:5] = system.positions  # on the nuclei too
    table = orbital_table(system.numbers, load_basis(basis), mol.nao + 2)
    where = jnp.asarray(system.positions), jnp.asarray(points)
    if backend.batched:
        values = np.asarray(dense_values(table, *where, gradient=True))
    else:
        values = np.asarray(fill_values(jnp.zeros((1, 4, mol.nao + 2, len(points))), 0, table, *where))[0][:, table.row]
    expected = mol.eval_gto("GTOval_sph_deriv1", points).transpose(0, 2, 1)
    # rounding of values up to 100 (gradients of a 1s near its nucleus); PySCF drops what is below 1e-13
    assert np.abs(values[:, : mol.nao] - expected).max() < 1e-11
    assert not values[:, mol.nao :].any()


@pytest.mark.parametrize("basis", ["sto-3g", "6-31g"])
@pytest.mark.parametrize("name", MOLECULES)
def test_guess_holds_the_electrons_of_its_atoms(name: str, basis: str) -> None:
    system, level = make_system(*MOLECULES[name]), LevelOfTheory("hf", basis, 0)
    mol = mean_field(system.numbers, system.positions, level).mol
    density = superposition_of_atoms(system.numbers, load_basis(basis), mol.nao + 3)
    overlap = mol.intor("int1e_ovlp")
    # basis sets are tabulated with 8 to 10 digits, normalised here to the last
    assert np.trace(density[: mol.nao, : mol.nao] @ overlap) == pytest.approx(system.numbers.sum(), abs=1e-12)
    assert np.abs(density - density.T).max() < 1e-14  # rounding of numbers of size 2
    assert not density[mol.nao :].any()
    for atom, (*_, start, stop) in enumerate(mol.aoslice_by_atom()):
        block = density[start:stop, start:stop] @ overlap[start:stop, start:stop]
        assert np.trace(block) == pytest.approx(system.numbers[atom], abs=1e-12)  # rounding


def test_guess_is_spherical() -> None:
    density = superposition_of_atoms(np.array([8]), load_basis("6-31g"), 9)
    # orbitals: three s, then p x y z twice
    p = density[3:, 3:].reshape(2, 3, 2, 3)
    for x in range(3):
        assert np.array_equal(p[:, x, :, x], p[:, 0, :, 0])
    assert not density[:3, 3:].any()


def test_diis_of_a_degenerate_history_is_finite() -> None:
    fock = jnp.asarray(np.random.default_rng(0).normal(size=(1, 4, 4)))
    for error in (jnp.zeros((1, 4, 4)), jnp.ones((1, 4, 4)), 1e-200 * jnp.ones((1, 4, 4))):
        state = init_diis(8, (1, 4, 4), fock.dtype)
        for _ in range(20):
            state, combined = extrapolate(state, fock, error, fock)
            # twenty times the same matrix: any weights of sum one give it back, with the rounding of eight of them
            assert np.abs(np.asarray(combined - fock)).max() < 1e-6


def test_diis_after_an_error_of_exactly_zero_is_finite() -> None:
    rng = np.random.default_rng(3)
    state, combined = extrapolate(
        init_diis(8, (1, 4, 4), jnp.zeros(()).dtype), jnp.eye(4)[None], jnp.zeros((1, 4, 4)), jnp.eye(4)[None]
    )
    for _ in range(3):
        fock, error = (jnp.asarray(rng.normal(size=(1, 4, 4))) for _ in range(2))
        state, combined = extrapolate(state, fock, error, fock)
        assert np.isfinite(np.asarray(combined)).all()


def test_diis_finds_the_combination_without_error() -> None:
    rng = np.random.default_rng(1)
    direction, base, change = (jnp.asarray(rng.normal(size=(1, 5, 5))) for _ in range(3))
    state = init_diis(8, (1, 5, 5), base.dtype)
    for step in (2.0, 0.5):  # the error is linear in the step, zero at step 0
        state, combined = extrapolate(state, base + step * change, step * direction, base)
    assert np.abs(np.asarray(combined - base)).max() < 1e-12  # rounding of a 3 x 3 linear system


def test_first_step_of_diis_is_the_fock_matrix_itself() -> None:
    fock = jnp.asarray(np.random.default_rng(2).normal(size=(1, 3, 3)))
    _, combined = extrapolate(init_diis(8, (1, 3, 3), fock.dtype), fock, jnp.eye(3)[None], fock)
    assert np.abs(np.asarray(combined - fock)).max() < 1e-15  # one weight, one


def test_too_few_cycles_is_a_value_not_an_exception() -> None:
    system = make_system(*MOLECULES["water"])
    solution, _ = run(system, LevelOfTheory("b3lyp5", "sto-3g", 0), ScfOptions(max_cycles=2))
    assert not solution.converged
    assert solution.cycles == 2
    assert np.isfinite(solution.energy)


@BOTH
def test_numbers_that_are_not_finite_stop_at_once_and_harm_no_neighbour(backend: Backend) -> None:
    system, level = make_system(*MOLECULES["water"]), LevelOfTheory("b3lyp5", "sto-3g", 0)
    solution, prepared = run(system, level)
    broken = prepared.problem._replace(overlap=prepared.problem.overlap * np.nan)
    with using(backend):
        one, other = solve_batch(functional("b3lyp5"), [broken, prepared.problem], ScfOptions())
    assert not one.converged and one.cycles <= 3
    assert other.converged and abs(float(other.energy - solution.energy)) < 1e-10  # the order of sums


def test_one_cycle_is_one_fine_evaluation() -> None:
    solution, _ = run(make_system(*MOLECULES["water"]), LevelOfTheory("b3lyp5", "sto-3g", 0), ScfOptions(max_cycles=1))
    assert solution.cycles == 1 and solution.fine_evaluations == 1 and not solution.converged


def test_the_energy_of_the_cycle_before_is_known() -> None:
    system, level = make_system(*MOLECULES["water"]), LevelOfTheory("hf", "sto-3g", 0)
    steps = [run(system, level, ScfOptions(max_cycles=count))[0] for count in (2, 3, 4)]
    for one, following in pairwise(steps):
        assert one.cycles + 1 == following.cycles
        # Hartree-Fock's energy is quadratic in the density, so that the mean Fock matrix gives it exactly
        assert abs(following.previous_energy - one.energy) < 1e-11 < abs(following.energy - one.energy)


def test_both_thresholds_count() -> None:
    system, level = make_system(*MOLECULES["water"]), LevelOfTheory("b3lyp5", "sto-3g", 0)
    default, prepared = run(system, level)
    anything = ScfOptions(conv_energy=1e9, conv_gradient=1e9)
    converged = prepared.problem._replace(guess=default.density)
    (loose,) = solve_batch(functional("b3lyp5"), [converged], anything)
    by_gradient, _ = run(system, level, ScfOptions(conv_energy=1e9, conv_gradient=1e-3))
    by_energy, _ = run(system, level, ScfOptions(conv_energy=1e-3, conv_gradient=1e9))
    assert loose.fine_evaluations == 2  # the first density of all has none before it to be compared with
    assert 1 < by_gradient.cycles < default.cycles and by_gradient.gradient < 1e-3
    assert 1 < by_energy.cycles < default.cycles
    assert abs(by_energy.energy - by_energy.previous_energy) < 1e-3


@pytest.mark.parametrize("xc", ["b3lyp5", "pbe", "lda"])
def test_the_coarse_grid_changes_where_cycles_are_made_and_not_what_they_converge_to(xc: str) -> None:
    system, level = make_system(*MOLECULES["formaldehyde"]), LevelOfTheory(xc, "sto-3g", 1)
    with_coarse, prepared = run(system, level)
    (without,) = solve_batch(functional(xc), [prepared.problem._replace(coarse=None)], ScfOptions())
    assert with_coarse.converged and bool(without.converged)
    # most cycles are made on the coarse grid, and without one each evaluates the fine grid
    assert with_coarse.fine_evaluations <= 4 < with_coarse.cycles
    assert without.fine_evaluations == without.cycles
    # energies are of second order in the orbital gradient, levels of first: 1e-6 both
    assert abs(float(with_coarse.energy - without.energy)) < 1e-9
    assert np.abs(with_coarse.orbital_energies - without.orbital_energies).max() < 1e-6
    assert abs(with_coarse.electrons - without.electrons) < 1e-7


def test_a_shifted_history_is_that_of_shifted_matrices() -> None:
    rng = np.random.default_rng(4)
    change, metric = (jnp.asarray(rng.normal(size=(1, 4, 4))) for _ in range(2))

    def error_of(fock: jax.Array, density: jax.Array) -> jax.Array:
        return fock @ density @ metric - metric @ density @ fock

    before, direct = (init_diis(8, (1, 4, 4), change.dtype) for _ in range(2))
    for _ in range(3):
        fock, density = (jnp.asarray(rng.normal(size=(1, 4, 4))) for _ in range(2))
        before, _ = extrapolate(before, fock, error_of(fock, density), density)
        direct, _ = extrapolate(direct, fock + change, error_of(fock + change, density), density)
    shifted = shift(before, change, error_of)
    for name in ("focks", "errors"):  # rounding of sums of a few numbers of size 1
        assert np.abs(np.asarray(getattr(shifted, name) - getattr(direct, name))[:3]).max() < 1e-13


@pytest.mark.parametrize(
    ("damping", "level_shift"),
    [(0.5, 0.0), (0.0, 0.3), (0.3, 0.3), (0.5, 0.5), (0.7, 1.0)],
)
def test_damping_and_level_shift_reach_the_same_energy(damping: float, level_shift: float) -> None:
    system, level = make_system(*MOLECULES["formaldehyde"]), LevelOfTheory("b3lyp5", "sto-3g", 0)
    plain, _ = run(system, level)
    steadied, _ = run(system, level, ScfOptions(max_cycles=200, damping=damping, level_shift=level_shift))
    assert plain.converged and steadied.converged
    # energies are of second order in the orbital gradient (1e-6): what is left is the energy threshold, 1e-9
    assert abs(plain.energy - steadied.energy) < 1e-9
    # the levels are those of the Fock matrix, the shift is not in them; of first order in a gradient of 1e-6
    assert np.abs(plain.orbital_energies - steadied.orbital_energies).max() < 1e-6
