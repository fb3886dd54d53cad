"""Coulomb and exchange by the blocks of the supermatrix, against sums over all integrals."""

from __future__ import annotations

import numpy as np
import pytest

from qmgen.dft.backend import ACCELERATOR, CPU, Backend
from qmgen.dft.coulomb_exchange import block_rows, supermatrix

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


@pytest.mark.parametrize("backend", [CPU, ACCELERATOR], ids=lambda backend: backend.name)
@pytest.mark.parametrize(
    ("n", "n_real", "exact"), [(1, 1, 0.2), (3, 3, 1.0), (8, 7, 0.2), (16, 11, 0.0), (16, 16, 0.2)]
)
def test_supermatrix_against_all_integrals(backend: Backend, n: int, n_real: int, exact: float) -> None:
    every, values, index = integrals(n, n_real, n)
    density = np.random.default_rng(1).normal(size=(n, n))
    density = density + density.T
    ours, energy = supermatrix(backend, values, index, n_real, exact).jk(density)
    direct = np.einsum("ijkl,kl->ij", every, density) - 0.5 * exact * np.einsum("ikjl,kl->ij", every, density)
    # rounding of sums of n^2 terms of size one to ten
    assert np.abs(np.asarray(ours) - direct).max() < 1e-12 * n * n
    assert abs(float(energy) - 0.5 * (direct * density).sum()) < 1e-12 * n**4


@pytest.mark.parametrize("rows", [1, 5, BLOCKS, 36, 2080])
def test_blocks_cover_every_row_once(rows: int) -> None:
    blocks = block_rows(rows, BLOCKS)
    assert [row for first, last in blocks for row in range(first, last)] == list(range(rows))
    assert 1 <= len(blocks) <= BLOCKS
