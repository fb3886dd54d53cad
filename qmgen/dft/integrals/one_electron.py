"""Overlap, kinetic, dipole and nuclear-attraction integrals over the packed pairs of a molecule.

Formulas: Helgaker, Joergensen, Olsen, "Molecular Electronic-Structure Theory", sections 9.3 and 9.9.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from qmgen.dft.integrals.hermite import coulomb_recursion, expansion_1d
from qmgen.dft.integrals.pair_data import PairData, PairInput, pair_data, pair_order, panels
from qmgen.dft.integrals.pairs import PairClass
from qmgen.dft.integrals.shells import KINDS, functions_of
from qmgen.dft.integrals.two_electron import packed_index

Array = jax.Array


class OneElectron(NamedTuple):
    """Matrices (n, n) in atomic units; ``dipole`` (3, n, n) is <i| r |j> about the origin. Padding is zero."""

    overlap: Array
    kinetic: Array
    nuclear: Array
    dipole: Array


def one_electron_integrals(
    classes: tuple[PairClass, ...], numbers: np.ndarray | Array, positions: Array, n_orbitals: int
) -> OneElectron:
    """All one-electron matrices of one molecule; ``numbers`` (A,), ``positions`` (A, 3) may include padding (Z = 0)."""
    n_pairs = n_orbitals * (n_orbitals + 1) // 2
    packed = jnp.zeros((n_pairs, 6))
    charges = jnp.asarray(numbers, dtype=positions.dtype)
    for c in classes:
        for panel in panels(c):
            values = _panel_values(c.kinds, panel, charges, positions, pair_data(c.kinds, panel, positions))
            packed = _scatter(packed, values, panel)
    return _unpack(packed, n_orbitals)


@partial(jax.jit, static_argnums=0)
def _panel_values(kinds: tuple[int, int], pairs: PairInput, charges: Array, positions: Array, data: PairData) -> Array:
    """(bundles, functions, 6): overlap, kinetic, nuclear, and the three dipole components."""
    local = _local_operators(kinds, pairs, positions, data)
    return jnp.concatenate([local[..., :2], _nuclear(kinds, charges, positions, data)[..., None], local[..., 2:]], -1)


def _local_operators(kinds: tuple[int, int], pairs: PairInput, positions: Array, data: PairData) -> Array:
    a, b = pairs.exponents_a, pairs.exponents_b
    center_a, center_b = positions[pairs.atom_a][:, None, :], positions[pairs.atom_b][:, None, :]
    p = data.exponent
    la, lb = max(KINDS[kinds[0]]), max(KINDS[kinds[1]])
    root = jnp.sqrt(np.pi / p)
    overlap, kinetic, moment = [], [], []
    for d in range(3):
        e = expansion_1d(
            la, lb + 2, data.center[..., d] - center_a[..., d], data.center[..., d] - center_b[..., d], 0.5 / p
        )
        s = [[root * row[0] for row in line] for line in e]
        overlap.append(s)
        kinetic.append([[_kinetic_1d(s[i], j, b) for j in range(lb + 1)] for i in range(la + 1)])
        moment.append(
            [
                [root * ((row[1] if len(row) > 1 else 0.0) + data.center[..., d] * row[0]) for row in line[: lb + 1]]
                for line in e
            ]
        )
    distance2 = ((center_a - center_b) ** 2).sum(axis=-1)
    decay = jnp.exp(-a * b / p * distance2)
    columns = []
    for column_a, i in functions_of(KINDS[kinds[0]]):
        for column_b, j in functions_of(KINDS[kinds[1]]):
            scale = decay * pairs.coefficients_a[..., column_a] * pairs.coefficients_b[..., column_b]
            (sx, sy, sz), (tx, ty, tz), (rx, ry, rz) = (
                [table[d][i[d]][j[d]] for d in range(3)] for table in (overlap, kinetic, moment)
            )
            products = [
                sx * sy * sz,
                tx * sy * sz + sx * ty * sz + sx * sy * tz,
                rx * sy * sz,
                sx * ry * sz,
                sx * sy * rz,
            ]
            columns.append(jnp.stack([(scale * x).sum(axis=1) for x in products], axis=-1))
    return jnp.stack(columns, axis=1)


def _kinetic_1d(s: list[Array], j: int, b: Array) -> Array:
    value = b * (2 * j + 1) * s[j] - 2.0 * b * b * s[j + 2]
    return value - 0.5 * j * (j - 1) * s[j - 2] if j >= 2 else value


def _nuclear(kinds: tuple[int, int], charges: Array, positions: Array, data: PairData) -> Array:
    """Attraction by all nuclei, summed atom by atom; a charge of zero adds exact zeros."""
    order = pair_order(kinds)
    weights = data.expansion * (2 * np.pi / data.exponent)[..., None, None]

    def add(atom: Array, total: Array) -> Array:
        d = data.center - positions[atom]
        r = coulomb_recursion(order, data.exponent, d[..., 0], d[..., 1], d[..., 2], jnp.ones_like(data.exponent))
        return total - charges[atom] * jnp.stack(r, axis=-1)

    potential = jax.lax.fori_loop(0, charges.shape[0], add, jnp.zeros(data.expansion.shape[:3]))
    return jnp.einsum("skt,sktf->sf", potential, weights)


@jax.jit
def _scatter(packed: Array, values: Array, pairs: PairInput) -> Array:
    index = packed_index(pairs.orbital_a, pairs.orbital_b, packed.shape[0]).reshape(-1)
    return packed.at[index].add(values.reshape(-1, values.shape[-1]), mode="drop")


@partial(jax.jit, static_argnums=1)
def _unpack(packed: Array, n: int) -> OneElectron:
    index = packed_index(jnp.arange(n)[:, None], jnp.arange(n)[None, :], 0)
    full = jnp.moveaxis(packed[index], -1, 0)
    return OneElectron(full[0], full[1], full[2], full[3:])
