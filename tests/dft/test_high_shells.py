"""Integrals and orbitals of d and f shells, and the two- and three-index integrals of density fitting, against libcint.

Each class of quartets is a program that takes a second to compile: one basis set stands for all by default.
"""

from __future__ import annotations

from functools import lru_cache

import jax.numpy as jnp
import numpy as np
import pytest
from pyscf import df, gto

from qmgen.dft.basis import Basis, load_basis
from qmgen.dft.fitting import load_fitting_set
from qmgen.dft.integrals.fitting import (
    fitted_rows,
    fitting_pairs,
    fitting_rows,
    metric_integrals,
    three_index_integrals,
)
from qmgen.dft.integrals.hermite import boys_upward
from qmgen.dft.integrals.one_electron import one_electron_integrals
from qmgen.dft.integrals.repulsion import repulsion_integrals
from qmgen.dft.integrals.shell_pairs import pair_index, rows_of_molecule, shell_pairs
from qmgen.dft.integrals.shells import HIGHEST_FITTING, cartesian_powers, solid_harmonics
from qmgen.dft.orbital_values import dense_values, fill_values, orbital_table
from tests.dft.test_integrals import AGREEMENT

#: atoms (Angstrom), basis set, whether functions from d on are Cartesian
MOLECULES = {
    "d": ("O 0.1 0 0.117; C 0 0.3 1.3; H 0 -0.757 -0.469", "def2-svp", False),
    "d, Cartesian": ("O 0.1 0 0.117; C 0 0.3 1.3; H 0 -0.757 -0.469", "6-31g*", True),
    "d, sp shells": ("N 0 0 0; F 0.2 1.1 0.5", "6-31g*", False),
    "d, far apart": ("O 0 0 0; F 0.3 0.1 9.0", "def2-svp", False),
}
WITH_F = {
    "f": ("O 0 0 0.117; H 0.2 0.957 -0.469", "def2-tzvp", False),
    "f, third row": ("S 0 0 0.117; H 0.2 1.3 -0.1", "def2-tzvp", False),
}


@lru_cache(maxsize=8)
def molecule(name: str) -> tuple[gto.Mole, Basis]:
    atoms, basis, cartesian = {**MOLECULES, **WITH_F}[name]
    ours = load_basis(basis, cartesian)
    return gto.M(atom=atoms, basis=basis, cart=cartesian, spin=None, verbose=0), ours


def bound(reference: np.ndarray) -> np.ndarray:
    """Rounding and screening: 1e-10, or of large values the digits that float64 leaves after sums of this length."""
    return np.maximum(AGREEMENT, 1e-12 * np.abs(reference))


@pytest.mark.parametrize("l", range(HIGHEST_FITTING + 1))
def test_solid_harmonics_are_those_of_pyscf(l: int) -> None:
    ours = solid_harmonics(l)
    assert ours.shape == (2 * l + 1, len(cartesian_powers(l)))
    # PySCF's have the norm of the radial function alone from d on; its coefficients have 15 digits
    scale = np.sqrt(4 * np.pi / (2 * l + 1)) if l > 1 else 1.0
    assert np.abs(ours - scale * gto.cart2sph(l, normalized="sp").T).max() < 1e-13


def test_boys_functions_of_high_order_keep_their_digits() -> None:
    t = np.linspace(0.0, 60.0, 2001)
    found = np.asarray(boys_upward(12, jnp.asarray(t)))
    nodes, weights = np.polynomial.legendre.leggauss(200)
    u = 0.5 * (nodes + 1)
    for m, values in enumerate(found):
        expected = 0.5 * (weights * u ** (2 * m) * np.exp(-t[:, None] * u**2)).sum(axis=1)
        # of R those of high order are multiplied with T^m at most: the error falls with it
        assert np.abs((values - expected) * np.maximum(t / 12.0, 1.0) ** m).max() < 1e-14


def slow_but(*names: str) -> list:
    """All molecules, slow except ``names``."""
    return [n if n in names else pytest.param(n, marks=pytest.mark.slow) for n in (*MOLECULES, *WITH_F)]


def indexed(name: str):
    """Of a molecule: PySCF's, our shell pairs, rows, the row of two orbitals, numbers and positions."""
    mol, basis = molecule(name)
    numbers, positions = mol.atom_charges(), mol.atom_coords()
    assert basis.n_orbitals(numbers) == mol.nao
    pairs = shell_pairs(numbers, positions, basis)
    rows = rows_of_molecule(pairs, mol.nao)
    return mol, pairs, rows, pair_index(pairs, rows, mol.nao), numbers, positions


