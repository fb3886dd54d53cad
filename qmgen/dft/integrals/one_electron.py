"""Overlap, kinetic, nuclear-attraction, dipole and second-moment integrals over packed shell pairs.

Formulas: Helgaker, Joergensen, Olsen, "Molecular Electronic-Structure Theory", sections 9.3 and 9.9.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from qmgen.dft.integrals.hermite import coulomb_recursion, hermite_count, hermite_indices, overlaps_1d
from qmgen.dft.integrals.pair_data import PairData, pair_data
from qmgen.dft.integrals.shell_pairs import MoleculePairs, PairInput, PairRows, blocks, row_of
from qmgen.dft.integrals.shells import ShellPairClass

#: columns of ``block_values`` and of ``second_moments``
_OPERATORS = 12


class OneElectron(NamedTuple):
    """Matrices (n, n) in atomic units; ``dipole`` (3, n, n) is <i| r |j> about the origin, ``second_moment`` (6, n, n)
    as in ``second_moments``. Padding is zero."""

    overlap: Array
    kinetic: Array
    nuclear: Array
    dipole: Array
    second_moment: Array


def one_electron_integrals(
    molecule: MoleculePairs, rows: PairRows, index: np.ndarray, numbers: np.ndarray | Array, positions: Array
) -> OneElectron:
    """All one-electron matrices of one molecule, block by block.

    ``numbers`` (A,), ``positions`` (A, 3) in Bohr may include padding (Z = 0); ``index`` is the ``pair_index``.
    """
    values = jnp.zeros((rows.size, _OPERATORS))
    charges = jnp.asarray(numbers, dtype=positions.dtype)
    for shells, first, stride in zip(molecule, rows.first, rows.stride, strict=True):
        for block in blocks(shells):
            data = pair_data(shells.pair_class, block.pairs, positions)
            part = block_values(shells.pair_class, block.pairs, charges, positions, data)
            moments = second_moments(shells.pair_class, charges, positions, data)
            part = jnp.concatenate([part, moments], -1)
            values = _add_block(values, part, np.int32(first + block.first), np.int32(stride))
    return _matrices(values, index)


def one_electron_batch(
    classes: tuple[ShellPairClass, ...],
    pairs: tuple[PairInput, ...],
    data: tuple[PairData, ...],
    rows: PairRows,
    index: Array,
    numbers: Array,
    positions: Array,
) -> OneElectron:
    """The same of a batch at once, with a leading axis: ``index`` (B, n, n), ``numbers`` (B, A), ``positions``
    (B, A, 3) in Bohr."""
    charges = jnp.asarray(numbers, positions.dtype)
    columns = []
    for pair_class, p, d in zip(classes, pairs, data, strict=True):
        of_class = jax.vmap(partial(block_values, pair_class))(p, charges, positions, d)
        moments = jax.vmap(partial(second_moments, pair_class))(charges, positions, d)
        of_class = jnp.concatenate([of_class, moments], -1)
        columns.append(of_class.transpose(0, 2, 1, 3).reshape(len(charges), -1, _OPERATORS))
    values = jnp.concatenate(columns, axis=1)
    values = jnp.pad(values, ((0, 0), (0, rows.size - values.shape[1]), (0, 0)))
    return jax.vmap(_matrices)(values, index)


@partial(jax.jit, static_argnums=0)
def block_values(
    pair_class: ShellPairClass, pairs: PairInput, charges: Array, positions: Array, data: PairData
) -> Array:
    """(pairs, functions, 6): overlap, kinetic, nuclear, and the three dipole components."""
    local = _local_operators(pair_class, pairs, positions, data)
    nuclear = _nuclear(pair_class, charges, positions, data)
    return jnp.concatenate([local[..., :2], nuclear[..., None], local[..., 2:]], -1)


@partial(jax.jit, static_argnums=0)
def second_moments(pair_class: ShellPairClass, charges: Array, positions: Array, data: PairData) -> Array:
    """(pairs, functions, 6): <i| (r - C)_a (r - C)_b |j> for ab = xx xy xz yy yz zz; C is the center of nuclear charge.

    The moment of a Hermite Gaussian of order t along a direction, x = P - C, without the factor sqrt(pi / p):
    of 1: 1, 0, 0; of r - C: x, 1, 0; of (r - C)^2: x^2 + 1/(2p), 2x, 2; zero for t > 2.
    """
    x = data.center - charges @ positions / jnp.maximum(charges.sum(), 1.0)
    ones, nothing = jnp.ones_like(x), jnp.zeros_like(x)
    square = x * x + 0.5 / data.exponent[..., None]
    table = jnp.stack([*(ones, nothing, nothing), *(x, ones, nothing), *(square, 2.0 * x, 2.0 * ones)], -1)
    table = table.reshape(*x.shape, 3, 3)  # (l, s, k, direction, power, t)
    tuv = np.array(hermite_indices(pair_class.hermite_order))
    low = np.flatnonzero((tuv <= 2).all(axis=1))
    powers = np.eye(3, dtype=int)[list(zip(*np.triu_indices(3)))].sum(axis=1)  # (6, direction)
    factors = [table[..., d, powers[:, d, None], tuv[low, d]] for d in range(3)]
    moments = factors[0] * factors[1] * factors[2] * (np.pi / data.exponent[..., None, None]) ** 1.5
    return jnp.einsum("lskmt,lsktf->sfm", moments, data.expansion[..., low, :])


def _local_operators(pair_class: ShellPairClass, pairs: PairInput, positions: Array, data: PairData) -> Array:
    """(pairs, functions, 5): overlap, kinetic, and the dipole components about the origin."""
    a, b = pairs.exponents_a, pairs.exponents_b
    center_a, center_b = positions[pairs.atom_a][:, None, :], positions[pairs.atom_b][:, None, :]
    p = data.exponent
    la, lb = pair_class.orders
    powers_a, powers_b, column_a, column_b = pair_class.monomial_pairs
    overlap, kinetic = [], []
    for d in range(3):
        x = data.center[..., d]
        table = overlaps_1d(la, lb + 2, x - center_a[..., d], x - center_b[..., d], p)
        i, j = powers_a[:, d], powers_b[:, d]
        overlap.append(table[i, j])
        kinetic.append(_kinetic_1d(table, i, j, b))
    distance2 = ((center_a - center_b) ** 2).sum(axis=-1)
    decay = jnp.exp(-a * b / p * distance2)[..., None]
    scale = jnp.moveaxis(decay * pairs.coefficients_a[..., column_a] * pairs.coefficients_b[..., column_b], -1, 0)
    s, t = overlap, kinetic
    products = jnp.stack([s[0] * s[1] * s[2], t[0] * s[1] * s[2] + s[0] * t[1] * s[2] + s[0] * s[1] * t[2]])
    values = (products * scale).sum(axis=(-3, -1))  # (operators, monomials, pairs)
    if (transform := pair_class.transform) is not None:
        values = jnp.asarray(transform) @ values
    return jnp.concatenate([values.transpose(2, 1, 0), _dipole(data)], -1)


def _dipole(data: PairData) -> Array:
    """(pairs, functions, 3) about the origin: of a Hermite Gaussian of order 0 P, of order 1 one along its direction,
    without the factor (pi / p)^(3/2)."""
    whole = data.expansion * (np.pi / data.exponent[..., None, None]) ** 1.5
    position = jnp.einsum("lskd,lskf->sfd", data.center, whole[..., 0, :])
    if whole.shape[-2] == 1:
        return position
    return position + whole[..., 1:4, :].sum(axis=(0, 2)).transpose(0, 2, 1)


def _kinetic_1d(s: Array, i: np.ndarray, j: np.ndarray, b: Array) -> Array:
    """-1/2 d^2/dx^2 of the ket, from overlaps ``s`` (i, j, l, s, k); ``i`` and ``j`` (f,) are powers."""
    power = j[:, None, None, None].astype(float)
    value = b * (2.0 * power + 1.0) * s[i, j] - 2.0 * b * b * s[i, j + 2]
    return value - 0.5 * power * (power - 1.0) * s[i, np.maximum(j - 2, 0)] if (j >= 2).any() else value


def _nuclear(pair_class: ShellPairClass, charges: Array, positions: Array, data: PairData) -> Array:
    """Attraction by all nuclei, summed atom by atom; a charge of zero adds exact zeros."""
    order = pair_class.hermite_order
    weights = data.expansion * (2 * np.pi / data.exponent)[..., None, None]

    def add(atom: Array, total: tuple[Array, ...]) -> tuple[Array, ...]:
        d = data.center - positions[atom]
        r = coulomb_recursion(order, data.exponent, d[..., 0], d[..., 1], d[..., 2], jnp.ones_like(data.exponent))
        return tuple(t - charges[atom] * x for t, x in zip(total, r, strict=True))

    nothing = tuple(jnp.zeros_like(data.exponent) for _ in range(hermite_count(order)))
    potential = jnp.stack(jax.lax.fori_loop(0, charges.shape[0], add, nothing), axis=-1)
    return jnp.einsum("lskt,lsktf->sf", potential, weights)


@jax.jit
def _add_block(values: Array, block: Array, first: Array, stride: Array) -> Array:
    """``values`` (rows, operators) with those of a block (pairs, functions, operators) added, function by function;
    padding adds zeros."""

    def add(f: Array, values: Array) -> Array:
        at, part = (row_of(first, stride, f, 0), jnp.zeros_like(first)), block[:, f]
        return jax.lax.dynamic_update_slice(values, jax.lax.dynamic_slice(values, at, part.shape) + part, at)

    return jax.lax.fori_loop(0, block.shape[1], add, values)


@jax.jit
def _matrices(values: Array, index: Array) -> OneElectron:
    """From ``values`` (rows, operators) and the row of two orbitals (n, n)."""
    full = jnp.moveaxis(values[index], -1, 0)
    return OneElectron(full[0], full[1], full[2], full[3:6], full[6:])
