"""Integrals against libcint and scipy; padding; derivatives with respect to the positions of the atoms."""

from __future__ import annotations

from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pyscf import gto
from scipy.special import gammainc, gammaln

from qmgen.constants import BOHR_TO_ANGSTROM
from qmgen.dft.basis import load_basis, shell_tables
from qmgen.dft.functionals import functional
from qmgen.dft.integrals.hermite import T_MAX, boys
from qmgen.dft.integrals.one_electron import OneElectron, one_electron_integrals
from qmgen.dft.integrals.pair_data import pair_data
from qmgen.dft.integrals.quartets import ket_tile
from qmgen.dft.integrals.repulsion import TileItems, block_integrals, repulsion_integrals
from qmgen.dft.integrals.shell_pairs import blocks, pair_index, rows_of_molecule, shell_pairs
from qmgen.dft.integrals.shells import BRA_TILE, LAYERS
from qmgen.dft.prepare import Shape, System, batch_lists, integrals_batch

#: libcint and we differ by the order of sums and by what both screen away (Hartree, e Bohr)
AGREEMENT = 1e-10

#: atoms in PySCF's notation (Angstrom), basis
MOLECULES = {
    "hydrogen": ("H 0 0 0; H 0 0 0.74", "sto-3g"),
    "hydrogen, split valence": ("H 0.1 0 0; H 0.3 0.2 0.7", "6-31g"),
    "water": ("O 0 0 0.117; H 0 0.757 -0.469; H 0 -0.757 -0.469", "sto-3g"),
    "formamide": (
        "C 0.16 0.39 0.01; O 1.2 -0.24 0.02; N -1.08 -0.16 0.03; H 0.14 1.49 0; H -1.18 -1.16 0.1; H -1.9 0.42 -0.08",
        "6-31g",
    ),
    "third row": ("P 0 0 0; S 1.9 0 0.3; Cl -0.6 1.9 -0.4; Cl -0.5 -1.1 1.7", "sto-3g"),
    "far apart": ("O 0 0 0; H 0 0.757 0.587; H 0 -0.757 0.587; F 0 0 17.0; H 0.3 0 17.9", "sto-3g"),
    "shared shells": ("C 0 0 0; O 0 0.1 1.13; F 1.1 0 -0.7; H -0.9 -0.5 -0.4", "3-21g"),
    # libraries order and contract these otherwise: p shells without an s partner, general contractions
    "p shells alone": ("O 0 0 0; H 0.2 0.9 0; H -0.9 -0.2 0.1", [[0, [5.0, 0.4], [1.0, 0.7]], [1, [0.8, 1.0]]]),
}


@lru_cache(maxsize=16)
def pyscf_molecule(name: str) -> gto.Mole:
    atoms, basis = MOLECULES[name]
    return gto.M(atom=atoms, basis=basis, spin=None, verbose=0)


