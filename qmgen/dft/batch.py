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

from qmgen.dft.backend import Backend, current
from qmgen.dft.functionals import Functional
from qmgen.dft.integrals.shells import ShellPairClass
from qmgen.dft.prepare import BatchLists, Prepared, prepare_batch, require_float64
from qmgen.dft.scf import Problem, ScfOptions, Solution, solve


def stack(problems: Sequence[Problem]) -> Problem:
    """One ``Problem`` with a leading axis."""
    return jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(x) for x in leaves]), *problems)


def unstack(tree: Any, count: int) -> list[Any]:
    """The first ``count`` of a leading axis, in host memory."""
    tree = jax.tree.map(np.asarray, tree)
    return [jax.tree.map(lambda x, i=i: x[i], tree) for i in range(count)]


def solve_many(functional: Functional, problems: Problem, options: ScfOptions, backend: Backend) -> Solution:
    """``scf.solve`` of every molecule, with a leading axis; a cycle is made for all until the last is done."""
    return jax.vmap(lambda problem: solve(functional, problem, options, backend))(problems)


#: of one molecule, and of many; functional and backend are static
SOLVE_ONE, SOLVE_MANY = jax.jit(solve, static_argnums=(0, 3)), jax.jit(solve_many, static_argnums=(0, 3))
_PREPARE = jax.jit(prepare_batch, static_argnums=(0, 1, 2, 4))


def prepare_lists(
    functional: Functional,
    classes: tuple[ShellPairClass, ...],
    lists: BatchLists,
    coarse_dtype: type[np.floating],
) -> Prepared:
    """Integrals and grids of a batch, in one program; ``classes`` are the pair classes of the basis set.

    It stands apart from ``SOLVE_MANY``: the lengths of the lists differ a little from batch to batch, and what depends
    on them is compiled anew for each rung of their ladder; the SCF depends on the shape alone.

    Raises:
        RuntimeError: float64 is off.
    """
    require_float64()
    return _PREPARE(current(), functional, classes, lists, np.dtype(coarse_dtype).name)


def _call(function: Any, functional: Functional, problem: Problem, options: ScfOptions, backend: Backend) -> Any:
    return function(functional, problem, options, backend)


def solve_batch(
    functional: Functional,
    problems: Sequence[Problem],
    options: ScfOptions,
    call: Callable[[Any, Functional, Problem, ScfOptions, Backend], Solution] = _call,
) -> list[Solution]:
    """One solution for each of ``problems``, which have one shape and no batch axis.

    ``call`` is how a jitted function is called, for those who compile ahead of time.
    """
    backend = current()
    if not backend.batched:
        return [call(SOLVE_ONE, functional, problem, options, backend) for problem in problems]
    return unstack(call(SOLVE_MANY, functional, stack(problems), options, backend), len(problems))
