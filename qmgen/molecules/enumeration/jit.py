"""Compilation of the inner loops, kept on disk beside the other compiled programs of qmgen."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba

from qmgen.caches import cache_directory


def _directory() -> Path:
    """Where the compiled loops of exactly these sources are kept.

    Numba looks only at the file of a function, not at the functions it calls in other files: so the name of the
    directory is a hash of all files with compiled functions.
    """
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        text = path.read_bytes()
        if b"@jit" in text:
            digest.update(path.name.encode() + b"\n" + text)
    return cache_directory("numba") / f"numba-{digest.hexdigest()[:16]}"


def _choose_cache() -> None:
    """Points Numba to the directory above; ``NUMBA_CACHE_DIR`` has the first word, a read-only place leaves Numba's own
    choice."""
    if os.environ.get("NUMBA_CACHE_DIR"):
        return
    directory = _directory()
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError:
        return
    if os.access(directory, os.W_OK):
        numba.config.CACHE_DIR = str(directory)


_choose_cache()


def jit(function: Callable[..., Any]) -> Any:
    """``function`` compiled at its first call, from the cache where there is one."""
    try:
        return numba.njit(cache=True)(function)
    except RuntimeError:  # no place that can be written to: compiled anew in each process, slower, not wrong
        return numba.njit(function)
