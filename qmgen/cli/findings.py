"""How ``verify`` and ``merge`` show what they do and what they found."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from qmgen.cli.talk import say
from qmgen.quantities import size

if TYPE_CHECKING:
    from qmgen.corpus.verify import Inspected

#: findings and missing units that are shown; --json has them all
SHOWN = 40


@contextmanager
def bytes_bar(what: str) -> Iterator[dict[str, Callable[[int], None]]]:
    """``begin`` and ``advance`` of a bar with rate and time left, where standard error is a terminal."""
    from tqdm import tqdm

    quiet = not sys.stderr.isatty()
    with tqdm(desc=what, unit="B", unit_scale=True, disable=quiet, leave=False, dynamic_ncols=True) as bar:

        def begin(total: int) -> None:
            bar.reset(total)

        def advance(read: int) -> None:
            bar.update(read)

        yield {"begin": begin, "advance": advance}


def say_inspected(found: Inspected) -> None:
    """A short table, then a line per finding."""
    report = found.as_json()
    counts = report["counts"]
    say(f"{report['directory']}")
    say(f"  work units  {report['units_done']} of {report['units']} done")
    say(f"  rows        {counts['rows']} of {counts['molecules']} molecules; {counts['failures']} failures")
    say(f"  read        {report['files']} files, {size(report['bytes'])}")
    if report["missing"]:
        say(f"  missing     {_some(report['missing'], found.lacking)}")
    order = {"damage": 0, "stale": 1, "note": 2}
    findings = sorted(found.findings, key=lambda finding: order[finding.severity])
    for finding in findings[:SHOWN]:
        say(f"  {finding.text()}")
    if len(findings) > SHOWN:
        say(f"  and {len(findings) - SHOWN} more; --json lists all")


def verdict(found: Inspected) -> str:
    """The last line: ``sound and complete``, or what else."""
    damaged = len(found.damaged)
    if damaged:
        return f"damaged: {damaged} finding(s) concern rows"
    state = "complete" if found.complete else f"unfinished ({found.lacking} work units to do)"
    return f"sound, {state}" if found.sound else f"the rows are sound, {state}; what describes them is not"


def _some(names: list[Any], count: int) -> str:
    return ", ".join(names[:8]) + (f" and {count - 8} more" if count > 8 else "")
