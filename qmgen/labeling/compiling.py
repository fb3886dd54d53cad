"""One compilation per shape, also among processes that share the persistent cache."""

from __future__ import annotations

import fcntl
import gc
import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import jax

_COMPILED: dict[Any, Callable[..., Any]] = {}
_SEEN: set[Any] = set()
#: seconds that another process is waited for: it may have been stopped (a job that was suspended) with the lock in hand
_PATIENCE: Final = 300.0
_LOOK_EVERY: Final = 0.05
#: the part of a process's memory maps that compiled programs may take: each shape takes about a thousand, and beyond
#: the limit the process dies in the next compilation
_SHARE: Final = 0.5


def compiled(key: Any, make: Callable[[], Callable[..., Any]]) -> Callable[..., Any]:
    """What ``make()`` compiles, called once per process and ``key``.

    Processes wait for one another on a lock beside the cache, so that all but the first load what it compiled. The wait
    has a bound: after it a process compiles the program itself.
    """
    if key not in _COMPILED:
        leave_room(_SHARE)
        with _lock(repr(key)):
            _COMPILED[key] = make()
    return _COMPILED[key]


def leave_room(share: float) -> None:
    """Let all compiled programs of this process go where they take more than ``share`` of its memory maps; they are
    read again from the cache when they are needed. Nothing where the system has no such limit."""
    try:
        maps = Path("/proc/self/maps").read_bytes().count(b"\n")
        granted = int(Path("/proc/sys/vm/max_map_count").read_text())
    except (OSError, ValueError):
        return
    if maps > share * granted:
        _COMPILED.clear()
        jax.clear_caches()
        gc.collect()


@contextmanager
def first_time(key: Any) -> Iterator[None]:
    """Hold the lock for ``key`` the first time this process does something that compiles; afterwards nothing."""
    if key in _SEEN:
        yield
        return
    with _lock(repr(key)):
        yield
    _SEEN.add(key)


@contextmanager
def _lock(name: str) -> Iterator[None]:
    directory = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    if not directory:
        yield
        return
    path = Path(directory) / "locks" / hashlib.sha256(name.encode()).hexdigest()[:24]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = path.open("w")
    except OSError:  # a cache that can only be read: compile without waiting
        yield
        return
    with handle:
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(_LOOK_EVERY)
                continue
            except OSError:  # a file system without locks: the same
                pass
            break
        yield


def check_arithmetic() -> None:
    """Compare compiled elementary functions with numpy's, once per process.

    Raises:
        RuntimeError: they differ. Seen with ``XLA_FLAGS=--xla_cpu_prefer_vector_width=512``: arctan, and with it
            every VWN functional, is wrong by percents in jaxlib 0.10.2.
    """
    import jax.numpy as jnp
    import numpy as np

    if not jax.config.jax_enable_x64:  # type: ignore[attr-defined]
        raise RuntimeError("labels need float64: call qmgen.runtime.prepare() before the first array is made")
    if "arithmetic" in _SEEN:
        return
    x = np.linspace(0.01, 5.0, 1021)
    for name in ("arctan", "log", "exp", "sqrt", "cbrt"):
        ours, reference = np.asarray(jax.jit(getattr(jnp, name))(x)), getattr(np, name)(x)
        if not np.allclose(ours, reference, rtol=1e-14, atol=0):  # a few units in the last place
            raise RuntimeError(f"this build of XLA computes {name} wrongly; unset XLA_FLAGS, or use another jaxlib")
    _SEEN.add("arithmetic")