def system(name: str, padded_atoms: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Numbers and positions (Bohr) exactly as PySCF has them, with ``padded_atoms`` of Z = 0 at the origin behind."""
    mol = pyscf_molecule(name)
    numbers = np.concatenate([mol.atom_charges(), np.zeros(padded_atoms, np.int64)])
    return numbers, np.concatenate([mol.atom_coords(), np.zeros((padded_atoms, 3))])


def our_basis(name: str):
    basis = MOLECULES[name][1]
    if isinstance(basis, str):
        return load_basis(basis)
    from qmgen.dft.basis import Basis, merged_shells, split_shells

    shells = merged_shells(split_shells(basis))
    return Basis(name, dict.fromkeys(range(1, 10), shells), "test")


@lru_cache(maxsize=32)
def ours(name: str, extra_orbitals: int = 0, extra_atoms: int = 0) -> tuple[OneElectron, np.ndarray]:
    numbers, positions = system(name, extra_atoms)
    basis = our_basis(name)
    n = basis.n_orbitals(numbers) + extra_orbitals
    real = numbers > 0
    pairs, xyz = shell_pairs(numbers[real], positions[real], basis), jnp.asarray(positions)
    rows = rows_of_molecule(pairs, n)
    index = pair_index(pairs, rows, n)
    one = one_electron_integrals(pairs, rows, index, numbers, xyz)
    return jax.tree.map(np.asarray, one), packed(repulsion_integrals(pairs, rows, xyz), index)


@lru_cache(maxsize=2)
def batched(name: str) -> tuple[OneElectron, np.ndarray]:
    """The same as a batch of one, by the driver of accelerators."""
    numbers, positions = system(name)
    basis = our_basis(name)
    shape = Shape(basis.n_orbitals(numbers), len(numbers), 0)
    lists = batch_lists([System(numbers, positions)], shape, basis, functional("hf"), 0)
    one, repulsion = jax.jit(partial(integrals_batch, basis.pair_classes))(lists)
    return jax.tree.map(lambda x: np.asarray(x)[0], one), packed(repulsion[0], lists.index[0])


def packed(values: jax.Array, index: np.ndarray) -> np.ndarray:
    """(ij|kl) over ij = i(i+1)/2 + j, as libcint has them."""
    rows = index[np.tril_indices(len(index))]
    return np.asarray(values)[np.ix_(rows, rows)]


#: the driver of accelerators compiles for half a minute
DRIVERS = [pytest.param(ours, name, id=name) for name in MOLECULES] + [
    pytest.param(batched, name, id=f"{name}, batched", marks=pytest.mark.slow) for name in ("water", "p shells alone")
]


@pytest.mark.parametrize(("driver", "name"), DRIVERS)
def test_one_electron_integrals_equal_libcint(driver, name: str) -> None:
    mol, (one, _) = pyscf_molecule(name), driver(name)
    with mol.with_common_orig((0.0, 0.0, 0.0)):
        dipole = mol.intor("int1e_r")
    assert np.abs(one.overlap - mol.intor("int1e_ovlp")).max() < AGREEMENT
    assert np.abs(one.kinetic - mol.intor("int1e_kin")).max() < AGREEMENT
    assert np.abs(one.nuclear - mol.intor("int1e_nuc")).max() < AGREEMENT
    assert np.abs(one.dipole - dipole).max() < AGREEMENT
    charges = mol.atom_charges()
    with mol.with_common_orig(charges @ mol.atom_coords() / charges.sum()):
        second = mol.intor("int1e_rr")[[0, 1, 2, 4, 5, 8]]  # xx xy xz yy yz zz
    assert np.abs(one.second_moment - second).max() < AGREEMENT


@pytest.mark.parametrize(("driver", "name"), DRIVERS)
def test_repulsion_integrals_equal_libcint(driver, name: str) -> None:
    mol, (_, repulsion) = pyscf_molecule(name), driver(name)
    assert np.abs(repulsion - mol.intor("int2e", aosym="s4")).max() < AGREEMENT


def test_far_pairs_are_screened_and_far_charges_are_not() -> None:
    _, repulsion = ours("far apart")
    mol = pyscf_molecule("far apart")
    first, last = 0, mol.nao - 1  # oxygen's 1s, and the hydrogen 34 Bohr away
    pair = [[max(i, j) * (max(i, j) + 1) // 2 + min(i, j) for i in range(mol.nao)] for j in range(mol.nao)]
    distance = np.linalg.norm(mol.atom_coord(0) - mol.atom_coord(4))
    assert distance * BOHR_TO_ANGSTROM > 15
    assert repulsion[pair[first][last], pair[first][last]] == 0.0
    # two spherical charges that do not overlap repel as points do
    coulomb = repulsion[pair[first][first], pair[last][last]]
    assert coulomb == pytest.approx(1.0 / distance, abs=1e-12)  # rounding of a number of size 0.03


@pytest.mark.parametrize("name", ["water", "formamide", "shared shells"])
def test_orbitals_are_in_pyscf_s_order(name: str) -> None:
    mol, basis = pyscf_molecule(name), our_basis(name)
    numbers, _ = system(name)
    labels = mol.ao_labels(fmt=None)
    for table in shell_tables(numbers, basis):
        for atom, slots in zip(table.atom, table.orbitals):
            expected = ["s", "x", "y", "z"][: len(slots)]
            for slot, function in zip(slots, expected):
                if slot >= 0:
                    assert labels[slot][0] == atom
                    assert (labels[slot][3] or "s") == function
    assert basis.n_orbitals(numbers) == mol.nao


@pytest.mark.parametrize("name", ["water", "formamide"])
def test_padding_does_not_change_a_bit(name: str) -> None:
    (one, repulsion), (padded, padded_repulsion) = ours(name), ours(name, extra_orbitals=3, extra_atoms=5)
    n = len(one.overlap)
    for field in OneElectron._fields:
        exact, wide = getattr(one, field), getattr(padded, field)
        assert np.array_equal(wide[..., :n, :n], exact), field
        assert not wide[..., n:, :].any() and not wide[..., :, n:].any(), field
    pairs = n * (n + 1) // 2
    assert np.array_equal(padded_repulsion[:pairs, :pairs], repulsion)
    assert not padded_repulsion[pairs:].any() and not padded_repulsion[:, pairs:].any()


@pytest.mark.parametrize("order", range(9))
def test_boys_function_equals_scipy(order: int) -> None:
    t = np.concatenate([[0.0], np.geomspace(1e-12, 1e4, 4001), T_MAX + np.array([-1e-9, 0.0, 1e-9])])
    half = order + 0.5
    with np.errstate(divide="ignore", invalid="ignore"):
        # F_m(T) = gamma(m + 1/2) P(m + 1/2, T) / (2 T^(m + 1/2)); below T = 1e-3 by its series, to T^3
        closed = 0.5 * np.exp(gammaln(half) - half * np.log(t)) * gammainc(half, t)
    series = sum((-t) ** k / (np.prod(np.arange(1.0, k + 1)) * (2 * order + 2 * k + 1)) for k in range(4))
    exact = np.where(t < 1e-3, series, closed)
    values = np.asarray(jax.jit(boys, static_argnums=0)(order, jnp.asarray(t))[order])
    # 2e-15 is the error of the fit (boys.py); 1e-14 leaves room for the recursions and for scipy's own rounding
    assert np.abs(values - exact).max() < 1e-14


def test_all_orders_come_at_once() -> None:
    t = jnp.asarray(np.linspace(0.0, 60.0, 2001))
    together = boys(8, t)
    for order in range(9):
        # one is fitted, the other recursed: both to some units of 1e-16, of values up to 1
        assert np.abs(np.asarray(together[order]) - np.asarray(boys(order, t)[order])).max() < 1e-14


def test_boys_function_is_differentiable_at_zero_and_across_the_switch() -> None:
    # at T_MAX itself, one number in 2^52, both sides of a minimum count half; no geometry is known to hit it
    t = jnp.asarray([0.0, 1e-300, 1.0, T_MAX - 1e-9, T_MAX + 1e-9, 1e3])
    slope = jax.vmap(jax.grad(lambda x: boys(1, x)[0]))(t)
    # dF_0/dT = -F_1. 1e-12: a polynomial of degree 23 differentiated at the ends of its interval
    assert np.abs(np.asarray(slope) + np.asarray(boys(1, t)[1])).max() < 1e-12


@pytest.fixture(scope="module")
def tangents() -> tuple[np.ndarray, np.ndarray]:
    """Water, and one random direction in which its atoms move."""
    return np.random.default_rng(0).normal(size=(3, 3)), system("water")[1]


def test_gradient_of_one_electron_integrals_equals_finite_differences(tangents) -> None:
    direction, positions = tangents
    numbers, _ = system("water")
    pairs, weights = shell_pairs(numbers, positions, load_basis("sto-3g")), np.random.default_rng(1)
    rows = rows_of_molecule(pairs, 7)
    index = pair_index(pairs, rows, 7)
    mixing = OneElectron(*(weights.normal(size=(*many, 7, 7)) for many in ((), (), (), (3,), (6,))))

    def total(x):
        one = one_electron_integrals(pairs, rows, index, numbers, x)
        return sum((m * value).sum() for m, value in zip(mixing, one))

    check_gradient(total, positions, direction)


@pytest.mark.parametrize("bra", [0, 1, pytest.param(2, marks=pytest.mark.slow)])
def test_gradient_of_repulsion_integrals_equals_finite_differences(tangents, bra: int) -> None:
    direction, positions = tangents
    numbers, _ = system("water")
    molecule = shell_pairs(numbers, positions, load_basis("sto-3g"))
    inputs, classes = [blocks(shells)[0].pairs for shells in molecule], [shells.pair_class for shells in molecule]
    rng = np.random.default_rng(2)

    def integrals(x):
        data = [pair_data(c, pairs, x) for c, pairs in zip(classes, inputs, strict=True)]
        return [block_integrals(classes[bra], classes[k], data[bra], data[k], none, tiles[k]) for k in range(bra + 1)]

    # water fits into one tile of the bra; all of its layers, and of the ket's tiles as many as there are pairs
    none = TileItems(np.zeros((1, 4), np.int32), 0)
    tiles = []
    for k in range(bra + 1):
        count = -(-molecule[k].n // ket_tile(classes[bra], classes[k]))
        rows = [(i, 0, j, tile) for i in range(LAYERS) for j in range(LAYERS) for tile in range(count)]
        tiles.append(TileItems(np.array(rows, np.int32), len(rows)))
    mixing = [rng.normal(size=block.shape) for block in jax.eval_shape(integrals, positions)]

    def total(x):
        return sum((m * block).sum() for m, block in zip(mixing, integrals(x)))

    check_gradient(total, positions, direction)


def check_gradient(total, positions: np.ndarray, direction: np.ndarray) -> None:
    """The derivative along ``direction`` is finite and equals a five-point difference."""
    x = jnp.asarray(positions)
    value, slope = jax.jvp(total, (x,), (jnp.asarray(direction),))
    assert np.isfinite(value) and np.isfinite(slope)
    h = 1e-3
    values = [float(total(x + k * h * direction)) for k in (-2, -1, 1, 2)]
    difference = (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * h)
    # the rule's own error: h^4/30 of the fifth derivative, which the 1s of oxygen makes large
    assert float(slope) == pytest.approx(difference, rel=1e-6, abs=1e-6)


def test_tiles_and_blocks_follow_from_budgets() -> None:
    """The sizes that were found fastest on a CPU for s and p."""
    ss, ps, pp = load_basis("sto-3g").pair_classes
    assert [c.block_pairs for c in (ss, ps, pp)] == [256, 128, 32]
    widths = {(ss, ss): 32, (ps, ss): 16, (ps, ps): 8, (pp, ss): 8, (pp, ps): 4, (pp, pp): 2}
    assert {classes: ket_tile(*classes) for classes in widths} == widths
    assert all(c.block_pairs % BRA_TILE == 0 for c in (ss, ps, pp))
