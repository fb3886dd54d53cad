"""The modes of an enumeration: into a file or a stream, a sample, a table of counts; and the check of a list."""

from __future__ import annotations

import hashlib
import itertools
import json
import random
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, Final, TextIO

from qmgen import __version__
from qmgen.config.enumerate import STDOUT, EnumerateConfig
from qmgen.errors import Interrupted, UsageError
from qmgen.machine import versions
from qmgen.molecules.enumeration.items import WHOLE, MultigraphBatch, Part, Query, batches, items
from qmgen.molecules.rules.pruning import pruning_of
from qmgen.molecules.rules.ruleset import RuleSet, check_lines, load_rules
from qmgen.molecules.rules.table import Stage
from qmgen.molecules.selection import FormulaCount, ResumePoint, Selection
from qmgen.pipeline.enumeration.output import EnumerationFile, HashSample, drawn_from, merged_samples
from qmgen.progress import ProgressLine
from qmgen.quantities import duration
from qmgen.signals import StopWatch
from qmgen.tables import aligned

#: seconds that may be spent on finding out how many items there are
COUNT_LIMIT: Final = 3.0


class EnumerationProgress(ProgressLine):
    """Molecules, their rate, the share of items of the graphs that is done, and the time left, on standard error."""

    def __init__(self, quiet: bool = False, stream: TextIO | None = None) -> None:
        super().__init__("enumerating", "molecule", quiet=quiet, log=True, stream=stream)
        self._items: list[int] = []
        self._place = self._first_place = 0

    def count_items(self, chosen: Selection) -> None:
        """Find out how many items there are, unless that takes long; without it no time left is told."""
        if self.quiet:
            return
        end, counts = time.monotonic() + COUNT_LIMIT, []
        for query in chosen.queries:
            counts.append(sum(1 for _ in itertools.takewhile(lambda _: time.monotonic() < end, items(query))))
        self._items = counts if time.monotonic() < end else []

    def resume(self, molecules: int, place: ResumePoint) -> None:
        """What an earlier process did."""
        self.begin(self.label, self.unit, None, molecules)
        self._place = self._first_place = self._number(place)

    def found(self, molecules: int, place: ResumePoint | None = None) -> None:
        """So many more molecules; all before ``place`` is done."""
        if place is not None:
            self._place = self._number(place)
            total, done = sum(self._items), self._place - self._first_place
            if total and done:
                left = self.seconds() * (total - self._place) / done
                self.note = f"{100 * self._place / total:.0f}% of the graphs, about {duration(left)} left"
        self.advance(molecules)

    def _number(self, place: ResumePoint) -> int:
        return sum(self._items[: place.query]) + place.item


def selection(config: EnumerateConfig) -> Selection:
    """What ``config`` asks for. Raises ``UsageError`` for rules, elements, a formula or a part that do not exist."""
    rules = load_rules(config.rules)
    part = part_of(config)
    queries = _queries(config, rules)
    # a set that only begins with a shipped one may have rules on graphs that its pruning does not know
    judged = Stage.GRAPH if config.rules == rules.prunes_as else Stage.VALENCE
    return Selection(queries, rules, merges(config, rules), part, judged)


def merges(config: EnumerateConfig, rules: RuleSet) -> bool:
    """Whether one tautomer stands for all: as asked, else as the rule set has it."""
    return (config.tautomers or rules.tautomers) == "merge"


def _queries(config: EnumerateConfig, rules: RuleSet) -> tuple[Query, ...]:
    bounds: dict[str, Any] = {
        "min_hydrogens": config.min_hydrogens,
        "max_hydrogens": config.max_hydrogens,
        "max_bond_order": config.max_bond_order,
        "max_rings": config.max_rings,
        "pruning": pruning_of(rules),
    }
    if config.formula is not None:
        queries = [Query.of_formula(config.formula, **bounds)]
    else:
        queries = [Query(size, tuple(config.elements), **bounds) for size in config.sizes()]
    wanted = set(queries[0].elements)
    if missing := sorted(wanted - set(rules.elements)):
        raise UsageError(f"the rules {rules.name} know no {missing[0]}: choose among {','.join(rules.elements)}")
    return tuple(queries)


