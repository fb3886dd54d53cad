"""What depends on the device: how loops over work are driven, and how much work a step takes.

    current()                       # CPU, or ACCELERATOR where JAX has one
    with using(ACCELERATOR): ...    # its loops on whatever is here; for tests

Every formula of ``qmgen.dft`` stands once. Where a loop over work has two drivers (shell by shell or all rows at once,
say), the driver is chosen by ``Backend.batched``, here alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, TypeVar

import jax
import jax.numpy as jnp
from jax.extend.core import jaxpr_as_fun

T = TypeVar("T")


@dataclass(frozen=True)
class Backend:
    """How work is laid out on a device; hashable, so it can be a static argument.

    On an accelerator a batch is one vectorized program. On a CPU molecules go one by one through programs of fixed
    size: each stops at its own convergence, its grid stays in the cache, memory does not grow with the batch, and
    nothing is copied into a batch (two copies of a supermatrix cost a twentieth of the whole label).

    Attributes:
        name: "cpu" or "accelerator".
        batched: whether a batch is one program.
        batch_size, batch_bytes: places of a batch, and bytes that it may take (large molecules take fewer places).
        supermatrix_blocks: row blocks of its lower triangle; n of them store (n + 1) / 2n of it.
        fine_blocks: blocks of points of the fine grid whose orbitals are in memory at a time. CPU: 8 MB for 64
            orbitals, whose integrals are 35 MB; two to eight take about the same time.
        partition_blocks: blocks of points that the partition takes at once.
        chunk_bytes: bytes of Hermite Gaussians that a chunk of tiles may hold: enough to fill an accelerator, little
            beside its memory.
    """

    name: str
    batched: bool
    batch_size: int
    batch_bytes: int
    supermatrix_blocks: int
    fine_blocks: int = 4
    partition_blocks: int = 8
    chunk_bytes: int = 2**27


CPU: Final = Backend("cpu", batched=False, batch_size=2, batch_bytes=2**31, supermatrix_blocks=8)
ACCELERATOR: Final = Backend("accelerator", batched=True, batch_size=64, batch_bytes=2**35, supermatrix_blocks=1)

_chosen: list[Backend] = []


def current() -> Backend:
    """The backend of this process."""
    return _chosen[-1] if _chosen else CPU if jax.default_backend() == "cpu" else ACCELERATOR


@contextmanager
def using(backend: Backend) -> Iterator[None]:
    """``backend`` for what is traced and run within, on whatever device there is."""
    _chosen.append(backend)
    try:
        yield
    finally:
        _chosen.pop()


def materialize(compute: Callable[[], T], true: jax.Array) -> T:
    """``compute()``, its results written to memory once; ``true`` () holds at run time, which XLA must not know.

    On a CPU XLA fuses elementwise work into each of its consumers: a value with n consumers is evaluated n times over
    (measured: 35 derivatives of one Boys function cost 250 ns each quartet fused, 64 ns behind a fence).
    ``optimization_barrier`` is removed before fusion there; the branch of a conditional is not. Under ``vmap`` the
    conditional becomes a choice between both branches, which fences nothing: an accelerator does without.
    """
    if jax.default_backend() != "cpu":
        return compute()
    # traced once: nested fences would double the tracing at each level, which is most of a start with a filled cache
    traced, shapes = jax.make_jaxpr(compute, return_shape=True)()
    leaves, tree = jax.tree.flatten(shapes)
    call = jaxpr_as_fun(traced)
    written = jax.lax.cond(true, lambda: list(call()), lambda: [jnp.zeros(s.shape, s.dtype) for s in leaves])
    return jax.tree.unflatten(tree, written)
