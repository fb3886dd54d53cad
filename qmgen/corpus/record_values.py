"""Values out of the record of a run, which is read as far as it makes sense: it is a help, not the corpus."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def units_of(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The finished units that a record names."""
    return [unit for unit in list_of(record.get("units")) if isinstance(unit, dict)]


def list_of(value: Any) -> list[Any]:
    """A list; an empty one for anything else."""
    return value if isinstance(value, list) else []


def number_of(value: Any) -> float:
    """A number that is not negative; 0 for anything else."""
    plain = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return max(float(value), 0.0) if plain else 0.0


def whole_of(value: Any) -> int:
    """A count; 0 for anything else."""
    return int(number_of(value))
