"""``qmgen status``: how far a corpus is, and who is at it."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qmgen.cli.talk import plain, print_json, say
from qmgen.quantities import duration

if TYPE_CHECKING:
    from qmgen.corpus.status import Status

#: to the upper left corner, and nothing below
_REDRAW = "\x1b[H\x1b[J"


def status(
    directory: Annotated[
        str, typer.Argument(metavar="DIR", help="Directory of the corpus, or s3://bucket/prefix.", show_default=False)
    ],
    watch: Annotated[bool, typer.Option("--watch", help="Look again and again, until all is done or Ctrl-C.")] = False,
    every: Annotated[float | None, typer.Option(help="Seconds between two looks of --watch. [default: 5.0]")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="JSON on standard output; with --watch, a line of it for each look.")
    ] = False,
) -> int:
    """Say what is done, running, missing and failed, how fast, and for how much longer.

    Nothing is written, and shards are not read: `qmgen verify` does that.
    """
    from qmgen.config import resolve
    from qmgen.config.corpus import StatusConfig

    settings = resolve(StatusConfig, None, {"directory": directory, "every": every})

    from qmgen.corpus.status import status as look

    while True:
        found = look(settings.directory)
        if as_json and watch:
            print(json.dumps(plain(_as_json(found)), allow_nan=False), flush=True)
        elif as_json:
            print_json(_as_json(found))
        elif watch and not sys.stderr.isatty():
            say(line(found))
        else:
            say((_REDRAW if watch else "") + text(found))
        if not watch or found.complete:
            return 0
        time.sleep(settings.every)


def text(found: Status) -> str:
    """A few lines, and one for each rank."""
    lines = [found.directory]
    lines.append(
        f"  work units  {found.units_done} of {found.units} done"
        + (f", {found.units_running} with live runs" if found.units_running else "")
        + (f", {found.units_missing} missing" if found.units_missing else "")
    )
    hand = f", {found.rows_in_hand} more in hand" if found.rows_in_hand else ""
    lines.append(f"  rows        {found.rows}{hand}")
    reasons = ", ".join(f"{reason} {count}" for reason, count in found.failures_by_reason.items())
    lines.append(f"  failures    {found.failures}" + (f" ({reasons})" if reasons else ""))
    if found.rows_per_second is not None:
        lines.append(f"  now         {found.rows_per_second:.2f} rows/s; {_left(found.eta_seconds)}")
    if found.rows_per_second_per_process is not None:
        lines.append(f"  overall     {found.rows_per_second_per_process:.2f} rows/s for each process")
    if found.deaths or found.repaired:
        lines.append(f"  mishaps     {found.deaths} deaths of workers, {found.repaired} damages mended")
    if found.unreadable:
        lines.append(f"  unreadable  {found.unreadable[0]} and {len(found.unreadable) - 1} more; see qmgen verify")
    for rank in found.ranks:
        who = f"{rank.host or '?'}, process {rank.pid or '?'}"
        of = f"/{rank.world_size}" if rank.world_size else ""
        heard = f", heard {duration(rank.age)} ago" if rank.age is not None else ""
        note = f" ({rank.note})" if rank.note else ""
        lines.append(
            f"  rank {rank.rank}{of}  {rank.state}: {rank.units_done} of {rank.units_to_do} units, {rank.rows} rows in "
            f"{duration(rank.seconds)}; {who}{heard}{note}"
        )
    if found.complete:
        lines.append("complete")
    return "\n".join(lines)


def line(found: Status) -> str:
    """All of it in one line, for a log."""
    rate = "" if found.rows_per_second is None else f"; {found.rows_per_second:.2f} rows/s, {_left(found.eta_seconds)}"
    return (
        f"qmgen: {found.units_done} of {found.units} units, {found.rows + found.rows_in_hand} rows, "
        f"{found.failures + found.failures_in_hand} failures{rate}" + ("; complete" if found.complete else "")
    )


def _as_json(found: Status) -> dict[str, Any]:
    whole: dict[str, Any] = plain(found)
    for rank in whole["ranks"]:
        rank.pop("record")  # it stands in runs/
    return whole


def _left(seconds: float | None) -> str:
    return "time left not known yet" if seconds is None else f"{duration(seconds)} left"
