"""Values out of files that anybody may have written: with their types and bounds, or not taken at all.

The record of a run is read as far as it makes sense: it is a help, not the corpus.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeGuard

#: larger than any count of molecules, rows, bytes or seconds; twice it still fits into 64 bits
LARGEST: Final = 2**62


def units_of(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The finished units that a record names."""
    return [unit for unit in list_of(record.get("units")) if isinstance(unit, dict)]


def list_of(value: Any) -> list[Any]:
    """A list; an empty one for anything else."""
    return value if isinstance(value, list) else []


def number_of(value: Any) -> float:
    """A number that is not negative; 0 for anything else."""
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if plain and 0 <= value < LARGEST else 0.0


def is_count(value: Any, least: int = 0, most: int = LARGEST) -> TypeGuard[int]:
    """Whether it is an integer within these bounds."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def whole_of(value: Any) -> int:
    """A count; 0 for anything else."""
    return int(number_of(value))
