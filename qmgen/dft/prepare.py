"""From atoms to a ``Problem``: integrals, grid, tables and guess, padded to a shape.

A ``Shape`` is all that compiled code depends on. Many different molecules share one; padding (Z = 0, orbitals without
coefficients, points without weight) changes no number.

Two drivers: ``prepare`` works molecule by molecule, block by block; ``batch_lists`` (host) and ``prepare_batch``
(device) prepare a whole batch in one program.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike

from qmgen.dft.backend import ACCELERATOR, Backend, current
from qmgen.dft.basis import Basis
from qmgen.dft.coulomb_exchange import CoulombExchange, FittedCoulombExchange, exact_integrals
from qmgen.dft.electrons import doubly_occupied
from qmgen.dft.functionals import Functional
from qmgen.dft.grid import (
    BLOCK,
    COARSE,
    COMMON,
    GridLists,
    Quadrature,
    atomic_grid,
    grid_lists,
    points_count,
    size_adjustments,
)
from qmgen.dft.grid.quadrature import quadrature, quadratures
from qmgen.dft.guess import superposition_of_atoms
from qmgen.dft.integrals.fitting import (
    fitted_rows,
    fitting_pairs,
    fitting_rows,
    metric_integrals,
    three_index_integrals,
)
from qmgen.dft.integrals.one_electron import OneElectron, one_electron_batch, one_electron_integrals
from qmgen.dft.integrals.pair_data import batched_pair_data
from qmgen.dft.integrals.repulsion import BatchWork, batch_work, repulsion_batch, repulsion_integrals
from qmgen.dft.integrals.shell_pairs import (
    MoleculePairs,
    PairInput,
    PairRows,
    pair_index,
    rows_of_batch,
    rows_of_molecule,
    shell_pairs,
    stacked_pairs,
)
from qmgen.dft.integrals.shells import ShellPairClass
from qmgen.dft.orbital_values import OrbitalTable, orbital_table
from qmgen.dft.scf import GAIN, GAIN_IN_FLOAT64, LEAST, Problem, ScfOptions

#: rounding of the orbital gradient by float32 on the coarse grid, in units of 2^-24 / ``Basis.least_overlap`` Hartree.
#: Potentials in float32 and float64 differ by 1 to 12 of these (STO-3G, 3-21G, 6-31G; 4 molecules, 3 functionals), but
#: most of that hardly depends on the density, and a fine-grid evaluation corrects it. With 4, STO-3G is at its limit at
#: the default threshold: there the iterations left the model below it for each of the 337 reference molecules
COARSE_ROUNDING = 4.0


@dataclass(frozen=True, order=True)
class Shape:
    """Static sizes, each padded: orbitals, atoms, blocks of points of the fine grid and of the coarse one (0: none);
    fitting functions, and occupied orbitals (0: integrals are exact)."""

    n_orbitals: int
    n_atoms: int
    n_blocks: int
    n_coarse: int = 0
    n_fitting: int = 0
    n_occupied: int = 0


@dataclass(frozen=True)
class System:
    """One molecule: ``numbers`` (A,) int and ``positions`` (A, 3) float64 in Bohr. Neutral and closed-shell."""

    numbers: np.ndarray
    positions: np.ndarray


class Prepared(NamedTuple):
    """A ``Problem`` and the one-electron integrals that properties need: of one molecule, or of a batch with a leading
    axis."""

    problem: Problem
    one_electron: OneElectron


def shape_of(
    numbers: np.ndarray, basis: Basis, functional: Functional, grid_level: int, fitting: Basis | None = None
) -> Shape:
    """The smallest shape that holds a molecule: orbitals in steps of 8, atoms of 16, blocks of two to an octave,
    fitting functions of 64, occupied orbitals of 8."""
    blocks = -(-points_count(numbers, grid_level) // BLOCK) if functional.pieces else 1
    fine = _up(blocks, max(1, 2 ** ((blocks - 1).bit_length() - 2)) if blocks > 1 else 1)
    coarse = 0
    if functional.pieces:
        # what no mixture of these elements can exceed: a function of the fine blocks, so that there are no more shapes
        elements = {*numbers.tolist(), *COMMON} - {0}
        share = max(len(atomic_grid(z, COARSE).weights) / len(atomic_grid(z, grid_level).weights) for z in elements)
        coarse = math.ceil(fine * share)
    fitted = (_up(fitting.n_orbitals(numbers), 64), _up(int(doubly_occupied(numbers)), 8)) if fitting else (0, 0)
    return Shape(_up(basis.n_orbitals(numbers), 8), _up(len(numbers), 16), fine, coarse, *fitted)


def _up(n: int, step: int) -> int:
    return max(1, -(-n // step)) * step


def coarse_precision(basis: Basis, conv_gradient: float = ScfOptions().conv_gradient) -> type[np.floating]:
    """Of the cycles on the coarse grid: float32 where its rounding lies below what the model is solved to.

    The model is solved to ``LEAST * conv_gradient`` Hartree at the most, and its potential is rounded to 2^-24 in the
    basis; in orthonormal orbitals the functions' overlap makes more of it. Where the second exceeds the first, the
    iterations would never leave the model.
    """
    rounding = COARSE_ROUNDING * 2.0**-24 / basis.least_overlap
    return np.float32 if rounding <= LEAST * conv_gradient else np.float64


def model_gain(basis: Basis) -> float:
    """``ScfOptions.gain`` for a basis: that of the precision which its models have at the default threshold."""
    return GAIN if coarse_precision(basis) is np.float32 else GAIN_IN_FLOAT64


def prepare(
    system: System,
    shape: Shape,
    basis: Basis,
    functional: Functional,
    grid_level: int,
    coarse_dtype: type[np.floating] | None = None,
    fitting: Basis | None = None,
) -> Prepared:
    """All that the self-consistent field of one molecule needs, on the device.

    ``coarse_dtype`` is the precision of the cycles on the coarse grid (default: ``coarse_precision`` of the basis).
    With a ``fitting`` set, for which ``shape`` has places, Coulomb and exchange are fitted; without one they are exact.

    Raises:
        RuntimeError: float64 is off.
    """
    require_float64()
    backend, facts = current(), molecule_facts(system, shape, basis)
    pairs, xyz = shell_pairs(system.numbers, system.positions, basis), jnp.asarray(facts.positions)
    rows = rows_of_molecule(pairs, shape.n_orbitals)
    index = pair_index(pairs, rows, shape.n_orbitals)
    one = one_electron_integrals(pairs, rows, index, facts.numbers, xyz)
    coulomb_exchange: CoulombExchange | FittedCoulombExchange
    if fitting is None:
        repulsion = repulsion_integrals(pairs, rows, xyz)
        coulomb_exchange = exact_integrals(backend, repulsion, index, facts.n_real, functional.exact_exchange)
    else:
        coulomb_exchange = fitted_integrals(system, shape, fitting, functional, pairs, rows, index, xyz)
    n_blocks, n_coarse = (shape.n_blocks, shape.n_coarse) if functional.pieces else (0, 0)
    atoms = facts.numbers, facts.positions, facts.adjust
    return _prepared(
        facts,
        one,
        coulomb_exchange,
        quadrature(backend, *atoms, grid_level, n_blocks),
        quadrature(backend, *atoms, COARSE, n_coarse),
        coarse_dtype or coarse_precision(basis),
    )


def fitted_integrals(
    system: System,
    shape: Shape,
    fitting: Basis,
    functional: Functional,
    pairs: MoleculePairs,
    rows: PairRows,
    index: np.ndarray,
    positions: Array,
) -> FittedCoulombExchange:
    """Of the shell pairs of one molecule, ``positions`` (A, 3) padded."""
    if not doubly_occupied(system.numbers) <= shape.n_occupied:
        raise ValueError(f"the shape has {shape.n_occupied} places for occupied orbitals, too few for this molecule")
    auxiliary = fitting_pairs(system.numbers, system.positions, fitting)
    columns = fitting_rows(auxiliary, shape.n_fitting)
    metric = metric_integrals(auxiliary, columns, positions)
    three_index = three_index_integrals(pairs, rows, auxiliary, columns, positions)
    # pairs of orbitals without gaps: the others were room for padding
    i, j = np.tril_indices(shape.n_orbitals)
    packed = np.zeros((shape.n_orbitals, shape.n_orbitals), np.int32)
    packed[i, j] = packed[j, i] = np.arange(len(i))
    return FittedCoulombExchange(
        fitted=fitted_rows(three_index, index[i, j], metric, shape.n_fitting),
        pair_row=jnp.asarray(packed),
        exact_exchange=jnp.asarray(functional.exact_exchange) if functional.exact_exchange else None,
        places=jnp.arange(shape.n_occupied, dtype=jnp.int32),
    )


class MoleculeFacts(NamedTuple):
    """What the host finds out about one molecule, padded to A atoms and n orbitals; of a batch with a leading axis.
    Hartree, Bohr.

    Attributes:
        numbers, positions: (A,) int32, (A, 3); padding 0.
        adjust: (A, A) from ``size_adjustments``.
        n_occupied, n_real: () int, doubly occupied orbitals and unpadded ones.
        nuclear_repulsion: ().
        guess: (s, n, n) density.
        table: the orbitals as functions of space.
    """

    numbers: Any
    positions: Any
    adjust: Any
    n_occupied: Any
    n_real: Any
    nuclear_repulsion: Any
    guess: Any
    table: OrbitalTable


def molecule_facts(system: System, shape: Shape, basis: Basis) -> MoleculeFacts:
    n, a = shape.n_orbitals, len(system.numbers)
    numbers, positions = np.zeros(shape.n_atoms, np.int32), np.zeros((shape.n_atoms, 3))
    numbers[:a], positions[:a] = system.numbers, system.positions
    return MoleculeFacts(
        numbers=numbers,
        positions=positions,
        adjust=size_adjustments(numbers),
        n_occupied=int(doubly_occupied(system.numbers)),
        n_real=basis.n_orbitals(system.numbers),
        nuclear_repulsion=nuclear_repulsion(system),
        guess=superposition_of_atoms(system.numbers, basis, n)[None],
        table=orbital_table(system.numbers, basis, n),
    )


def _prepared(
    facts: MoleculeFacts,
    one_electron: OneElectron,
    coulomb_exchange: CoulombExchange | FittedCoulombExchange,
    grid: Quadrature,
    coarse: Quadrature,
    coarse_dtype: DTypeLike,
) -> Prepared:
    """Of one molecule or of a batch; ``coarse`` may have no blocks."""
    problem = Problem(
        overlap=one_electron.overlap,
        core=one_electron.kinetic + one_electron.nuclear,
        coulomb_exchange=coulomb_exchange,
        nuclear_repulsion=facts.nuclear_repulsion,
        n_occupied=facts.n_occupied,
        n_real=facts.n_real,
        guess=facts.guess,
        table=facts.table,
        positions=facts.positions,
        grid=grid,
        coarse=coarse._replace(weights=coarse.weights.astype(coarse_dtype)) if coarse.weights.size else None,
    )
    return Prepared(problem, one_electron)


def require_float64() -> None:
    """Raises ``RuntimeError`` where float64 is off."""
    if not jax.config.read("jax_enable_x64"):
        raise RuntimeError("qmgen.dft needs float64: call qmgen.runtime.prepare() before the first array is made")


def nuclear_repulsion(system: System) -> float:
    """sum over a < b of Z_a Z_b / R_ab, in Hartree."""
    z, x = system.numbers.astype(float), system.positions
    i, j = np.triu_indices(len(z), 1)
    return float((z[i] * z[j] / np.linalg.norm(x[i] - x[j], axis=1)).sum())


class BatchLists(NamedTuple):
    """All that a batch of B molecules of one shape sends to the device; n orbitals, A atoms. Hartree, Bohr; only numpy
    arrays.

    Attributes:
        facts: of each molecule, with a leading axis.
        pairs: of each class of shell pairs.
        index: (B, n, n) int32, the row of two orbitals in the matrix of integrals.
        work: tiles of each two classes, in float32 and in float64.
        grid, coarse: the fine grid and the coarse one (no blocks where there is none).
    """

    facts: MoleculeFacts
    pairs: tuple[PairInput, ...]
    index: Any
    work: BatchWork
    grid: GridLists
    coarse: GridLists


#: a place in a batch without a molecule
_NO_SYSTEM: Final = System(np.zeros(0, np.int64), np.zeros((0, 3)))


def batch_lists(
    systems: Sequence[System],
    shape: Shape,
    basis: Basis,
    functional: Functional,
    grid_level: int,
    size: int | None = None,
    chunk_bytes: int = ACCELERATOR.chunk_bytes,
) -> BatchLists:
    """The lists of ``systems`` of one shape, padded to ``size`` places."""
    size = size or len(systems)
    if not 0 < len(systems) <= size:
        raise ValueError(f"{len(systems)} molecules for {size} places")
    every = [*systems, *[_NO_SYSTEM] * (size - len(systems))]
    facts = jax.tree.map(lambda *x: np.stack(x), *(molecule_facts(s, shape, basis) for s in every))
    molecules = [shell_pairs(s.numbers, s.positions, basis) for s in every]
    pairs, bounds = stacked_pairs(molecules)
    rows = rows_of_batch(basis.pair_classes, pairs)
    n_blocks, n_coarse = (shape.n_blocks, shape.n_coarse) if functional.pieces else (0, 0)
    return BatchLists(
        facts=facts,
        pairs=pairs,
        index=np.stack([pair_index(molecule, rows, shape.n_orbitals) for molecule in molecules]),
        work=batch_work(basis.pair_classes, bounds, chunk_bytes),
        grid=grid_lists(facts.numbers, grid_level, n_blocks),
        coarse=grid_lists(facts.numbers, COARSE, n_coarse),
    )


def prepare_batch(
    backend: Backend,
    functional: Functional,
    classes: tuple[ShellPairClass, ...],
    lists: BatchLists,
    coarse_dtype: str,
) -> Prepared:
    """``prepare`` of each molecule, with a leading axis; ``classes`` are the pair classes of the basis set,
    ``coarse_dtype`` names a precision."""
    one, repulsion = integrals_batch(classes, lists)
    matrix = exact_integrals_batch(backend, repulsion, jnp.asarray(lists.index), functional.exact_exchange)
    return _prepared(lists.facts, one, matrix, *grids_batch(backend, lists), coarse_dtype)


def integrals_batch(classes: tuple[ShellPairClass, ...], lists: BatchLists) -> tuple[OneElectron, Array]:
    """One-electron matrices, and the two-electron integrals (B, rows, rows)."""
    xyz, index = jnp.asarray(lists.facts.positions), jnp.asarray(lists.index)
    rows = rows_of_batch(classes, lists.pairs)
    data = batched_pair_data(classes, lists.pairs, xyz)
    one = one_electron_batch(classes, lists.pairs, data, rows, index, lists.facts.numbers, xyz)
    return one, repulsion_batch(classes, data, rows, lists.work)


def exact_integrals_batch(backend: Backend, repulsion: Array, index: Array, exact_exchange: float) -> CoulombExchange:
    """Molecule by molecule, each of which fills the device, so that the tables of indices are those of one."""

    def one(molecule: tuple[Array, Array]) -> CoulombExchange:
        return exact_integrals(backend, *molecule, index.shape[-1], exact_exchange)

    made: CoulombExchange = jax.lax.map(one, (repulsion, index))
    return made


def grids_batch(backend: Backend, lists: BatchLists) -> tuple[Quadrature, Quadrature]:
    """The fine grid and the coarse one; without blocks where the functional needs none."""
    atoms = tuple(jnp.asarray(x) for x in (lists.facts.numbers, lists.facts.positions, lists.facts.adjust))
    return quadratures(backend, lists.grid, *atoms), quadratures(backend, lists.coarse, *atoms)
