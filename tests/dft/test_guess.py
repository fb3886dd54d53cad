"""First guesses, also where the minimal basis has more or fewer shells than the atom has occupied ones."""

from __future__ import annotations

import numpy as np
import pytest
from pyscf import gto

from qmgen.dft.basis import load_basis
from qmgen.dft.guess import atomic_density
from qmgen.dft.integrals.one_electron import one_electron_integrals
from qmgen.dft.integrals.shell_pairs import pair_index, rows_of_molecule, shell_pairs
from qmgen.errors import UsageError


@pytest.mark.parametrize("number", [1, 2, 3, 6, 9, 11, 15, 17, 18, 19, 20])
def test_an_atom_has_all_its_electrons(number: int) -> None:
    basis = load_basis("3-21g")
    density = atomic_density(number, basis)
    numbers, positions = np.array([number]), np.zeros((1, 3))
    pairs, n = shell_pairs(numbers, positions, basis), len(density)
    rows = rows_of_molecule(pairs, n)
    overlap = one_electron_integrals(pairs, rows, pair_index(pairs, rows, n), numbers, positions).overlap
    # rounding of a sum of up to 20 electrons; primitive pairs left out matter below 1e-12
    assert abs((np.asarray(overlap) * density).sum() - number) < 1e-9


@pytest.mark.parametrize(
    ("name", "cartesian", "number"),
    [
        ("def2-svp", False, 8),
        ("def2-svp", False, 31),
        ("6-31g*", True, 8),
        ("6-31g*", True, 15),
        ("def2-svp", True, 35),
    ],
)
def test_an_atom_is_spherical_in_functions_of_any_kind(name: str, cartesian: bool, number: int) -> None:
    basis = load_basis(name, cartesian)
    density, mol = atomic_density(number, basis), gto.M(atom=f"{number} 0 0 0", basis=name, cart=cartesian, spin=None)
    # PySCF's coefficients have ten digits
    assert abs((mol.intor("int1e_ovlp") * density).sum() - number) < 1e-8
    points = np.array([[0.3, 0.5, 0.7], [0.7, -0.3, 0.5], [-0.5, 0.7, -0.3]])  # of one distance
    values = mol.eval_gto("GTOval_cart" if cartesian else "GTOval_sph", points)
    rho = np.einsum("pi,ij,pj->p", values, density, values)
    assert np.ptp(rho) < 1e-8 * rho[0]


@pytest.mark.parametrize("name", ["lanl2dz", "gth-szv"])
def test_sets_for_effective_core_potentials_are_refused_or_reduced(name: str) -> None:
    """With all electrons in, such a set gives energies that are wrong by tens of Hartree."""
    try:
        elements = load_basis(name).elements
    except UsageError:
        return
    assert not elements & {11, 14, 17, 35}
