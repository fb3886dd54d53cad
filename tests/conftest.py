"""What all tests share: float64 and one compilation cache, set by environment so that no test imports JAX in vain."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Before anything imports jax. Workers of pytest-xdist are children of this process and inherit the cache.
os.environ.setdefault("JAX_ENABLE_X64", "1")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(ROOT / ".cache" / "tests-xla"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")


@pytest.fixture
def bare_environment() -> dict[str, str]:
    """The environment of a user's shell for a child process: none of the switches above, no settings of qmgen."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("JAX_", "QMGEN_"))}
    return {**kept, "QMGEN_CACHE": os.environ["JAX_COMPILATION_CACHE_DIR"], "PYTHONPATH": str(ROOT)}
