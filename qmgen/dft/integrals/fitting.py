"""Two- and three-index integrals of density fitting, by the kernel of the two-electron integrals.

A fitting function stands as a pair of itself and a constant (``ShellPairClass.single``), so that

    (ij|P) = (ij|P 1),    (P|Q) = (P 1|Q 1)

Density fitting in the Coulomb metric: O. Vahtras, J. Almloef, M. W. Feyereisen, Chem. Phys. Lett. 213, 514 (1993).
"""

from __future__ import annotations

from functools import partial
from typing import Final

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from qmgen.dft.basis import Basis, ShellTable, shell_tables
from qmgen.dft.integrals.pair_data import PairData, pair_data
from qmgen.dft.integrals.repulsion import block_integrals, quartet_classes, significant, tile_items
from qmgen.dft.integrals.shell_pairs import (
    MoleculePairs,
    PairRows,
    ShellPairBlock,
    ShellPairs,
    blocks,
    first_rows,
    pack_pairs,
    row_of,
)
from qmgen.dft.integrals.shells import BLOCK_PAIRS, S, ShellPairClass

#: three-index integrals of groups are skipped when the product of their bounds (Schwarz) is below this (Hartree). The
#: inverse root of the metric, whose smallest eigenvalues are 1e-5 to 1e-7, multiplies what is left out
THREE_INDEX_THRESHOLD: Final = 1e-14
#: eigenvalues of the metric below this fraction of the largest are dropped
METRIC_THRESHOLD: Final = 1e-12
#: the exponent, the coefficient and the place of the constant
_CONSTANT: Final = ShellTable(
    exponents=np.zeros(1),
    coefficients=np.ones((1, 1)),
    shell=np.zeros(1, np.int64),
    atom=np.zeros(1, np.int64),
    orbitals=np.zeros((1, 1), np.int64),
)


def fitting_pairs(numbers: np.ndarray, positions: np.ndarray, fitting: Basis) -> MoleculePairs:
    """The fitting functions of a molecule as pairs with a constant: ``numbers`` (A,), ``positions`` (A, 3) in Bohr."""
    tables = shell_tables(numbers, fitting)
    made = []
    for shell_class, table in zip(fitting.shell_classes, tables, strict=True):
        pair_class = ShellPairClass(shell_class, S, group=1, single=True)
        # no primitive is negligible
        made.append(pack_pairs(pair_class, table, _CONSTANT, positions, threshold=0.0))
    return tuple(made)


def fitting_rows(molecule: MoleculePairs, n_fitting: int) -> PairRows:
    """Rows of ``n_fitting`` functions (padded), and room for the padding of the last block of the last class."""
    stride = tuple(shells.n for shells in molecule)
    first = first_rows([shells.pair_class for shells in molecule], stride)
    return PairRows(first[:-1], stride, n_fitting + BLOCK_PAIRS)


_Blocks = list[tuple[ShellPairBlock, PairData]]


def _blocks_of(shells: ShellPairs, positions: Array) -> _Blocks:
    return [(block, pair_data(shells.pair_class, block.pairs, positions)) for block in blocks(shells)]


def three_index_integrals(
    orbitals: MoleculePairs, rows: PairRows, fitting: MoleculePairs, columns: PairRows, positions: Array
) -> Array:
    """(ij|P) of one molecule in Hartree, (rows, columns); ``positions`` (A, 3) in Bohr, A with padding."""
    values = jnp.zeros((rows.size, columns.size))
    kets = [_blocks_of(shells, positions) for shells in fitting]
    for b, shells in enumerate(orbitals):
        for bra in _blocks_of(shells, positions):
            for k, of_class in enumerate(kets):
                for ket in of_class:
                    place = _place(rows, b, bra), _place(columns, k, ket)
                    classes = shells.pair_class, fitting[k].pair_class
                    values = _with_block(values, classes, bra, ket, np.concatenate(place))
    return values


def metric_integrals(fitting: MoleculePairs, columns: PairRows, positions: Array) -> Array:
    """(P|Q) of one molecule in Hartree, (columns, columns): of two classes of shells only where that of P is not the
    higher one, else zero."""
    values = jnp.zeros((columns.size, columns.size))
    every = [_blocks_of(shells, positions) for shells in fitting]
    for q, p in quartet_classes(len(fitting)):
        classes = fitting[q].pair_class, fitting[p].pair_class
        for bra in every[q]:
            for ket in every[p]:
                place = _place(columns, q, bra), _place(columns, p, ket)
                values = _with_block(values, classes, bra, ket, np.concatenate(place))
    return values


def _place(rows: PairRows, of_class: int, block: tuple[ShellPairBlock, PairData]) -> np.ndarray:
    """The first row of a block, and the stride of its class."""
    return np.array([rows.first[of_class] + block[0].first, rows.stride[of_class]], np.int32)


def _with_block(
    values: Array,
    classes: tuple[ShellPairClass, ShellPairClass],
    bra: tuple[ShellPairBlock, PairData],
    ket: tuple[ShellPairBlock, PairData],
    where: np.ndarray,
) -> Array:
    wanted = significant(*classes, bra[0].bound, ket[0].bound, False, THREE_INDEX_THRESHOLD, 0.0)[1]
    if not wanted.any():
        return values
    block = block_integrals(*classes, bra[1], ket[1], None, tile_items(wanted))
    return _put(values, block, where)


@partial(jax.jit, donate_argnums=0)
def _put(values: Array, block: Array, where: Array) -> Array:
    """Add a block (f, g, s', s), each function's rectangle in its place; padding adds zeros. ``where`` (4,): first row
    and stride of the bra, first row and stride of the ket."""
    functions = block.shape[1]

    def rectangle(i: Array, values: Array) -> Array:
        f, g = i // functions, i % functions
        at = row_of(where[0], where[1], f, 0), row_of(where[2], where[3], g, 0)
        part = block[f, g].T
        return jax.lax.dynamic_update_slice(values, jax.lax.dynamic_slice(values, at, part.shape) + part, at)

    return jax.lax.fori_loop(0, block.shape[0] * functions, rectangle, values)


@partial(jax.jit, static_argnums=3)
def fitted_rows(three_index: Array, pairs: Array, metric: Array, n_fitting: int) -> Array:
    """(pairs, n_fitting) B with B B^T = (ij|P) (P|Q)^-1 (Q|kl), by the eigenvalues of the metric in float64; columns of
    what is dropped, and of padding, are zero. ``metric`` is that of ``metric_integrals``,
    ``pairs`` are the rows of pairs of orbitals."""
    metric, three_index = metric[:n_fitting, :n_fitting], three_index[pairs, :n_fitting]
    # between two classes one of both triangles is zero; within a class, whole or not, the other has the same
    whole = jnp.where(metric == 0.0, metric.T, metric)
    # of padding nothing is known: its eigenvalues are zero
    values, vectors = jnp.linalg.eigh(0.5 * (whole + whole.T))
    kept = values > METRIC_THRESHOLD * values[-1]
    scaled = vectors * jnp.where(kept, 1.0 / jnp.sqrt(jnp.where(kept, values, 1.0)), 0.0)
    return three_index @ scaled
