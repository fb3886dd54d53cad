"""How many molecules an enumeration will give, before anything is enumerated: about, but the same on every machine.

The number of work units rests on it, and with that the names of all files: so it follows from the settings alone.

    ref(n) = what is known of the rule set over C, N, O and F, and beyond that its growth, gone on with
    q(n)   = c(n) / ref(n), with c counted at 4 and 5 atoms
    c(n)   = ref(n) q(5) (q(5) / q(4))^(n - 5)

In fractions: rounding differs nowhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from qmgen.config.generate import DEFAULT_ELEMENTS, EnumerateConfig
from qmgen.errors import Interrupted
from qmgen.pipeline.enumeration.setup import selection

#: molecules of 1, 2, 3 … heavy atoms over C, N, O, F. gdb11: docs/rules.md, from 10 on as published, T. Fink and
#: J.-L. Reymond, J. Chem. Inf. Model. 47, 342 (2007); none: `qmgen enumerate --heavy-atoms N --rules none --count`
KNOWN: Final = {
    "gdb11": (4, 9, 20, 80, 351, 1837, 10_618, 67_124, 453_567, 3_114_041, 22_796_628),
    "none": (4, 19, 94, 621, 4715, 42_068),
}
#: what the numbers of another set are measured by: this takes about two seconds
COUNTED: Final = 5
#: from one size to the next the growth grows by so much of what it grew before
DAMPING: Final = Fraction(3, 4)


@dataclass(frozen=True)
class Expected:
    """``molecules`` in all, at least 1, and in words what the number comes ``of``."""

    molecules: int
    of: str


def expected(config: EnumerateConfig, stopping: Callable[[], bool] = lambda: False) -> Expected:
    """What the sizes of ``config`` hold under its rules. Counts small sizes where the set is none of those known.

    Raises ``UsageError`` for rules or elements that do not exist, ``Interrupted`` when ``stopping()``.
    """
    chosen = selection(config)  # refuses what does not exist
    sizes = config.sizes()
    if config.rules in KNOWN and _plain(config):
        known = KNOWN[config.rules]
        beyond = f", extrapolated from {len(known)} atoms" if sizes[-1] > len(known) else ""
        return Expected(sum(_reference(known, size) for size in sizes), f"known numbers of {config.rules}{beyond}")
    counts = [_counted(config, size, stopping) for size in range(1, min(sizes[-1], COUNTED) + 1)]
    numbers = _scaled(counts, KNOWN[chosen.rules.prunes_as], sizes[-1])
    beyond = f", extrapolated by those of {chosen.rules.prunes_as}" if sizes[-1] > COUNTED else ""
    return Expected(max(sum(numbers[size - 1] for size in sizes), 1), f"counts up to {len(counts)} atoms{beyond}")


def _plain(config: EnumerateConfig) -> bool:
    """Whether nothing but the rules and the sizes decides about the molecules."""
    usual = EnumerateConfig(heavy_atoms="1")
    given = config.model_copy(update={"heavy_atoms": "1", "rules": usual.rules, "seed": 0})
    return given.of_set() == usual.of_set() and set(config.elements) == set(DEFAULT_ELEMENTS)


def _counted(config: EnumerateConfig, size: int, stopping: Callable[[], bool]) -> int:
    total = 0
    for one in selection(config.model_copy(update={"heavy_atoms": str(size)})).counts():
        total += one.molecules
        if stopping():
            raise Interrupted("stopped before the enumeration began; the same command begins again")
    return total


def _reference(known: Sequence[int], size: int) -> int:
    """A known number, or one beyond them."""
    if size <= len(known):
        return known[size - 1]
    a, b, c = known[-3:]
    number, ratio, growth = Fraction(c), Fraction(c, b), Fraction(c, b) - Fraction(b, a)
    for _ in range(size - len(known)):
        growth *= DAMPING
        ratio += growth
        number *= ratio
    return int(number)


def _scaled(counts: Sequence[int], known: Sequence[int], largest: int) -> list[int]:
    """The numbers of 1 to ``largest`` atoms from ``counts`` of the first."""
    found = list(counts)
    if len(found) == largest:
        return found
    before, share = (Fraction(found[k], known[k]) for k in (COUNTED - 2, COUNTED - 1))
    step = share / before if before else Fraction(1)
    for size in range(COUNTED + 1, largest + 1):
        share *= step
        found.append(int(_reference(known, size) * share))
    return found
