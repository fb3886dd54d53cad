"""Coulomb and exchange by the panels of the supermatrix, against sums over all integrals."""

from __future__ import annotations

import numpy as np
import pytest

from qmgen.dft.fock import PANELS, pack_density, panel_rows, supermatrix, two_electron, unpack_symmetric
from qmgen.dft.integrals.two_electron import Repulsion


def integrals(n: int, n_real: int, seed: int) -> tuple[np.ndarray, Repulsion]:
    """(ij|kl) with all its symmetries (n, n, n, n), zero where there is padding, and as a matrix over places."""
    rng = np.random.default_rng(seed)
    i, j = np.tril_indices(n_real)
    packed = rng.normal(size=(len(i), len(i)))
    values = np.zeros((len(i) + 1, len(i) + 1))  # the last row is that of padding
    values[:-1, :-1] = packed + packed.T
    place = np.full((n, n), len(i), np.int32)
    place[i, j] = place[j, i] = rng.permutation(len(i))
    return values[place[:, :, None, None], place[None, None]], Repulsion(values, place)


@pytest.mark.parametrize(
    ("n", "n_real", "exact"), [(1, 1, 0.2), (3, 3, 1.0), (8, 7, 0.2), (16, 11, 0.0), (16, 16, 0.2)]
)
def test_panels_against_all_integrals(n: int, n_real: int, exact: float) -> None:
    every, repulsion = integrals(n, n_real, n)
    density = np.random.default_rng(1).normal(size=(n, n))
    density = density + density.T
    panels = supermatrix(repulsion, n_real, exact)
    ours = unpack_symmetric(two_electron(panels, pack_density(density)), n)
    direct = np.einsum("ijkl,kl->ij", every, density) - 0.5 * exact * np.einsum("ikjl,kl->ij", every, density)
    # rounding of sums of n^2 terms of size one to ten
    assert np.abs(np.asarray(ours) - direct).max() < 1e-12 * n * n


@pytest.mark.parametrize("rows", [1, 5, PANELS, 36, 2080])
def test_panels_cover_every_row_once(rows: int) -> None:
    panels = panel_rows(rows)
    assert [row for first, last in panels for row in range(first, last)] == list(range(rows))
    assert 1 <= len(panels) <= PANELS
