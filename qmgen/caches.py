"""Where compiled programs are kept between runs."""

from __future__ import annotations

import os
from pathlib import Path


def cache_directory(kind: str) -> Path:
    """The folder for one kind of compiled program: ``$QMGEN_CACHE``, or of that name in the user's cache directory."""
    if chosen := os.environ.get("QMGEN_CACHE"):
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "qmgen" / kind
