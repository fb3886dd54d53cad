"""Many molecules of one shape.

    solutions = solve_batch(functional, [prepare(s, shape, ...).problem for s in systems], ScfOptions())

On an accelerator the batch is one vectorized program; on a CPU the molecules go one by one through one program
(``Backend``). Both give every molecule the same number whatever stands beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from qmgen.dft.backend import current
from qmgen.dft.functionals import Functional
from qmgen.dft.prepare import BatchLists, Prepared, prepare_batch, require_float64
from qmgen.dft.scf import Problem, ScfOptions, Solution, solve


def stack(problems: Sequence[Problem], size: int) -> Problem:
    """One ``Problem`` with a leading axis of ``size``; missing places are dummies without electrons, done at once."""
    dummy = jax.tree.map(lambda x: np.zeros(np.shape(x), np.asarray(x).dtype), problems[0])
    every = [*problems, *[dummy] * (size - len(problems))]
    return jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(x) for x in leaves]), *every)


def unstack(tree: Any, count: int) -> list[Any]:
    """The first ``count`` of a leading axis, in host memory."""
    tree = jax.tree.map(np.asarray, tree)
    return [jax.tree.map(lambda x, i=i: x[i], tree) for i in range(count)]


def solve_many(functional: Functional, problems: Problem, options: ScfOptions) -> Solution:
    """``scf.solve`` of every molecule, with a leading axis; a cycle is made for all until the last is done."""
    return jax.vmap(lambda problem: solve(functional, problem, options))(problems)


#: of one molecule, and of many
SOLVE_ONE, SOLVE_MANY = jax.jit(solve, static_argnums=0), jax.jit(solve_many, static_argnums=0)
_PREPARE = jax.jit(prepare_batch, static_argnums=(0, 2))


def prepare_lists(functional: Functional, lists: BatchLists, coarse_dtype: type[np.floating]) -> Prepared:
    """Integrals and grids of a batch, in one program.

    It stands apart from ``SOLVE_MANY``: the lengths of the lists differ a little from batch to batch, and what depends
    on them is compiled anew for each rung of their ladder; the SCF depends on the shape alone.

    Raises:
        RuntimeError: float64 is off.
    """
    require_float64()
    return _PREPARE(functional, lists, np.dtype(coarse_dtype).name)


def _call(function: Any, functional: Functional, problem: Problem, options: ScfOptions) -> Any:
    return function(functional, problem, options)


def solve_batch(
    functional: Functional,
    problems: Sequence[Problem],
    options: ScfOptions,
    size: int = 0,
    call: Callable[[Any, Functional, Problem, ScfOptions], Solution] = _call,
) -> list[Solution]:
    """One solution for each of ``problems``, which have one shape.

    Args:
        functional: of all of them.
        problems: without batch axis.
        options: thresholds.
        size: places of a batch on an accelerator, at least ``len(problems)``; 0 for as many.
        call: how a jitted function is called, for those who compile ahead of time.
    """
    if not current().batched:
        return [call(SOLVE_ONE, functional, problem, options) for problem in problems]
    return unstack(call(SOLVE_MANY, functional, stack(problems, size or len(problems)), options), len(problems))
