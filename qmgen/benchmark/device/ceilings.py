"""What the device can do at best: products of matrices, and copying its memory. Floors are stated by these."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import Any

import jax
import jax.numpy as jnp

from qmgen.benchmark.device.task import Entry, Task

REPEATS = 5


def measure(task: Task) -> None:
    """Entries ``float64``, ``float32`` and ``float32_default`` (``gflops``), and ``copy`` (``gb_s``).

    ``float32`` is at full precision; what a GPU takes by default may be TF32 with its 11 bits.
    """
    for name, dtype, precision in (
        ("float64", "float64", "highest"),
        ("float32", "float32", "highest"),
        ("float32_default", "float32", "default"),
    ):
        task.entry(name, partial(matmul, task.accelerator, task.toy, dtype, precision))
    task.entry("copy", partial(copy, task.accelerator, task.toy))


def best_seconds(work: Callable[[], Any], repeats: int = REPEATS) -> float:
    """Wall seconds of the fastest of ``repeats`` calls, after one that compiles."""
    jax.block_until_ready(work())
    times = []
    for _ in range(repeats):
        begin = perf_counter()
        jax.block_until_ready(work())
        times.append(perf_counter() - begin)
    return min(times)


def matmul(accelerator: bool, toy: bool, dtype: str, precision: str) -> Entry:
    """GFLOP/s of a product of two square matrices, large enough that starting it costs nothing."""
    n = 256 if toy else 8192 if accelerator else 1024
    a = jnp.ones((n, n), dtype)
    product = jax.jit(lambda x: jnp.matmul(x, x, precision=precision))
    return {"gflops": 2 * n**3 / best_seconds(lambda: product(a)) / 1e9, "n": n, "precision": precision}


def copy(accelerator: bool, toy: bool) -> Entry:
    """GB/s of reading a vector and writing another: both are counted."""
    n = 2**18 if toy else 2**28 if accelerator else 2**25
    vector = jnp.ones(n, "float64")
    scaled = jax.jit(lambda v: 1.5 * v)
    return {"gb_s": 2 * vector.nbytes / best_seconds(lambda: scaled(vector)) / 1e9, "bytes": vector.nbytes}
