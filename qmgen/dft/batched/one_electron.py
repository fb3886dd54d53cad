"""Device side: the one-electron matrices of a batch, gathered through the places of orbital pairs."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array

from qmgen.dft.batched.pairs import first_rows
from qmgen.dft.integrals.one_electron import OneElectron, panel_values, second_moments
from qmgen.dft.integrals.pair_data import PairData, PairInput
from qmgen.dft.integrals.shells import kind_pairs


def one_electron_batch(
    pairs: tuple[PairInput, ...], data: tuple[PairData, ...], numbers: Array, positions: Array, place: Array
) -> OneElectron:
    """Matrices (B, n, n), those of the dipole (B, 3, n, n) and of second moments (B, 6, n, n).

    ``numbers`` (B, A), ``positions`` (B, A, 3) in Bohr.
    """
    charges = jnp.asarray(numbers, positions.dtype)
    columns = []
    for kinds, p, d in zip(kind_pairs(), pairs, data, strict=True):
        of_class = jax.vmap(partial(panel_values, kinds))(p, charges, positions, d)
        moments = jax.vmap(partial(second_moments, kinds))(charges, positions, d)
        of_class = jnp.concatenate([of_class, moments], axis=-1)
        columns.append(of_class.transpose(0, 2, 1, 3).reshape(len(charges), -1, of_class.shape[-1]))
    _, size = first_rows(tuple(d.exponent.shape[2] for d in data))
    rows = jnp.concatenate(columns, axis=1)
    rows = jnp.pad(rows, ((0, 0), (0, size - rows.shape[1]), (0, 0)))
    full = jnp.moveaxis(jax.vmap(lambda r, at: r[at])(rows, place), -1, 0)
    return OneElectron(full[0], full[1], full[2], *(jnp.moveaxis(part, 0, 1) for part in (full[3:6], full[6:])))
