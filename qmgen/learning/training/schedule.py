"""Learning rates over a training: a warm-up, then down by a cosine or by QM1B's steps.

warm-up   rate(t) = peak · (0.2 + 0.8 t / warmup)          t < warmup
cosine    rate(t) = peak · (1 + cos(π (t − warmup) / (steps − warmup))) / 2
qm1b      rate(t) = peak · 0.96^⌊t / 9600⌋                 (arXiv 2311.01135, its authors' notebooks)
constant  rate(t) = peak
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import jax.numpy as jnp

#: of the peak, at the first step of the warm-up
FIRST: Final = 0.2
DECAY: Final = 0.96
DECAY_STEPS: Final = 9600
SCHEDULES: Final = ("cosine", "qm1b", "constant")

Schedule = Callable[[Any], Any]


def schedule_of(kind: str, peak: float, warmup: int, steps: int) -> Schedule:
    """The learning rate as a function of the number of steps done, float32; for inside jit and outside alike."""
    if kind not in SCHEDULES:
        raise ValueError(f"no schedule is called {kind!r}")

    def rate(step: Any) -> Any:
        t = jnp.asarray(step, jnp.float32)
        if kind == "cosine":
            share = jnp.clip((t - warmup) / max(steps - warmup, 1), 0.0, 1.0)
            later = 0.5 * (1.0 + jnp.cos(jnp.float32(jnp.pi) * share))
        elif kind == "qm1b":
            later = jnp.float32(DECAY) ** jnp.floor(t / DECAY_STEPS)
        else:
            later = jnp.ones_like(t)
        begin = FIRST + (1.0 - FIRST) * t / max(warmup, 1)
        return (jnp.float32(peak) * jnp.where(t < warmup, begin, later)).astype(jnp.float32)

    return rate
