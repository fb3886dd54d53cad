"""Coulomb and exchange by the blocks of the supermatrix, against sums over all integrals."""

from __future__ import annotations

import numpy as np
import pytest

from qmgen.dft.backend import ACCELERATOR, CPU, Backend
from qmgen.dft.coulomb_exchange import block_rows, exact_integrals

BLOCKS = CPU.supermatrix_blocks


def integrals(n: int, n_real: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(ij|kl) with all its symmetries (n, n, n, n), zero where there is padding; as a matrix over rows; and the row of
    two orbitals."""
    rng = np.random.default_rng(seed)
    i, j = np.tril_indices(n_real)
    packed = rng.normal(size=(len(i), len(i)))
    values = np.zeros((len(i) + 1, len(i) + 1))  # the last row is that of padding
    values[:-1, :-1] = packed + packed.T
    place = np.full((n, n), len(i), np.int32)
    place[i, j] = place[j, i] = rng.permutation(len(i))
    return values[place[:, :, None, None], place[None, None]], values, place


def symmetric(n: int, spins: int, seed: int) -> np.ndarray:
    """(spins, n, n) densities."""
    density = np.random.default_rng(seed).normal(size=(spins, n, n))
    return density + density.transpose(0, 2, 1)


def coulomb(every: np.ndarray, density: np.ndarray) -> np.ndarray:
    return np.einsum("ijkl,kl->ij", every, density)


def exchange(every: np.ndarray, density: np.ndarray) -> np.ndarray:
    return np.einsum("ikjl,kl->ij", every, density)


@pytest.mark.parametrize("backend", [CPU, ACCELERATOR], ids=lambda backend: backend.name)
@pytest.mark.parametrize(
    ("n", "n_real", "exact"), [(1, 1, 0.2), (3, 3, 1.0), (8, 7, 0.2), (16, 11, 0.0), (16, 16, 0.2)]
)
def test_supermatrix_against_all_integrals(backend: Backend, n: int, n_real: int, exact: float) -> None:
    every, values, index = integrals(n, n_real, n)
    density = symmetric(n, 1, seed=1)
    ours, energy = exact_integrals(backend, values, index, n_real, exact).jk(density)
    direct = coulomb(every, density[0]) - 0.5 * exact * exchange(every, density[0])
    # rounding of sums of n^2 terms of size one to ten
    assert np.abs(np.asarray(ours[0]) - direct).max() < 1e-12 * n * n
    assert abs(float(energy) - 0.5 * (direct * density).sum()) < 1e-12 * n**4


@pytest.mark.parametrize("backend", [CPU, ACCELERATOR], ids=lambda backend: backend.name)
@pytest.mark.parametrize("spins", [1, 2])
def test_coulomb_and_exchange_apart(backend: Backend, spins: int) -> None:
    n, n_real, exact = 8, 7, 0.2
    every, values, index = integrals(n, n_real, n)
    densities = symmetric(n, spins, seed=2)
    apart = exact_integrals(backend, values, index, n_real, exact, apart=True)
    assert apart.coulomb is not None and apart.exchange is not None
    # rounding of sums of n^2 terms of size one to ten
    total = densities.sum(axis=0)
    assert np.abs(np.asarray(apart.coulomb.apply(total)[0]) - coulomb(every, total)).max() < 1e-12 * n * n
    for density in densities:
        ours = np.asarray(apart.exchange.apply(density)[0])
        assert np.abs(ours - exact * exchange(every, density)).max() < 1e-12 * n * n
    fock, energy = apart.jk(densities)
    direct = [coulomb(every, total) - 0.5 * spins * exact * exchange(every, density) for density in densities]
    assert np.abs(np.asarray(fock) - direct).max() < 1e-12 * n * n
    assert abs(float(energy) - 0.5 * (np.array(direct) * densities).sum()) < 1e-12 * n**4


def test_a_pure_functional_has_coulomb_alone() -> None:
    _, values, index = integrals(8, 7, 8)
    pure, hybrid = (exact_integrals(CPU, values, index, 7, share) for share in (0.0, 0.2))
    apart = exact_integrals(CPU, values, index, 7, 0.2, apart=True)
    assert pure.coulomb is not None and apart.coulomb is not None and hybrid.closed_shell is not None
    for ours, theirs in zip(pure.coulomb.blocks, apart.coulomb.blocks, strict=True):
        assert np.array_equal(ours, theirs)  # the same matrix, made in the same way
    joint = hybrid.closed_shell.blocks
    assert not all(np.array_equal(a, b) for a, b in zip(pure.coulomb.blocks, joint, strict=True))


def test_two_spins_are_refused_where_j_and_k_are_one_matrix() -> None:
    _, values, index = integrals(8, 7, 8)
    with pytest.raises(ValueError, match="J and K apart"):
        exact_integrals(CPU, values, index, 7, 0.2).jk(symmetric(8, 2, seed=3))


@pytest.mark.parametrize("rows", [1, 5, BLOCKS, 36, 2080])
def test_blocks_cover_every_row_once(rows: int) -> None:
    blocks = block_rows(rows, BLOCKS)
    assert [row for first, last in blocks for row in range(first, last)] == list(range(rows))
    assert 1 <= len(blocks) <= BLOCKS
