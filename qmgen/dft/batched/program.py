"""From the lists of a batch to its solutions, in two compiled programs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from qmgen.dft.batched.exchange_correlation import dense_semilocal
from qmgen.dft.batched.grid import quadratures
from qmgen.dft.batched.lists import Lists
from qmgen.dft.batched.one_electron import one_electron_batch
from qmgen.dft.batched.repulsion import pair_data_of, repulsion_batch, supermatrices
from qmgen.dft.exchange_correlation import Quadrature
from qmgen.dft.functionals import Functional
from qmgen.dft.integrals.one_electron import OneElectron
from qmgen.dft.prepare import require_float64
from qmgen.dft.scf import Options, Problem, Solution, solve


class Result(NamedTuple):
    """Solutions and one-electron integrals with a leading axis."""

    solution: Solution
    one_electron: OneElectron


def solve_systems(
    functional: Functional,
    lists: Lists,
    options: Options,
    sketch_dtype: str,
    begin: Callable[[Problem], Any] | None = None,
) -> Result:
    """Integrals, grids and self-consistent field of a batch.

    Two programs: the lengths of the lists differ a little from batch to batch, and what depends on them is compiled
    anew for each rung of their ladder; the field depends on the shape alone. ``sketch_dtype`` names the precision of
    the cycles on the sketch (``prepare.sketch_precision``). Between the two, ``begin`` makes of the
    ``Problem`` of the batch the densities (B, n, n) to start from; else they are those of the lists.

    Raises:
        RuntimeError: float64 is off.
    """
    require_float64()
    one, problems = _prepare(functional, lists, sketch_dtype)
    if begin is not None:
        problems = problems._replace(guess=jnp.asarray(begin(problems), problems.guess.dtype))
    return Result(_field(functional, problems, options), one)


def prepare_batch(functional: Functional, lists: Lists, sketch_dtype: str) -> tuple[OneElectron, Problem]:
    """The ``Problem`` of each molecule, with a leading axis, whose ``table`` is ``OrbitalRows``."""
    one, repulsion = integrals_batch(lists)
    grid, coarse = grids_batch(functional, lists, sketch_dtype)
    return one, Problem(
        overlap=one.overlap,
        core=one.kinetic + one.nuclear,
        supermatrix=supermatrices(repulsion, jnp.asarray(lists.place), functional.exact_exchange),
        nuclear_repulsion=jnp.asarray(lists.nuclear_repulsion),
        n_occupied=jnp.asarray(lists.n_occupied),
        n_real=jnp.asarray(lists.n_real),
        guess=jnp.asarray(lists.guess),
        table=jax.tree.map(jnp.asarray, lists.orbitals),  # type: ignore[arg-type]
        positions=jnp.asarray(lists.positions),
        grid=grid,
        coarse=coarse,
    )


def integrals_batch(lists: Lists) -> tuple[OneElectron, Array]:
    """One-electron matrices, and the two-electron integrals (B, N, N)."""
    xyz, place = jnp.asarray(lists.positions), jnp.asarray(lists.place)
    data = pair_data_of(lists.pairs, xyz)
    return one_electron_batch(lists.pairs, data, lists.numbers, xyz, place), repulsion_batch(data, lists.patches)


def grids_batch(functional: Functional, lists: Lists, sketch_dtype: str) -> tuple[Quadrature, Quadrature | None]:
    """The asked grid and its sketch; None where the functional needs none."""
    xyz, numbers, adjust = (jnp.asarray(x) for x in (lists.positions, lists.numbers, lists.adjust))
    grid = quadratures(lists.grid, numbers, xyz, adjust)
    if lists.coarse.point.shape[1] == 0 or not functional.pieces:
        return grid, None
    coarse = quadratures(lists.coarse, numbers, xyz, adjust)
    return grid, coarse._replace(weights=coarse.weights.astype(sketch_dtype))


def field_batch(functional: Functional, problems: Problem, options: Options) -> Solution:
    """``scf.solve`` of every molecule; a cycle is made for all until the last is done."""
    return jax.vmap(lambda problem: solve(functional, problem, options, dense_semilocal))(problems)


_prepare = jax.jit(prepare_batch, static_argnums=(0, 2))
_field = jax.jit(field_batch, static_argnums=0)
