"""The valence model: how many bonds each element makes, without charges. The one table; formulas are read here too."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from qmgen.errors import UsageError

#: bonds of a neutral atom with an octet; the order is that of element codes, and of the output
VALENCES: Final[Mapping[str, int]] = {"C": 4, "N": 3, "O": 2, "F": 1}
#: a nitro group -N(=O)=O, drawn [N+](=O)[O-]: one bond, as if it were an element; only rule sets may ask for it
NITRO: Final = "NO2"
#: no atom has more bonds, counted with their orders
HIGHEST_VALENCE: Final = 4


def check_elements(symbols: Iterable[str]) -> tuple[str, ...]:
    """The symbols, each once, in the order of the table. Raises ``UsageError`` for one without a valence rule."""
    wanted = list(symbols)
    for symbol in wanted:
        if symbol not in VALENCES:
            known = ", ".join(VALENCES)
            hint = "; hydrogens are filled in by themselves" if symbol == "H" else ""
            raise UsageError(f"no valence rule for element {symbol!r}: choose among {known}{hint}")
    if not wanted:
        raise UsageError(f"no elements to build molecules from: choose among {', '.join(VALENCES)}")
    return tuple(symbol for symbol in VALENCES if symbol in wanted)


def valence_of(symbol: str) -> int:
    """Bonds of an element, or of the nitro group."""
    return 1 if symbol == NITRO else VALENCES[symbol]


def parse_formula(text: str) -> dict[str, int]:
    """Atoms of each element in a formula such as ``C7H10O2``, hydrogens under "H".

    Raises ``UsageError`` for text that is no formula, and for an element without a valence rule.
    """
    pieces = re.findall(r"([A-Z][a-z]?)([0-9]*)", text)
    if not pieces or "".join(symbol + number for symbol, number in pieces) != text:
        raise UsageError(f"{text!r} is not a formula: write element symbols and counts, such as C7H10O2")
    counts: dict[str, int] = {}
    for symbol, number in pieces:
        counts[symbol] = counts.get(symbol, 0) + (int(number) if number else 1)
    check_elements(symbol for symbol in counts if symbol != "H" or len(counts) == 1)
    return counts


def unsaturations(counts: Mapping[str, int]) -> int:
    """Rings plus extra bonds of a formula: (Σ valence·atoms - H)/2 - heavy atoms + 1.

    Raises ``UsageError`` where the formula can belong to no molecule: an odd number of free valences, too many atoms of
    valence one, or an atom whose bonds the others cannot take up.
    """
    formula = "".join(f"{symbol}{number if number > 1 else ''}" for symbol, number in counts.items() if number)
    heavy = sum(number for symbol, number in counts.items() if symbol != "H")
    hydrogens = counts.get("H", 0)
    bonds = sum(VALENCES[symbol] * number for symbol, number in counts.items() if symbol != "H")
    if heavy == 0:
        raise UsageError(f"{formula or 'an empty formula'} has no atom but hydrogen: give at least one other")
    if (bonds - hydrogens) % 2:
        raise UsageError(f"{formula} cannot exist: it has an odd number of valence electrons; change H by one")
    found = (bonds - hydrogens) // 2 - heavy + 1
    most = bonds - 2 * heavy + 2
    if found < 0:
        raise UsageError(f"{formula} cannot exist: at most {max(most, 0)} hydrogens fit on these atoms")
    highest = max(VALENCES[symbol] for symbol, number in counts.items() if number and symbol != "H")
    if 2 * highest > bonds + hydrogens:
        raise UsageError(f"{formula} cannot exist: the other atoms cannot take up the {highest} bonds of one of them")
    return found
