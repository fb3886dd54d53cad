"""Many molecules of one shape at once.

    batch = stack([prepare(s, shape, ...).problem for s in systems], size)
    solutions = solve_batch(functional, mapping(), batch, Options())

On an accelerator the batch is one vectorised program (``vmap``). On a CPU the compiled program takes the molecules in
turn (``map``): each stops at its own convergence, its grid stays in the cache, and memory does not grow with the batch.
Both give every molecule the same number whatever stands beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

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


@partial(jax.jit, static_argnums=(0, 1))
def solve_batch(functional: Functional, how: str, problems: Problem, options: Options) -> Solution:
    """Solutions with a leading batch axis; ``how`` from ``mapping``."""
    one = partial(solve, functional, options=options)
    return jax.vmap(one)(problems) if how == "vmap" else jax.lax.map(one, problems)
