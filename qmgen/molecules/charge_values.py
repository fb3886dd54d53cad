"""Values of charges, multiplicities and moments: text, numbers or lists, as numbers."""

from __future__ import annotations

import math
import re
from typing import Any, Final

import numpy as np

from qmgen.molecules.charge_words import MULTIPLICITIES

#: <S^2> is that of a pure spin state within this
_PURE: Final = 0.05
#: the largest total spin and multiplicity that a key of one letter states; larger ones are something else
_LARGEST_SPIN: Final = 5
_LARGEST_MULTIPLICITY: Final = 9
#: elements beyond this atomic number are computed without their core, so that programs count fewer electrons
_ALL_ELECTRONS: Final = 36
#: electrons in the core of an element, up to the atomic number
_CORES: Final = ((2, 0), (10, 2), (18, 10), (30, 18), (36, 28))
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


def multiplicity_of_short(kind: str, number: float) -> int | None:
    """The multiplicity that a number states under a key of one or two letters: M, S or S2; None where it cannot."""
    if kind == "short multiplicity":
        return round(number) if number in range(1, _LARGEST_MULTIPLICITY + 1) else None
    if kind == "spin quantum number":
        return round(2 * number) + 1 if 0 <= number <= _LARGEST_SPIN and (2 * number) % 1 == 0 else None
    pure = [m for m in range(1, 2 * _LARGEST_SPIN + 2) if abs(number - (m * m - 1) / 4) <= _PURE]
    return pure[0] if pure else None


def may_be_electrons(stated: int, numbers: np.ndarray, charge: int, valence: bool) -> bool:
    """Whether a source may count ``stated`` electrons for atomic numbers (atoms,) and a net charge.

    With ``valence`` these may be the valence electrons. Of heavy elements programs leave out various cores, so that any
    number may be right.
    """
    if int(numbers.max(initial=0)) > _ALL_ELECTRONS:
        return True
    count = int(numbers.sum()) - charge
    cores = sum(next(core for last, core in _CORES if number <= last) for number in numbers.tolist())
    return stated == count or (valence and stated == count - cores)
