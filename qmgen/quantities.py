"""Times and sizes as a person reads them: ``32 s``, ``45 kB``."""

from __future__ import annotations

import math
from typing import Final

#: a unit is used from twice its size on, so that what is shown has at least two digits or is exact
_TIMES: Final = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"))
_SIZES: Final = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def duration(seconds: float | None) -> str:
    """``seconds`` in the unit that fits: ``0.32 s``, ``32 s``, ``12 min``, ``5 h``, ``3 d``; ``?`` where unknown."""
    if seconds is None or not math.isfinite(seconds):
        return "?"
    for size, name in _TIMES:
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {name}"
    if seconds <= 0:
        return "0 s"
    return f"{seconds:.0f} s" if seconds >= 9.95 else f"{seconds:.2g} s"


def size(count: float | None) -> str:
    """``count`` bytes in the unit that fits (powers of 1000): ``512 B``, ``45 kB``, ``1.2 GB``; ``?`` where unknown."""
    if count is None or not math.isfinite(count):
        return "?"
    for unit, name in _SIZES:
        if count >= 0.9995 * unit:
            value = count / unit
            return f"{value:.0f} {name}" if value >= 99.95 else f"{value:.3g} {name}"
    return f"{count:.0f} B"
