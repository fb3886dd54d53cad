"""What a worker is doing, as the name of its process: ``top`` and ``ps`` show it, and the crash test aims by it.

The stages: ``start``, ``idle``, ``embed`` (labelling waits for geometries), ``label``, ``write``, ``commit``.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Final

PREFIX: Final = "qmgen:"
#: the kernel keeps no more of a name
_LONGEST: Final = 15


def show(stage: str) -> None:
    """Give this process the name ``qmgen:<stage>``; nothing happens on systems that have no such names."""
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_text((PREFIX + stage)[:_LONGEST], encoding="ascii")


def shown(pid: int) -> str | None:
    """The stage that process ``pid`` shows, or showed before it died; None if it shows none, or is gone for good."""
    try:
        name = Path("/proc", str(pid), "comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None
    return name.removeprefix(PREFIX) if name.startswith(PREFIX) else None
