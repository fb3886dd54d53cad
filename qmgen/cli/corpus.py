"""``qmgen validate``, ``qmgen status``, ``qmgen verify``, ``qmgen merge``: commands that look at a corpus."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qmgen.cli.console import plain, print_json, say
from qmgen.cli.options import AsJson
from qmgen.progress import ProgressLine
from qmgen.quantities import duration, size

if TYPE_CHECKING:
    from qmgen.config import InspectConfig, StatusConfig, ValidateConfig
    from qmgen.corpus.status import Status
    from qmgen.corpus.verify import VerificationReport

#: the exit code of a check that failed
FAILED = 1
#: to the upper left corner, and nothing below
_REDRAW = "\x1b[H\x1b[J"
#: issues and missing units that are shown; --json has them all
SHOWN = 40


def validate(settings: ValidateConfig, as_json: AsJson = False) -> int:
    """Recompute a random sample of a corpus with PySCF and compare.

    PySCF uses the same functional, basis set and grid. The exit code is 1 if a difference exceeds its tolerance.
    """
    from qmgen.report import parity
    from qmgen.validation import Tolerances
    from qmgen.validation import validate as run

    report = run(
        settings.directory,
        sample=settings.sample,
        seed=settings.seed,
        tolerances=Tolerances(settings.tol_energy, settings.tol_orbital, settings.tol_dipole),
        out=settings.out,
        jobs=settings.workers,
    )
    place = settings.out or (Path() if "://" in str(settings.directory) else Path(settings.directory))
    figure = parity.draw(report, place.with_suffix(".png") if place.suffix == ".json" else place / parity.FILE_NAME)
    if as_json:
        print_json(report.to_dict())
    else:
        say(report.table())
        say(f"figure in {figure}, numbers beside it")
    return 0 if report.passed else FAILED


def status(
    settings: StatusConfig,
    watch: Annotated[bool, typer.Option("--watch", help="Report repeatedly, until all is done or Ctrl-C.")] = False,
    as_json: AsJson = False,
) -> int:
    """Show how much of a corpus is done, running, missing and failed, the speed, and the time left.

    Nothing is written. The shards are not read; `qmgen verify` reads them.
    """
    from qmgen.corpus.status import status as look

    while True:
        state = look(settings.directory)
        if as_json and watch:
            print(json.dumps(plain(_as_json(state)), allow_nan=False), flush=True)
        elif as_json:
            print_json(_as_json(state))
        elif watch and not sys.stderr.isatty():
            say(_status_line(state))
        else:
            say((_REDRAW if watch else "") + _status_text(state))
        if not watch or state.complete:
            return 0
        time.sleep(settings.every)


def verify(settings: InspectConfig, as_json: AsJson = False) -> int:
    """Check every file of a corpus: checksums, columns, numbers of rows, duplicate keys, invalid numbers.

    Nothing is written. The exit code is 1 if anything is wrong; a corpus that is intact but unfinished gives 0.
    """
    from qmgen.corpus.verify import inspect

    with _bytes_bar("verifying") as told:
        verified = inspect(settings.directory, threads=settings.workers, **told)
    if as_json:
        print_json(verified.as_json())
    else:
        _say_inspected(verified)
        say(_verdict(verified))
    return 0 if verified.sound else FAILED


def merge(settings: InspectConfig, as_json: AsJson = False) -> int:
    """Verify the shards of all ranks and write manifest.json, SHA256SUMS and README.md for them.

    If rows are damaged, nothing is written and the exit code is 1. If work units are missing, the files describe what
    is there, and the exit code is 1 too.
    """
    from qmgen.corpus.merge import merge as run

    with _bytes_bar("verifying") as told:
        merged = run(settings.directory, threads=settings.workers, **told)
    verified = merged.inspected
    if as_json:
        print_json({**verified.as_json(), "manifest": merged.manifest, "doubtful": list(merged.doubtful)})
    else:
        _say_inspected(verified)
        if merged.manifest is not None:
            if merged.doubtful:
                say(f"qmgen: {' and '.join(merged.doubtful)} stand as in manifest.json, which was changed: look there")
            say(f"manifest.json, SHA256SUMS and README.md written; {merged.state}")
        elif verified.damaged:
            say(f"{_verdict(verified)}: nothing was written")
        else:
            say("no work unit is finished yet: nothing was written")
    return 0 if merged.manifest is not None and verified.complete else FAILED


@contextmanager
def _bytes_bar(what: str) -> Iterator[dict[str, Callable[[int], None]]]:
    """``begin`` and ``advance`` of a progress line, where standard error is a terminal."""
    with ProgressLine(what, "B") as line:
        yield {"begin": lambda total: line.begin(what, "B", total), "advance": line.advance}


def _say_inspected(verified: VerificationReport) -> None:
    """A short table, then a line for each issue."""
    report = verified.as_json()
    counts = report["counts"]
    say(f"{report['directory']}")
    say(f"  work units  {report['units_done']} of {report['units']} done")
    say(f"  rows        {counts['rows']} of {counts['molecules']} molecules; {counts['failures']} failures")
    say(f"  read        {report['files']} files, {size(report['bytes'])}")
    if report["missing"]:
        say(f"  missing     {_some(report['missing'], verified.lacking)}")
    order = {"damage": 0, "stale": 1, "note": 2}
    issues = sorted(verified.issues, key=lambda issue: order[issue.severity])
    for issue in issues[:SHOWN]:
        say(f"  {issue.text()}")
    if len(issues) > SHOWN:
        say(f"  and {len(issues) - SHOWN} more; --json lists all")


def _verdict(verified: VerificationReport) -> str:
    """The last line: ``sound and complete``, or what else."""
    damaged = len(verified.damaged)
    if damaged:
        return f"damaged: {damaged} finding(s) concern rows"
    state = "complete" if verified.complete else f"unfinished ({verified.lacking} work units to do)"
    return f"sound, {state}" if verified.sound else f"the rows are sound, {state}; what describes them is not"


def _some(names: list[Any], count: int) -> str:
    return ", ".join(names[:8]) + (f" and {count - 8} more" if count > 8 else "")


def _status_text(state: Status) -> str:
    """A few lines, and one for each rank."""
    lines = [state.directory]
    lines.append(
        f"  work units  {state.units_done} of {state.units} done"
        + (f", {state.units_running} with live runs" if state.units_running else "")
        + (f", {state.units_missing} missing" if state.units_missing else "")
    )
    hand = f", {state.rows_in_hand} more in hand" if state.rows_in_hand else ""
    lines.append(f"  rows        {state.rows}{hand}")
    reasons = ", ".join(f"{reason} {count}" for reason, count in state.failures_by_reason.items())
    lines.append(f"  failures    {state.failures}" + (f" ({reasons})" if reasons else ""))
    if state.rows_per_second is not None:
        lines.append(f"  now         {state.rows_per_second:.2f} rows/s; {_left(state.eta_seconds)}")
    if state.rows_per_second_per_process is not None:
        lines.append(f"  overall     {state.rows_per_second_per_process:.2f} rows/s for each process")
    if state.deaths or state.repaired:
        lines.append(f"  mishaps     {state.deaths} deaths of workers, {state.repaired} damages mended")
    if state.unreadable:
        lines.append(f"  unreadable  {state.unreadable[0]} and {len(state.unreadable) - 1} more; see qmgen verify")
    for rank in state.ranks:
        who = f"{rank.host or '?'}, process {rank.pid or '?'}"
        of = f"/{rank.world_size}" if rank.world_size else ""
        heard = f", heard {duration(rank.age)} ago" if rank.age is not None else ""
        note = f" ({rank.note})" if rank.note else ""
        lines.append(
            f"  rank {rank.rank}{of}  {rank.state}: {rank.units_done} of {rank.units_to_do} units, {rank.rows} rows in "
            f"{duration(rank.seconds)}; {who}{heard}{note}"
        )
    if state.complete:
        lines.append("complete")
    return "\n".join(lines)


def _status_line(state: Status) -> str:
    """All of it in one line, for a log."""
    rate = "" if state.rows_per_second is None else f"; {state.rows_per_second:.2f} rows/s, {_left(state.eta_seconds)}"
    return (
        f"qmgen: {state.units_done} of {state.units} units, {state.rows + state.rows_in_hand} rows, "
        f"{state.failures + state.failures_in_hand} failures{rate}" + ("; complete" if state.complete else "")
    )


def _as_json(state: Status) -> dict[str, Any]:
    whole: dict[str, Any] = plain(state)
    for rank in whole["ranks"]:
        rank.pop("record")  # it stands in runs/
    return whole


def _left(seconds: float | None) -> str:
    return "time left not known yet" if seconds is None else f"{duration(seconds)} left"