@pytest.mark.parametrize("name", slow_but("d", "d, Cartesian"))
def test_one_electron_integrals_equal_libcint(name: str) -> None:
    mol, pairs, rows, index, numbers, positions = indexed(name)
    one = one_electron_integrals(pairs, rows, index, numbers, jnp.asarray(positions))
    with mol.with_common_orig(numbers @ positions / numbers.sum()):
        second = mol.intor("int1e_rr")[[0, 1, 2, 4, 5, 8]]
    with mol.with_common_orig((0.0, 0.0, 0.0)):
        dipole = mol.intor("int1e_r")
    plain = {"overlap": "int1e_ovlp", "kinetic": "int1e_kin", "nuclear": "int1e_nuc"}
    expected = {ours: mol.intor(theirs) for ours, theirs in plain.items()}
    for which, reference in {**expected, "dipole": dipole, "second_moment": second}.items():
        assert (np.abs(np.asarray(getattr(one, which)) - reference) < bound(reference)).all(), which


@pytest.mark.parametrize("name", slow_but("d"))
def test_repulsion_integrals_equal_libcint(name: str) -> None:
    mol, pairs, rows, index, _, positions = indexed(name)
    four = np.asarray(repulsion_integrals(pairs, rows, jnp.asarray(positions)))
    reference = mol.intor("int2e")
    assert (np.abs(four[index[:, :, None, None], index[None, None]] - reference) < bound(reference)).all()


FITTED = [
    pytest.param("O 0.1 0 0.117; C 0 0.3 1.3; H 0 -0.757 -0.469", "def2-svp", id="g"),
    pytest.param("Br 0 0 0; H 0.3 0.2 1.39", "def2-svp", id="h", marks=pytest.mark.slow),
    pytest.param("O 0.1 0 0.117; C 0 0.3 1.3; H 0 -0.757 -0.469", "6-31g*", id="f", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("atoms", "name"), FITTED)
def test_integrals_of_density_fitting_equal_libcint(atoms: str, name: str) -> None:
    mol, basis = gto.M(atom=atoms, basis=name, spin=None, verbose=0), load_basis(name)
    fitting = load_fitting_set(None, basis)
    auxiliary = df.addons.make_auxmol(mol, fitting.name)
    numbers, positions = mol.atom_charges(), mol.atom_coords()
    n, n_fitting = mol.nao, fitting.n_orbitals(numbers)
    assert n_fitting == auxiliary.nao
    pairs, xyz = shell_pairs(numbers, positions, basis), jnp.asarray(positions)
    functions = fitting_pairs(numbers, positions, fitting)
    rows, columns = rows_of_molecule(pairs, n), fitting_rows(functions, n_fitting)
    index = pair_index(pairs, rows, n)
    metric, three = (
        metric_integrals(functions, columns, xyz),
        three_index_integrals(pairs, rows, functions, columns, xyz),
    )
    # the columns stand by classes, those of libcint by atoms
    place = np.full(n_fitting, -1)
    for shells, first, stride in zip(functions, columns.first, columns.stride, strict=True):
        orbitals = shells.orbital_a[: shells.n]
        place[orbitals.T.ravel()] = (
            first + np.arange(orbitals.shape[1])[:, None] * stride + np.arange(shells.n)
        ).ravel()
    whole = np.asarray(metric)
    whole = np.where(whole == 0.0, whole.T, whole)[np.ix_(place, place)]
    reference = auxiliary.intor("int2c2e")
    assert (np.abs(whole - reference) < bound(reference)).all()
    found = np.moveaxis(np.asarray(three)[:, place][index], -1, 0)
    reference = df.incore.aux_e2(mol, auxiliary, "int3c2e").transpose(2, 0, 1)
    assert (np.abs(found - reference) < bound(reference)).all()
    # what is made of both gives the fitted four-index integrals
    fitted = np.asarray(fitted_rows(three, index.ravel(), metric, n_fitting)).reshape(n, n, n_fitting)
    expected = np.einsum(
        "pij,pkl->ijkl", found, np.linalg.solve(whole, found.reshape(n_fitting, -1)).reshape(found.shape)
    )
    # the condition of the metric, 1e5 to 1e7, times the rounding of float64
    assert np.abs(np.einsum("ijp,klp->ijkl", fitted, fitted) - expected).max() < 1e-8


@pytest.mark.parametrize("name", [*MOLECULES, *WITH_F])
def test_orbitals_and_gradients_equal_pyscf(name: str) -> None:
    mol, basis = molecule(name)
    n = mol.nao + 3  # and padding
    table = orbital_table(mol.atom_charges(), basis, n)
    positions, points = mol.atom_coords(), np.random.default_rng(1).normal(size=(128, 3)) * 2.0
    kind = "cart" if basis.cartesian else "sph"
    expected = mol.eval_gto(f"GTOval_{kind}_deriv1", points).transpose(0, 2, 1)
    found = np.asarray(dense_values(table, jnp.asarray(positions), jnp.asarray(points), gradient=True))
    # rounding of sums of a few terms of size one to ten
    assert np.abs(found[:, : mol.nao] - expected).max() < 1e-12 and not found[:, mol.nao :].any()
    block = jnp.zeros((1, 4, n, len(points)))
    by_shell = np.asarray(fill_values(block, 0, table, jnp.asarray(positions), jnp.asarray(points)))[0]
    assert np.abs(by_shell[:, table.row[: mol.nao]] - expected).max() < 1e-12
