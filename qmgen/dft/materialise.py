"""A fence that XLA does not fuse across.

On a CPU XLA fuses elementwise work into each of its consumers: a value with n consumers is evaluated n times over
(measured: 35 derivatives of one Boys function cost 250 ns each quartet fused, 64 ns behind a fence).
``optimization_barrier`` is removed before fusion there; the branch of a conditional is not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp

T = TypeVar("T")


def materialise(compute: Callable[[], T], true: jax.Array) -> T:
    """``compute()``, its results written to memory once; ``true`` () holds at run time, which XLA must not know."""
    shapes = jax.eval_shape(compute)
    return jax.lax.cond(true, compute, lambda: jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes))
