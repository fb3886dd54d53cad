"""Overlap, kinetic, nuclear-attraction, dipole and second-moment integrals over the packed pairs of a molecule.

Formulas: Helgaker, Joergensen, Olsen, "Molecular Electronic-Structure Theory", sections 9.3 and 9.9.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from qmgen.dft.integrals.hermite import coulomb_recursion, dense_expansion, hermite_count, hermite_indices
from qmgen.dft.integrals.pair_data import PairData, PairInput, function_pairs, pair_data, pair_order, panels
from qmgen.dft.integrals.pairs import PairClass
from qmgen.dft.integrals.shells import KINDS


class OneElectron(NamedTuple):
    """Matrices (n, n) in atomic units; ``dipole`` (3, n, n) is <i| r |j> about the origin, ``second_moment`` (6, n, n)
    as in ``second_moments``. Padding is zero."""

    overlap: Array
    kinetic: Array
    nuclear: Array
    dipole: Array
    second_moment: Array


def one_electron_integrals(
    classes: tuple[PairClass, ...], numbers: np.ndarray | Array, positions: Array, n_orbitals: int
) -> OneElectron:
    """All one-electron matrices of one molecule; ``numbers`` (A,), ``positions`` (A, 3) may include padding (Z = 0)."""
    n_pairs = n_orbitals * (n_orbitals + 1) // 2
    packed = jnp.zeros((n_pairs, 12))
    charges = jnp.asarray(numbers, dtype=positions.dtype)
    for c in classes:
        for panel in panels(c):
            data = pair_data(c.kinds, panel.pairs, positions)
            values = panel_values(c.kinds, panel.pairs, charges, positions, data)
            moments = second_moments(c.kinds, charges, positions, data)
            packed = _scatter(packed, jnp.concatenate([values, moments], -1), panel.pairs)
    return _unpack(packed, n_orbitals)


@partial(jax.jit, static_argnums=0)
def panel_values(kinds: tuple[int, int], pairs: PairInput, charges: Array, positions: Array, data: PairData) -> Array:
    """(pairs, functions, 6): overlap, kinetic, nuclear, and the three dipole components."""
    local = _local_operators(kinds, pairs, positions, data)
    return jnp.concatenate([local[..., :2], _nuclear(kinds, charges, positions, data)[..., None], local[..., 2:]], -1)


@partial(jax.jit, static_argnums=0)
def second_moments(kinds: tuple[int, int], charges: Array, positions: Array, data: PairData) -> Array:
    """(pairs, functions, 6): <i| (r - C)_a (r - C)_b |j> for ab = xx xy xz yy yz zz; C is the center of nuclear charge.

    The moment of a Hermite Gaussian of order t along a direction, x = P - C, without the factor sqrt(pi / p):
    of 1: 1, 0, 0; of r - C: x, 1, 0; of (r - C)^2: x^2 + 1/(2p), 2x, 2; zero for t > 2.
    """
    x = data.center - charges @ positions / jnp.maximum(charges.sum(), 1.0)
    ones, nothing = jnp.ones_like(x), jnp.zeros_like(x)
    square = x * x + 0.5 / data.exponent[..., None]
    table = jnp.stack([*(ones, nothing, nothing), *(x, ones, nothing), *(square, 2.0 * x, 2.0 * ones)], -1)
    table = table.reshape(*x.shape, 3, 3)  # (l, s, k, direction, power, t)
    tuv = np.array(hermite_indices(pair_order(kinds)))
    low = np.flatnonzero((tuv <= 2).all(axis=1))
    powers = np.eye(3, dtype=int)[list(zip(*np.triu_indices(3)))].sum(axis=1)  # (6, direction)
    factors = [table[..., d, powers[:, d, None], tuv[low, d]] for d in range(3)]
    moments = factors[0] * factors[1] * factors[2] * (np.pi / data.exponent[..., None, None]) ** 1.5
    return jnp.einsum("lskmt,lsktf->sfm", moments, data.expansion[..., low, :])


def _local_operators(kinds: tuple[int, int], pairs: PairInput, positions: Array, data: PairData) -> Array:
    """(pairs, functions, 5): overlap, kinetic, and the dipole components about the origin."""
    a, b = pairs.exponents_a, pairs.exponents_b
    center_a, center_b = positions[pairs.atom_a][:, None, :], positions[pairs.atom_b][:, None, :]
    p = data.exponent
    la, lb = max(KINDS[kinds[0]]), max(KINDS[kinds[1]])
    powers_a, powers_b, column_a, column_b = function_pairs(kinds)
    overlap, kinetic, moment = [], [], []
    for d in range(3):
        x = data.center[..., d]
        e = dense_expansion(la, lb + 2, x - center_a[..., d], x - center_b[..., d], 0.5 / p)
        e = e * jnp.sqrt(np.pi / p)
        i, j = powers_a[:, d], powers_b[:, d]
        zeroth = e[:, :, 0]
        overlap.append(zeroth[i, j])
        kinetic.append(_kinetic_1d(zeroth, i, j, b))
        moment.append(e[i, j, 1] + x * zeroth[i, j])
    distance2 = ((center_a - center_b) ** 2).sum(axis=-1)
    decay = jnp.exp(-a * b / p * distance2)[..., None]
    scale = jnp.moveaxis(decay * pairs.coefficients_a[..., column_a] * pairs.coefficients_b[..., column_b], -1, 0)
    s, t, r = overlap, kinetic, moment
    products = jnp.stack(
        [
            s[0] * s[1] * s[2],
            t[0] * s[1] * s[2] + s[0] * t[1] * s[2] + s[0] * s[1] * t[2],
            r[0] * s[1] * s[2],
            s[0] * r[1] * s[2],
            s[0] * s[1] * r[2],
        ]
    )
    return (products * scale).sum(axis=(-3, -1)).transpose(2, 1, 0)


def _kinetic_1d(s: Array, i: np.ndarray, j: np.ndarray, b: Array) -> Array:
    """-1/2 d^2/dx^2 of the ket, from overlaps ``s`` (i, j, l, s, k); ``i`` and ``j`` (f,) are powers."""
    power = j[:, None, None, None].astype(float)
    value = b * (2.0 * power + 1.0) * s[i, j] - 2.0 * b * b * s[i, j + 2]
    return value - 0.5 * power * (power - 1.0) * s[i, np.maximum(j - 2, 0)] if (j >= 2).any() else value


def _nuclear(kinds: tuple[int, int], charges: Array, positions: Array, data: PairData) -> Array:
    """Attraction by all nuclei, summed atom by atom; a charge of zero adds exact zeros."""
    order = pair_order(kinds)
    weights = data.expansion * (2 * np.pi / data.exponent)[..., None, None]

    def add(atom: Array, total: tuple[Array, ...]) -> tuple[Array, ...]:
        d = data.center - positions[atom]
        r = coulomb_recursion(order, data.exponent, d[..., 0], d[..., 1], d[..., 2], jnp.ones_like(data.exponent))
        return tuple(t - charges[atom] * x for t, x in zip(total, r, strict=True))

    nothing = tuple(jnp.zeros_like(data.exponent) for _ in range(hermite_count(order)))
    potential = jnp.stack(jax.lax.fori_loop(0, charges.shape[0], add, nothing), axis=-1)
    return jnp.einsum("lskt,lsktf->sf", potential, weights)


@jax.jit
def _scatter(packed: Array, values: Array, pairs: PairInput) -> Array:
    index = packed_index(pairs.orbital_a, pairs.orbital_b, packed.shape[0]).reshape(-1)
    return packed.at[index].add(values.reshape(-1, values.shape[-1]), mode="drop")


@partial(jax.jit, static_argnums=1)
def _unpack(packed: Array, n: int) -> OneElectron:
    index = packed_index(jnp.arange(n)[:, None], jnp.arange(n)[None, :], 0)
    full = jnp.moveaxis(packed[index], -1, 0)
    return OneElectron(full[0], full[1], full[2], full[3:6], full[6:])


def packed_index(i: Array, j: Array, nowhere: int) -> Array:
    """i(i+1)/2 + j for the larger and the smaller of two orbitals; ``nowhere`` where one is negative."""
    high, low = jnp.maximum(i, j), jnp.minimum(i, j)
    return jnp.where(low < 0, nowhere, high * (high + 1) // 2 + low)
