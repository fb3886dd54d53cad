"""Values of charges, multiplicities and moments: text, numbers or lists, as numbers."""

from __future__ import annotations

import math
import re
from typing import Any, Final

import numpy as np

from qmgen.molecules.charge_words import MULTIPLICITIES

_NUMBER: Final = re.compile(r"[+-]?(?:\d{1,6}\.?\d{0,20}|\.\d{1,20})(?:[eE][+-]?\d{1,2})?", re.ASCII)
_SIGN_LAST: Final = re.compile(r"(\d{1,2})([+-])", re.ASCII)


def numbers_of(value: Any) -> list[float] | None:
    """A value as numbers: one, or a list of them, in text too; None if it is anything else."""
    if isinstance(value, str):
        fields = re.split(r"[\s,;]+", value.strip("()[]{}\"',; \t"))
        return [float(f) for f in fields] if all(_NUMBER.fullmatch(f) for f in fields) else None
    if isinstance(value, np.ndarray):
        value = value.tolist()
    items = value if isinstance(value, list | tuple) else [value]
    flat = [item for part in items for item in (part if isinstance(part, list | tuple) else [part])]
    if not all(isinstance(item, int | float | np.number) and not isinstance(item, bool) for item in flat):
        return None
    try:
        numbers = [float(item) for item in flat]
    except OverflowError:
        return None
    return numbers if all(map(math.isfinite, numbers)) else None


def whole_of(value: Any) -> int | None:
    """A value as one whole number: 1, "+1", "1.0", "2-", [1], "neutral", "triplet"; None if it is anything else."""
    if isinstance(value, str):
        text = value.strip("()[]{}\"',; \t")
        if found := _SIGN_LAST.fullmatch(text):
            return int(found[2] + found[1])
        if text.lower() == "neutral":
            return 0
        if text.lower() in MULTIPLICITIES:
            return MULTIPLICITIES.index(text.lower()) + 1
    numbers = numbers_of(value)
    if numbers is None or len(numbers) != 1 or abs(numbers[0]) > 1e4 or numbers[0] != round(numbers[0]):
        return None
    return round(numbers[0])
