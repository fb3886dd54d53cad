"""Many molecules of one shape.

    solutions = solve_batch(functional, mapping(), [prepare(s, shape, ...).problem for s in systems], Options())

On an accelerator the batch is one vectorised program (``vmap``). On a CPU the molecules go one by one through one
program (``map``): each stops at its own convergence, its grid stays in the cache, memory does not grow with the batch,
and nothing is copied into a batch (two copies of a supermatrix cost a twentieth of the whole label).
Both give every molecule the same number whatever stands beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from qmgen.dft.functionals import Functional
from qmgen.dft.scf import Options, Problem, Solution, solve


def mapping() -> str:
    """``"map"`` on a CPU, ``"vmap"`` on an accelerator."""
    return "map" if jax.default_backend() == "cpu" else "vmap"


def stack(problems: Sequence[Problem], size: int) -> Problem:
    """One ``Problem`` with a leading axis of ``size``; missing places are dummies without electrons, done at once."""
    filler = [_dummy(problems[0])] * (size - len(problems))
    return jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(x) for x in leaves]), *problems, *filler)


def _dummy(like: Problem) -> Problem:
    return jax.tree.map(lambda x: np.zeros(np.shape(x), np.asarray(x).dtype), like)


def solve_stacked(functional: Functional, problems: Problem, options: Options) -> Solution:
    """Solutions with a leading batch axis, from problems with one."""
    return jax.vmap(lambda problem: solve(functional, problem, options))(problems)


_one, _stacked = jax.jit(solve, static_argnums=0), jax.jit(solve_stacked, static_argnums=0)


def _call(function: Any, functional: Functional, problem: Problem, options: Options) -> Any:
    return function(functional, problem, options)


def solve_batch(
    functional: Functional,
    how: str,
    problems: Sequence[Problem],
    options: Options,
    size: int = 0,
    call: Callable[[Any, Functional, Problem, Options], Solution] = _call,
) -> list[Solution]:
    """One solution for each of ``problems``, which have one shape.

    Args:
        functional: of all of them.
        how: from ``mapping``.
        problems: without batch axis.
        options: thresholds.
        size: places of the batch under ``vmap``, at least ``len(problems)``; 0 for as many.
        call: how a jitted function is called, for those who compile ahead of time.
    """
    if how == "map":
        return [call(_one, functional, problem, options) for problem in problems]
    together = call(_stacked, functional, stack(problems, size or len(problems)), options)
    together = jax.tree.map(np.asarray, together)
    return [jax.tree.map(lambda x, i=i: x[i], together) for i in range(len(problems))]