def part_of(config: EnumerateConfig) -> Part:
    """The share that ``--part`` or ``--sample-parts`` asks for; the latter is drawn at random by ``--seed``."""
    if config.part is not None:
        return Part.parse(config.part)
    if config.sample_parts is None:
        return WHOLE
    try:
        asked = Part.parse(config.sample_parts)
    except UsageError:
        raise UsageError(
            f"{config.sample_parts!r} says not how many parts to draw: give K/N, for example 3/1000 for three of a "
            "thousand"
        ) from None
    (wanted,) = asked.numbers
    return Part(tuple(sorted(random.Random(config.seed).sample(range(1, asked.of + 1), wanted))), asked.of)


def set_fingerprint(config: EnumerateConfig) -> str:
    """A hash of all that decides what is written: settings, the text of the rules, and the program's version."""
    rules = [(rule.name, rule.stage, rule.smarts) for rule in load_rules(config.rules)]
    text = json.dumps([config.of_set(), rules, __version__], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class EnumerationResult:
    """What a run found: ``molecules`` written (or drawn), in ``seconds``; ``counts`` where it counted, ``removed`` by
    rule; ``already`` where the file was whole before."""

    out: str
    molecules: int
    seconds: float
    removed: dict[str, int] = field(default_factory=dict)
    pruned: dict[str, int] = field(default_factory=dict)
    counts: MoleculeCounts | None = None
    already: bool = False
    cut: bool = False


def run(config: EnumerateConfig, progress: EnumerationProgress, stdout: IO[str] | None = None) -> EnumerationResult:
    """Do what ``config`` asks for; molecules on standard output go to ``stdout``.

    Raises ``UsageError`` before any work where something cannot be; ``Interrupted`` after a signal or the time limit:
    the same command then goes on where a file was being written.
    """
    stdout = sys.stdout if stdout is None else stdout
    begin = time.monotonic()
    if config.merge:
        assert config.sample is not None
        if config.out != STDOUT and Path(config.out).exists() and not config.overwrite:
            raise UsageError(f"{config.out} exists: choose another --out, or --overwrite")
        found = merged_samples(config.merge, config.sample, config.seed)
        known = next(filter(None, map(drawn_from, config.merge)), None)
        about = {"merged": list(config.merge), **({"settings": {**config.of_set(), **known}} if known else {})}
        _write_list(config, found, stdout, about)
        return EnumerationResult(config.out, len(found), time.monotonic() - begin)
    chosen = selection(config)
    with StopWatch(config.time_limit) as watch, progress:
        if config.formula is not None and not any(len(batch) for batch in _unpruned(config)):
            raise UsageError(f"no molecule has the formula {config.formula}: no structure satisfies its valences")
        if config.count:
            return _run_count(config, chosen, progress, watch, begin)
        output = None if config.out == STDOUT else _output(config, config.overwrite)
        if output is not None and (known := output.finished()) is not None:
            seconds = time.monotonic() - begin
            return EnumerationResult(config.out, known["molecules"], seconds, known["removed"], already=True)
        if config.sample is not None:
            return _run_sample(config, chosen, progress, watch, begin, output, stdout)
        if output is None:
            return _run_stream(config, chosen, progress, watch, begin, stdout)
        return _run_file(config, chosen, progress, watch, begin, output)


def _unpruned(config: EnumerateConfig) -> Iterator[MultigraphBatch]:
    """What there is of a formula, whatever the rules and bounds."""
    assert config.formula is not None
    return batches(Query.of_formula(config.formula))


def _run_count(
    config: EnumerateConfig, chosen: Selection, progress: EnumerationProgress, watch: StopWatch, begin: float
) -> EnumerationResult:
    counts = MoleculeCounts({})
    for one in chosen.counts():
        counts.add(one)
        progress.found(one.molecules)
        _heed(watch, "nothing was written")
    return EnumerationResult(
        "", counts.totals()["molecules"], time.monotonic() - begin, *_removed(chosen), counts=counts
    )


def _run_sample(
    config: EnumerateConfig,
    chosen: Selection,
    progress: EnumerationProgress,
    watch: StopWatch,
    begin: float,
    output: EnumerationFile | None,
    stdout: IO[str],
) -> EnumerationResult:
    assert config.sample is not None
    with output or nullcontext():  # a file that cannot be written is refused before the long pass, not after it
        pass
    drawn, seen = HashSample(config.sample, config.seed), 0
    progress.count_items(chosen)
    for piece in chosen.pieces():
        drawn.add(piece.smiles)
        seen += len(piece.smiles)
        progress.found(len(piece.smiles), piece.place)
        _heed(watch, "a sample takes one whole pass, nothing was written; --part K/N makes it shorter, --merge joins")
    found = drawn.ordered()
    _write_list(config, found, stdout, {"drawn_from": seen})
    return EnumerationResult(config.out, len(found), time.monotonic() - begin, *_removed(chosen))


def _run_stream(
    config: EnumerateConfig,
    chosen: Selection,
    progress: EnumerationProgress,
    watch: StopWatch,
    begin: float,
    stdout: IO[str],
) -> EnumerationResult:
    written = 0
    progress.count_items(chosen)
    for piece in chosen.pieces():
        smiles = piece.smiles if config.limit is None else piece.smiles[: config.limit - written]
        stdout.writelines(f"{text}\n" for text in smiles)
        written += len(smiles)
        progress.found(len(smiles), piece.place)
        if written == config.limit:
            break
        _heed(watch, "what was written to standard output is not whole; --out FILE can be gone on with")
    stdout.flush()
    return EnumerationResult(STDOUT, written, time.monotonic() - begin, *_removed(chosen), cut=written == config.limit)


def _run_file(
    config: EnumerateConfig,
    chosen: Selection,
    progress: EnumerationProgress,
    watch: StopWatch,
    begin: float,
    output: EnumerationFile,
) -> EnumerationResult:
    with output:
        before = dict(output.at.removed)
        progress.count_items(chosen)
        progress.resume(output.at.molecules, output.at.place)
        for piece in chosen.pieces(output.at.place):
            left = None if config.limit is None else config.limit - output.at.molecules
            output.write(piece.smiles[:left])
            progress.found(len(piece.smiles[:left]), piece.place)
            if piece.place is not None:
                output.reached(piece.place, _added(before, _removed(chosen)[0]))
            if output.at.molecules == config.limit:
                break
            if watch.stopping():
                output.note()
                raise Interrupted(
                    f"stopped by {watch.reason}; {output.at.molecules} molecules are safe in {output.partial}; "
                    "the same command continues"
                )
        cut = output.at.molecules == config.limit
        removed, pruned = _removed(chosen)
        removed = _added(before, removed)
        seconds = time.monotonic() - begin
        output.finish(
            {"molecules": output.at.molecules, "removed": removed, "settings": config.of_set(), "versions": versions()}
        )
    return EnumerationResult(config.out, output.at.molecules, seconds, removed, pruned, cut=cut)


def _output(config: EnumerateConfig, overwrite: bool) -> EnumerationFile:
    return EnumerationFile(Path(config.out), set_fingerprint(config), overwrite, config.of_set())


def _write_list(config: EnumerateConfig, found: list[str], stdout: IO[str], about: dict[str, Any]) -> None:
    if config.out == STDOUT:
        stdout.writelines(f"{text}\n" for text in found)
        stdout.flush()
        return
    with _output(config, overwrite=True) as output:
        output.write(found)
        output.finish({"molecules": len(found), "removed": {}, "settings": config.of_set(), **about})


def _heed(watch: StopWatch, consequence: str) -> None:
    if watch.stopping():
        raise Interrupted(f"stopped by {watch.reason}: {consequence}")


def _removed(chosen: Selection) -> tuple[dict[str, int], dict[str, int]]:
    """Molecules removed by each rule, and branches cut by each kind of pruning."""
    rules = {rule.name: rule.removed for rule in chosen.rules if rule.removed}
    return rules, {name: count for name, count in asdict(chosen.removed).items() if count}


def _added(one: dict[str, int], other: dict[str, int]) -> dict[str, int]:
    return {name: one.get(name, 0) + other.get(name, 0) for name in sorted({*one, *other})}


def as_json(config: EnumerateConfig, outcome: EnumerationResult) -> dict[str, Any]:
    """What was done, as plain values."""
    found: dict[str, Any] = {
        "settings": config.of_set(),
        "molecules": outcome.molecules,
        "seconds": round(outcome.seconds, 3),
        "removed_by_rule": outcome.removed,
        "branches_pruned": outcome.pruned,
        "versions": versions(),
    }
    if outcome.counts is None:
        return {**found, "out": outcome.out, "already_complete": outcome.already, "cut_by_limit": outcome.cut}
    counts = outcome.counts
    return {**found, **counts.totals(), "by_heavy_atoms": counts.sizes(), "by_formula": counts.rows()}


def report(config: EnumerateConfig, outcome: EnumerationResult) -> list[str]:
    """What to tell the person at the end, a line each."""
    if outcome.already:
        return [f"{outcome.out} is complete already: {outcome.molecules} molecules"]
    rate = outcome.molecules / outcome.seconds if outcome.seconds else 0.0
    where = "" if outcome.out in ("", STDOUT) else f" in {outcome.out}"
    lines = [f"{outcome.molecules} molecules{where} in {outcome.seconds:.1f} s, {rate:.0f}/s; rules: {config.rules}"]
    if outcome.cut:
        lines[0] += "; cut by --limit"
    if outcome.removed:
        most = sorted(outcome.removed.items(), key=lambda item: (-item[1], item[0]))
        lines.append("removed by rule: " + ", ".join(f"{name} {number}" for name, number in most))
    return lines


@dataclass
class MoleculeCounts:
    """Multigraphs and molecules by (heavy atoms, formula)."""

    by_formula: dict[tuple[int, str], list[int]]

    def add(self, one: FormulaCount) -> None:
        total = self.by_formula.setdefault((one.heavy_atoms, one.formula), [0, 0])
        total[0] += one.multigraphs
        total[1] += one.molecules

    def rows(self) -> list[dict[str, Any]]:
        """One a formula, by heavy atoms, then by the formula's text."""
        return [
            {"heavy_atoms": size, "formula": formula, "multigraphs": multigraphs, "molecules": molecules}
            for (size, formula), (multigraphs, molecules) in sorted(self.by_formula.items())
        ]

    def sizes(self) -> list[dict[str, Any]]:
        """One a number of heavy atoms."""
        found: dict[int, list[int]] = {}
        for (size, _), counts in sorted(self.by_formula.items()):
            total = found.setdefault(size, [0, 0])
            total[0] += counts[0]
            total[1] += counts[1]
        return [{"heavy_atoms": size, "multigraphs": a, "molecules": b} for size, (a, b) in found.items()]

    def totals(self) -> dict[str, int]:
        return {
            name: sum(counts[k] for counts in self.by_formula.values())
            for k, name in enumerate(("multigraphs", "molecules"))
        }


def counts_table(counts: MoleculeCounts) -> str:
    """The table as text: every formula, a line for each number of heavy atoms, and the sum."""
    lines = [("heavy atoms", "formula", "multigraphs", "molecules")]
    for size in counts.sizes():
        number = size["heavy_atoms"]
        lines += [
            (str(number), row["formula"], str(row["multigraphs"]), str(row["molecules"]))
            for row in counts.rows()
            if row["heavy_atoms"] == number
        ]
        lines.append((str(number), "all", str(size["multigraphs"]), str(size["molecules"])))
    total = counts.totals()
    if len(counts.sizes()) != 1:
        lines.append(("all", "all", str(total["multigraphs"]), str(total["molecules"])))
    return aligned(lines, left=(1,))


def check_file(file: str, rules: str, tautomers: str) -> Iterator[tuple[str, str]]:
    """SMILES and verdict of each line of ``file`` (``-``: standard input). Raises ``UsageError`` if it cannot be
    read."""
    chosen = load_rules(rules)
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror or error}; give a file of SMILES") from error
    except UnicodeDecodeError:
        raise UsageError(f"cannot read {file}: it is not UTF-8 text") from None
    yield from check_lines(text.splitlines(), chosen, tautomers)
