"""The backend is chosen in one place; the fence changes no number, under any transformation that the kernels meet."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from qmgen.dft.backend import ACCELERATOR, CPU, current, materialize, using


def through(x: jax.Array) -> jax.Array:
    a, b = materialize(lambda: (jnp.sin(x), jnp.exp(-x)), x[0] > -1e30)
    return a * b + b


def plain(x: jax.Array) -> jax.Array:
    return jnp.sin(x) * jnp.exp(-x) + jnp.exp(-x)


X = jnp.linspace(0.1, 2.0, 12, dtype=jnp.float32).reshape(3, 4)


def test_values_under_jit_and_vmap() -> None:
    # the same operations, rounded alike up to a fused multiply-add: a few units of 6e-8
    assert np.allclose(jax.jit(through)(X[0]), plain(X[0]), rtol=0, atol=3e-7)
    assert np.allclose(jax.jit(jax.vmap(through))(X), plain(X), rtol=0, atol=3e-7)


def test_gradient() -> None:
    fenced, direct = (jax.grad(lambda x, f=f: f(x).sum())(X[0]) for f in (through, plain))
    assert np.allclose(fenced, direct, rtol=0, atol=3e-7)


def test_a_backend_is_that_of_the_device_unless_chosen() -> None:
    mine = CPU if jax.default_backend() == "cpu" else ACCELERATOR
    assert current() is mine
    for other in (ACCELERATOR, CPU):
        with using(other):
            assert current() is other
    assert current() is mine
