"""From atoms to a ``Problem``: integrals, grid, tables and guess, padded to a shape.

A ``Shape`` is all that compiled code depends on. Many different molecules share one; padding (Z = 0, orbitals without
coefficients, points without weight) changes no number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from qmgen.dft.basis import Basis
from qmgen.dft.exchange_correlation import BLOCK, Quadrature
from qmgen.dft.fock import supermatrix
from qmgen.dft.functionals import Functional
from qmgen.dft.grid import SKETCH, Level, atomic_grid, molecular_grid, partition_weights, points_count, size_adjustments
from qmgen.dft.guess import superposition_of_atoms
from qmgen.dft.integrals.one_electron import OneElectron, one_electron_integrals
from qmgen.dft.integrals.pairs import pair_classes
from qmgen.dft.integrals.shells import orbital_atoms
from qmgen.dft.integrals.two_electron import repulsion_integrals
from qmgen.dft.orbital_values import orbital_table
from qmgen.dft.scf import GAIN, GAIN_IN_FLOAT64, LEAST, Options, Problem

#: elements whose grids every shape and batch allows for
COMMON = (1, 6, 7, 8, 9)
#: points per call of the partition kernel
_GRID_CHUNK = 8 * BLOCK
#: points with less weight (Bohr^3) add under 1e-11 Ha in all, even beside a nucleus (density 1e3, 1e4 such points)
WEIGHT_THRESHOLD = 1e-18
#: rounding of the orbital gradient by float32 on a sketch, in units of 2^-24 / ``Basis.least_overlap`` Hartree.
#: Potentials in float32 and float64 differ by 1 to 12 of these (STO-3G, 3-21G, 6-31G; 4 molecules, 3 functionals), but
#: most of that hardly depends on the density, and a visit corrects it. With 4, STO-3G is at its limit at the default
#: threshold: there the iterations left the model below it for each of the 337 reference molecules
SKETCH_ROUNDING = 4.0


@dataclass(frozen=True, order=True)
class Shape:
    """Static sizes, each padded: orbitals, atoms, blocks of points of the asked grid and of its sketch (0: none)."""

    n_orbitals: int
    n_atoms: int
    n_blocks: int
    n_coarse: int = 0


@dataclass(frozen=True)
class System:
    """One molecule: ``numbers`` (A,) int and ``positions`` (A, 3) float64 in Bohr. Neutral and closed-shell."""

    numbers: np.ndarray
    positions: np.ndarray


@dataclass(frozen=True)
class Prepared:
    """A ``Problem`` and what else is needed: matrices, the atom of each orbital, and ``numbers`` (A,)."""

    problem: Problem
    one_electron: OneElectron
    orbital_atom: np.ndarray
    numbers: np.ndarray


def shape_of(numbers: np.ndarray, basis: Basis, functional: Functional, grid_level: int) -> Shape:
    """The smallest shape that holds a molecule: orbitals in steps of 8, atoms of 16, blocks of two to an octave."""
    blocks = -(-points_count(numbers, grid_level) // BLOCK) if functional.pieces else 1
    fine = _up(blocks, max(1, 2 ** ((blocks - 1).bit_length() - 2)) if blocks > 1 else 1)
    coarse = 0
    if functional.pieces:
        # what no mixture of these elements can exceed: a function of the fine blocks, so that there are no more shapes
        elements = {*numbers.tolist(), *COMMON} - {0}
        share = max(len(atomic_grid(z, SKETCH).weights) / len(atomic_grid(z, grid_level).weights) for z in elements)
        coarse = math.ceil(fine * share)
    return Shape(_up(basis.n_orbitals(numbers), 8), _up(len(numbers), 16), fine, coarse)


def _up(n: int, step: int) -> int:
    return max(1, -(-n // step)) * step


def sketch_precision(basis: Basis, conv_gradient: float = Options().conv_gradient) -> type[np.floating]:
    """The precision of the cycles on the sketch: float32 where its rounding lies below what the model is solved to.

    The model is solved to ``LEAST * conv_gradient`` Hartree at the most, and its potential is rounded to 2^-24 in the
    basis; in orthonormal orbitals the functions' overlap makes more of it. Where the second exceeds the first, the
    iterations would never leave the model.
    """
    rounding = SKETCH_ROUNDING * 2.0**-24 / basis.least_overlap
    return np.float32 if rounding <= LEAST * conv_gradient else np.float64


def model_gain(basis: Basis) -> float:
    """``Options.gain`` for a basis: that of the precision which its models have at the default threshold."""
    return GAIN if sketch_precision(basis) is np.float32 else GAIN_IN_FLOAT64


def prepare(
    system: System,
    shape: Shape,
    basis: Basis,
    functional: Functional,
    grid_level: int,
    sketch_dtype: type[np.floating] | None = None,
) -> Prepared:
    """All that the self-consistent field needs, on the device.

    ``sketch_dtype`` is the precision of the cycles on the sketch (default: ``sketch_precision`` of the basis).

    Raises:
        RuntimeError: float64 is off.
    """
    require_float64()
    numbers = np.zeros(shape.n_atoms, dtype=np.int32)
    positions = np.zeros((shape.n_atoms, 3))
    a = len(system.numbers)
    numbers[:a], positions[:a] = system.numbers, system.positions
    classes = pair_classes(system.numbers, system.positions, basis)
    xyz = jnp.asarray(positions)
    one = one_electron_integrals(classes, numbers, xyz, shape.n_orbitals)
    repulsion = repulsion_integrals(classes, xyz, shape.n_orbitals)
    table = orbital_table(system.numbers, basis, shape.n_orbitals)
    grid = _grid(system, numbers, xyz, shape.n_blocks, functional, grid_level)
    coarse = None
    if shape.n_coarse:
        coarse = _grid(system, numbers, xyz, shape.n_coarse, functional, SKETCH)
        coarse = coarse._replace(weights=coarse.weights.astype(sketch_dtype or sketch_precision(basis)))
    problem = Problem(
        overlap=one.overlap,
        core=one.kinetic + one.nuclear,
        supermatrix=supermatrix(repulsion, basis.n_orbitals(system.numbers), functional.exact_exchange),
        nuclear_repulsion=nuclear_repulsion(system),
        n_occupied=int(system.numbers.sum()) // 2,
        n_real=basis.n_orbitals(system.numbers),
        guess=superposition_of_atoms(system.numbers, basis, shape.n_orbitals),
        table=table,
        positions=positions,
        grid=grid,
        coarse=coarse,
    )
    atoms = orbital_atoms(system.numbers, basis, shape.n_orbitals)
    return Prepared(problem, one, atoms, system.numbers)


def require_float64() -> None:
    """Raises ``RuntimeError`` where float64 is off."""
    if not jax.config.read("jax_enable_x64"):
        raise RuntimeError("qmgen.dft needs float64: call qmgen.runtime.prepare() before the first array is made")


def nuclear_repulsion(system: System) -> float:
    """sum over a < b of Z_a Z_b / R_ab, in Hartree."""
    z, x = system.numbers.astype(float), system.positions
    i, j = np.triu_indices(len(z), 1)
    return float((z[i] * z[j] / np.linalg.norm(x[i] - x[j], axis=1)).sum())


def _grid(
    system: System, numbers: np.ndarray, positions: Array, n_blocks: int, functional: Functional, level: Level
) -> Quadrature:
    """The quadrature of a level in ``n_blocks`` blocks, points without weight left out."""
    if not functional.pieces:
        return Quadrature(np.zeros((n_blocks, BLOCK, 3)), np.zeros((n_blocks, BLOCK)), 0)
    points, owner, atomic = molecular_grid(system.numbers, system.positions, level)
    adjust = np.zeros((len(numbers), len(numbers)))
    a = len(system.numbers)
    adjust[:a, :a] = size_adjustments(system.numbers)
    chunks = -(-len(points) // _GRID_CHUNK)
    padded = np.zeros((chunks * _GRID_CHUNK, 3))
    owners = np.zeros(chunks * _GRID_CHUNK, dtype=np.int32)
    padded[: len(points)], owners[: len(points)] = points, owner
    fractions = [
        _partition_chunk(padded[c : c + _GRID_CHUNK], owners[c : c + _GRID_CHUNK], positions, adjust, numbers > 0)
        for c in range(0, len(padded), _GRID_CHUNK)
    ]
    weights = np.concatenate([np.asarray(f) for f in fractions])[: len(points)] * atomic
    keep = np.abs(weights) > WEIGHT_THRESHOLD  # Lebedev rules of 74 and 266 points have negative ones
    points, weights = points[keep], weights[keep]
    out_points, out_weights = np.zeros((n_blocks * BLOCK, 3)), np.zeros(n_blocks * BLOCK)
    out_points[: len(points)], out_weights[: len(points)] = points, weights
    used = -(-len(points) // BLOCK)
    return Quadrature(out_points.reshape(-1, BLOCK, 3), out_weights.reshape(-1, BLOCK), used)


@jax.jit
def _partition_chunk(points: Array, owner: Array, positions: Array, adjust: Array, mask: Array) -> Array:
    one_block = partial(partition_weights, positions=positions, adjust=adjust, atom_mask=mask)
    blocks = jax.lax.map(lambda x: one_block(x[0], x[1]), (points.reshape(-1, BLOCK, 3), owner.reshape(-1, BLOCK)))
    return blocks.reshape(-1)
