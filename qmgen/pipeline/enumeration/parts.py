"""A whole enumeration as the source of a run: work unit i of N is its part (i + 1)/N, of each size one after another.

Nothing is enumerated before it is needed, and each process enumerates its own units alone. The number of units is that
of the configuration, or follows from how many molecules are expected (``expected_molecules``).
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Container, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

from qmgen import __version__
from qmgen.config.base import DEFAULT_ELEMENTS
from qmgen.config.enumerate import EnumerateConfig
from qmgen.corpus.plan import Plan, Unit, part_molecule_id, plan, plan_of_parts
from qmgen.errors import Interrupted
from qmgen.molecules.rules.ruleset import load_rules
from qmgen.molecules.types import Failure, Molecule, Reason
from qmgen.pipeline.enumeration.feeder import EnumerationFeed, file_of
from qmgen.pipeline.enumeration.run import selection
from qmgen.pipeline.source import Entry, UnitInput
from qmgen.pipeline.stages import Stages

#: a sample is drawn from a part of about so many molecules
DRAWN_FROM: Final = 100


@dataclass(frozen=True)
class EnumerationParts:
    """The set that ``config`` describes (without part, sample or limit), dealt to ``units`` parts; ``chosen`` says
    that this number was asked for, and does not follow from ``molecules_expected``, a number with the origin
    ``expected_from``."""

    config: EnumerateConfig
    units: int
    chosen: bool
    molecules_expected: int
    expected_from: str
    stages: Stages

    @classmethod
    def of(
        cls,
        config: EnumerateConfig,
        conformers: int,
        units: int | None,
        stages: Stages,
        stopping: Callable[[], bool] = lambda: False,
    ) -> EnumerationParts:
        """The parts of a set, ``units`` of them or as many as make units of the usual size.

        Raises ``UsageError`` for rules or elements that do not exist, ``Interrupted`` when ``stopping()``.
        """
        molecules, origin = expected_molecules(config, stopping)
        count = units or plan(molecules, conformers).count
        return cls(config, count, units is not None, molecules, origin, stages)

    @property
    def identity(self) -> dict[str, Any]:
        """What decides about the molecules, as a hash; the number of units, and what it rests on if it was not asked
        for: a corpus can only be gone on with where that comes out the same."""
        identity = {"enumeration": fingerprint(self.config), "units": self.units}
        if not self.chosen:
            identity |= {"molecules_expected": self.molecules_expected, "expected_from": self.expected_from}
        return identity

    def plan(self, conformers: int, units: int | None, limit: int | None) -> Plan:
        """One part a unit; all that is asked of it was asked of ``of``."""
        return plan_of_parts(self.units)

    def expected(self, unit: Unit) -> int:
        """An even share: parts are so within a few per cent where there are many molecules."""
        total = self.molecules_expected
        return (unit.index + 1) * total // self.units - unit.index * total // self.units

    def works(self, plan: Plan, wanted: Container[int]) -> Generator[UnitInput | None, None, None]:
        """Those units of ``plan`` whose index is ``wanted``, enumerated by another process a block ahead; None while
        that is at it. Raises as ``Feed.blocks`` does."""
        return self._works(plan, wanted, 0.0)

    def _works(self, plan: Plan, wanted: Container[int], patience: float) -> Generator[UnitInput | None, None, None]:
        units = {unit.index: unit for unit in plan if unit.index in wanted}
        with EnumerationFeed(self.config.model_dump(), plan.count, list(units), self.stages, patience) as feed:
            for block in feed.blocks():
                if block is None:
                    yield None
                    continue
                for index, merged in block.items():
                    path = file_of(feed.folder, index)
                    entries = list(_read(path, index))
                    path.unlink()
                    yield UnitInput(units[index], entries, merged)

    def sample(self, plan: Plan, count: int, until: float) -> list[Entry]:
        """Some ``count`` molecules, spread evenly over one small part: it takes one pass over all graphs. None where
        the clock shows ``until`` before."""
        parts = max(self.molecules_expected // DRAWN_FROM, 1)
        while True:
            entries: list[Entry] = []
            with closing(self._works(plan_of_parts(parts), {parts // 2}, 1.0)) as works:
                for work in works:
                    entries += work.entries if work is not None else []
                    if time.monotonic() >= until:
                        break
            if entries or parts == 1 or time.monotonic() >= until:
                step = max(len(entries) // count, 1)
                return entries[: count * step : step]
            parts = max(parts // 4, 1)


def _read(path: Path, unit: int) -> Iterator[Entry]:
    """The entries that the feeder has written."""
    with path.open(encoding="ascii") as stream:
        for line in stream:
            place, smiles, *problem = json.loads(line)
            if problem:
                yield Failure(part_molecule_id(unit, place), -1, "", smiles, Reason(problem[0]), problem[1])
            else:
                yield Molecule(part_molecule_id(unit, place), "", smiles)


def fingerprint(config: EnumerateConfig) -> str:
    """A hash of all that decides which molecules a set has, and in which order: settings, the text of the rules (not
    the name of their file), and the program's version."""
    rules = load_rules(config.rules)
    settings = {**config.of_set(), "heavy_atoms": list(config.sizes()), "rules": rules.prunes_as}
    texts = [(rule.name, rule.stage, rule.smarts, rule.also) for rule in rules]
    text = json.dumps([settings, rules.name, rules.tautomers, rules.elements, texts, __version__], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


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


def expected_molecules(config: EnumerateConfig, stopping: Callable[[], bool] = lambda: False) -> tuple[int, str]:
    """About how many molecules the sizes of ``config`` hold under its rules, at least 1, and in words the origin of
    this number, which is the same on every machine.

    The number of work units rests on it, and with that the names of all files: it follows from the settings alone.
    Where the set is none of those known, small sizes are counted:

        ref(n) = what is known of the rule set over C, N, O and F, and beyond that its growth, gone on with
        q(n)   = c(n) / ref(n), with c counted at 4 and 5 atoms
        c(n)   = ref(n) q(5) (q(5) / q(4))^(n - 5)

    In fractions: rounding differs nowhere.

    Raises ``UsageError`` for rules or elements that do not exist, ``Interrupted`` when ``stopping()``.
    """
    chosen = selection(config)  # refuses what does not exist
    sizes = config.sizes()
    if config.rules in KNOWN and _known_set(config):
        known = KNOWN[config.rules]
        beyond = f", extrapolated from {len(known)} atoms" if sizes[-1] > len(known) else ""
        return sum(_reference(known, size) for size in sizes), f"known numbers of {config.rules}{beyond}"
    counts = [_counted(config, size, stopping) for size in range(1, min(sizes[-1], COUNTED) + 1)]
    numbers = _scaled(counts, KNOWN[chosen.rules.prunes_as], sizes[-1])
    beyond = f", extrapolated by those of {chosen.rules.prunes_as}" if sizes[-1] > COUNTED else ""
    return max(sum(numbers[size - 1] for size in sizes), 1), f"counts up to {len(counts)} atoms{beyond}"


def _known_set(config: EnumerateConfig) -> bool:
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
