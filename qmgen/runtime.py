"""Switches of the process that a command throws once, before its first array: float64 and the compilation cache.

Never at import: importing ``qmgen`` sets no flag and queries no device.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from qmgen.caches import cache_directory, remove_damaged
from qmgen.errors import UsageError, first_line

#: compilations shorter than this (seconds) are not worth a file, unless the variable says otherwise
SHORTEST_KEPT = 0.1
_SHORTEST: Final = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"
#: directories that this process has looked through for damaged entries
_LOOKED_THROUGH: set[Path] = set()
#: the environment of a process that keeps to one thread; read when its libraries are loaded (NPROC is XLA's)
ONE_THREAD: Final = dict.fromkeys(
    ("NPROC", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1"
)


def labeling_environment(one_thread: bool) -> dict[str, str]:
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


def chosen_cache() -> Path:
    """The directory that ``prepare`` will take: JAX's variable, else ours. Imports nothing."""
    return Path(os.environ.get("JAX_COMPILATION_CACHE_DIR") or default_cache())


def prepare(cache: Path | None = None, double: bool = True) -> Path | None:
    """Switches on float64 and JAX's persistent compilation cache; returns the cache's directory.

    Networks that are trained in float32 leave float64 as it is (``double=False``). Products of float32 matrices are
    exact to float32 unless ``JAX_DEFAULT_MATMUL_PRECISION`` says otherwise.
    A directory chosen before (``JAX_COMPILATION_CACHE_DIR``, or by the calling program) stays unless ``cache`` is set.
    Raises ``UsageError`` where ``JAX_PLATFORMS`` names a device that is not there.
    Without a directory there is no cache (``None``), and one that cannot be written is only read: slower, not wrong
    (``caches.trouble`` says so in a line). Harmless when repeated.
    """
    import jax

    if double:
        jax.config.update("jax_enable_x64", True)
    if "JAX_DEFAULT_MATMUL_PRECISION" not in os.environ:
        # a GPU would round the factors of float32 products to 10 bits; who wants that asks for it
        jax.config.update("jax_default_matmul_precision", "highest")
    _refuse_platform(jax)
    chosen = cache or getattr(jax.config, "jax_compilation_cache_dir", None) or default_cache()
    directory = Path(chosen)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    if not os.access(directory, os.R_OK | os.X_OK):
        return None
    jax.config.update("jax_compilation_cache_dir", str(directory))
    if _SHORTEST not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", SHORTEST_KEPT)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    if directory not in _LOOKED_THROUGH:  # once a process: there may be thousands of entries
        _LOOKED_THROUGH.add(directory)
        remove_damaged(directory)
    # another process may be killed while it writes, or the disk be full: JAX compiles, and the next start removes
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache entry")
    return directory


def _refuse_platform(jax: Any) -> None:
    """Raise ``UsageError`` where ``JAX_PLATFORMS`` asks for a device that is not there."""
    wanted = getattr(jax.config, "jax_platforms", None)
    if not wanted or wanted.split(",")[0] == "cpu":  # else nothing is asked of a device before it is needed
        return
    try:
        jax.devices()
    except Exception as error:  # RuntimeError, AssertionError, and those of the plugins
        said = f" ({first_line(error).partition(' (set JAX_PLATFORMS')[0]})" if str(error).strip() else ""
        raise UsageError(
            f"JAX_PLATFORMS={wanted}: jax finds no such device here{said}: unset it, or set JAX_PLATFORMS=cpu"
        ) from error
