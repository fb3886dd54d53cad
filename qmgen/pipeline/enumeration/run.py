"""The modes of an enumeration: into a file or a stream, a sample, a table of counts."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from qmgen.config.generate import STDOUT, EnumerateConfig
from qmgen.errors import Interrupted, UsageError
from qmgen.machine import versions
from qmgen.molecules.enumeration.items import MultigraphBatch, Query, batches
from qmgen.molecules.selection import Selection
from qmgen.pipeline.enumeration.count import Counts
from qmgen.pipeline.enumeration.output import Output
from qmgen.pipeline.enumeration.progress import Meter
from qmgen.pipeline.enumeration.sample import Sample, drawn_from, merged
from qmgen.pipeline.enumeration.setup import fingerprint, selection
from qmgen.signals import StopWatch


@dataclass(frozen=True)
class Outcome:
    """What a run found: ``molecules`` written (or drawn), in ``seconds``; ``counts`` where it counted, ``removed`` by
    rule; ``already`` where the file was whole before."""

    out: str
    molecules: int
    seconds: float
    removed: dict[str, int] = field(default_factory=dict)
    pruned: dict[str, int] = field(default_factory=dict)
    counts: Counts | None = None
    already: bool = False
    cut: bool = False


def run(config: EnumerateConfig, meter: Meter, stdout: IO[str] | None = None) -> Outcome:
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
        found = merged(config.merge, config.sample, config.seed)
        known = next(filter(None, map(drawn_from, config.merge)), None)
        about = {"merged": list(config.merge), **({"settings": {**config.of_set(), **known}} if known else {})}
        _write_list(config, found, stdout, about)
        return Outcome(config.out, len(found), time.monotonic() - begin)
    chosen = selection(config)
    with StopWatch(config.time_limit) as watch, meter:
        if config.formula is not None and not any(len(batch) for batch in _unpruned(config)):
            raise UsageError(f"no molecule has the formula {config.formula}: no structure satisfies its valences")
        if config.count:
            return _count(config, chosen, meter, watch, begin)
        if config.sample is not None:
            return _sample(config, chosen, meter, watch, begin, stdout)
        if config.out == STDOUT:
            return _stream(config, chosen, meter, watch, begin, stdout)
        return _file(config, chosen, meter, watch, begin)


def _unpruned(config: EnumerateConfig) -> Iterator[MultigraphBatch]:
    """What there is of a formula, whatever the rules and bounds."""
    assert config.formula is not None
    return batches(Query.of_formula(config.formula))


def _count(config: EnumerateConfig, chosen: Selection, meter: Meter, watch: StopWatch, begin: float) -> Outcome:
    counts = Counts({})
    for one in chosen.counts():
        counts.add(one)
        meter.found(one.molecules)
        _heed(watch, "nothing was written")
    return Outcome("", counts.totals()["molecules"], time.monotonic() - begin, *_removed(chosen), counts=counts)


def _sample(
    config: EnumerateConfig, chosen: Selection, meter: Meter, watch: StopWatch, begin: float, stdout: IO[str]
) -> Outcome:
    assert config.sample is not None
    if config.out != STDOUT:
        output = Output(Path(config.out), fingerprint(config), config.overwrite, config.of_set())
        if (known := output.finished()) is not None:
            return Outcome(config.out, known["molecules"], time.monotonic() - begin, already=True)
        with output:  # before the long pass, not after it, one wants to hear that the file cannot be written
            pass
    drawn, seen = Sample(config.sample, config.seed), 0
    meter.total(chosen)
    for piece in chosen.pieces():
        drawn.add(piece.smiles)
        seen += len(piece.smiles)
        meter.found(len(piece.smiles), piece.place)
        _heed(watch, "a sample takes one whole pass, nothing was written; --part K/N makes it shorter, --merge joins")
    found = drawn.ordered()
    _write_list(config, found, stdout, {"drawn_from": seen})
    return Outcome(config.out, len(found), time.monotonic() - begin, *_removed(chosen))


def _stream(
    config: EnumerateConfig, chosen: Selection, meter: Meter, watch: StopWatch, begin: float, stdout: IO[str]
) -> Outcome:
    written = 0
    meter.total(chosen)
    for piece in chosen.pieces():
        smiles = piece.smiles if config.limit is None else piece.smiles[: config.limit - written]
        stdout.writelines(f"{text}\n" for text in smiles)
        written += len(smiles)
        meter.found(len(smiles), piece.place)
        if written == config.limit:
            break
        _heed(watch, "what was written to standard output is not whole; --out FILE can be gone on with")
    stdout.flush()
    return Outcome(STDOUT, written, time.monotonic() - begin, *_removed(chosen), cut=written == config.limit)


def _file(config: EnumerateConfig, chosen: Selection, meter: Meter, watch: StopWatch, begin: float) -> Outcome:
    output = Output(Path(config.out), fingerprint(config), config.overwrite, config.of_set())
    if (known := output.finished()) is not None:
        return Outcome(config.out, known["molecules"], time.monotonic() - begin, known["removed"], already=True)
    with output:
        before = dict(output.at.removed)
        meter.total(chosen)
        meter.start(output.at.molecules, output.at.place)
        for piece in chosen.pieces(output.at.place):
            left = None if config.limit is None else config.limit - output.at.molecules
            output.write(piece.smiles[:left])
            meter.found(len(piece.smiles[:left]), piece.place)
            if piece.place is not None:
                output.reached(piece.place, _sum(before, _removed(chosen)[0]))
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
        removed = _sum(before, removed)
        seconds = time.monotonic() - begin
        output.finish(
            {"molecules": output.at.molecules, "removed": removed, "settings": config.of_set(), "versions": versions()}
        )
    return Outcome(config.out, output.at.molecules, seconds, removed, pruned, cut=cut)


def _write_list(config: EnumerateConfig, found: list[str], stdout: IO[str], about: dict[str, Any]) -> None:
    if config.out == STDOUT:
        stdout.writelines(f"{text}\n" for text in found)
        stdout.flush()
        return
    with Output(Path(config.out), fingerprint(config), True, config.of_set()) as output:
        output.write(found)
        output.finish({"molecules": len(found), "removed": {}, "settings": config.of_set(), **about})


def _heed(watch: StopWatch, consequence: str) -> None:
    if watch.stopping():
        raise Interrupted(f"stopped by {watch.reason}: {consequence}")


def _removed(chosen: Selection) -> tuple[dict[str, int], dict[str, int]]:
    """Molecules removed by each rule, and branches cut by each kind of pruning."""
    rules = {rule.name: rule.removed for rule in chosen.rules if rule.removed}
    return rules, {name: count for name, count in asdict(chosen.removed).items() if count}


def _sum(one: dict[str, int], other: dict[str, int]) -> dict[str, int]:
    return {name: one.get(name, 0) + other.get(name, 0) for name in sorted({*one, *other})}


def as_json(config: EnumerateConfig, outcome: Outcome) -> dict[str, Any]:
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


def report(config: EnumerateConfig, outcome: Outcome) -> list[str]:
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
