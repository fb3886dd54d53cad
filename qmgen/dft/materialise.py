"""A fence that XLA does not fuse across.

On a CPU XLA fuses elementwise work into each of its consumers: a value with n consumers is evaluated n times over
(measured: 35 derivatives of one Boys function cost 250 ns each quartet fused, 64 ns behind a fence).
``optimization_barrier`` is removed before fusion there; the branch of a conditional is not. Under ``vmap`` the
conditional becomes a choice between both branches, which fences nothing: an accelerator does without.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
from jax.extend.core import jaxpr_as_fun

T = TypeVar("T")


def materialise(compute: Callable[[], T], true: jax.Array) -> T:
    """``compute()``, its results written to memory once; ``true`` () holds at run time, which XLA must not know."""
    if jax.default_backend() != "cpu":
        return compute()
    # traced once: nested fences would double the tracing at each level, which is most of a start with a filled cache
    traced, shapes = jax.make_jaxpr(compute, return_shape=True)()
    leaves, tree = jax.tree.flatten(shapes)
    call = jaxpr_as_fun(traced)
    found = jax.lax.cond(true, lambda: list(call()), lambda: [jnp.zeros(s.shape, s.dtype) for s in leaves])
    return jax.tree.unflatten(tree, found)
