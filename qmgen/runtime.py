"""Switches of the process that a command throws once, before its first array: float64 and the compilation cache.

Never at import: importing ``qmgen`` sets no flag and queries no device.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from qmgen.caches import cache_directory

#: compilations shorter than this (seconds) are not worth a file
SHORTEST_KEPT = 0.1
#: the environment of a process that keeps to one thread; read when its libraries are loaded (NPROC is XLA's)
ONE_THREAD: Final = dict.fromkeys(
    ("NPROC", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1"
)


def labelling_environment(one_thread: bool) -> dict[str, str]:
    """The environment of a process that labels: its threads, and huge pages for its large arrays.

    Matrices of tens of megabytes come and go with each molecule; in pages of 4 kB the kernel's share of the time was a
    third (docs/performance.md). glibc reads this when the process starts; elsewhere nobody does.
    """
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    if "glibc.malloc.hugetlb" not in tunables:
        tunables = ":".join(filter(None, (tunables, "glibc.malloc.hugetlb=1")))
    return {**(ONE_THREAD if one_thread else {}), "GLIBC_TUNABLES": tunables}


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """``values`` in the environment, for processes started inside; what was there before is there again after."""
    saved = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in saved.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def default_cache() -> Path:
    """Where compiled programs are kept: ``$QMGEN_CACHE``, or the user's cache directory."""
    return cache_directory("xla")


def prepare(cache: Path | None = None) -> Path | None:
    """Switches on float64 and JAX's persistent compilation cache; returns the cache's directory.

    A directory chosen before (``JAX_COMPILATION_CACHE_DIR``, or by the calling program) stays unless ``cache`` is set.
    A directory that cannot be written means no cache (``None``): slower, not wrong. Harmless when repeated.
    """
    import jax

    jax.config.update("jax_enable_x64", True)
    chosen = cache or getattr(jax.config, "jax_compilation_cache_dir", None) or default_cache()
    directory = Path(chosen)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    if not os.access(directory, os.W_OK):
        return None
    jax.config.update("jax_compilation_cache_dir", str(directory))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", SHORTEST_KEPT)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    return directory
