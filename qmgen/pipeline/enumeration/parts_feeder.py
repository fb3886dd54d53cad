"""The process that enumerates for a run: blocks of work units, each block in one pass over all graphs.

Started by ``parts_feed`` as ``python -c "from qmgen.pipeline.enumeration.parts_feeder import main; main(...)"``. One
pass costs the same however few of its parts are wanted, so a block takes several; but the first label should not wait
for many, so the first block is one unit, and each is at most twice the one before.

A unit's entries go into a file of the folder of the run, a line of JSON each: place in the part and SMILES, then reason
and detail of what cannot be labelled. That file is whole when the parent hears of it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from qmgen.molecules.selection import Selection
    from qmgen.pipeline.stages import Stages

#: units in a block, and molecules in one, at most: they are held in memory
MOST_UNITS: Final = 64
MOST_MOLECULES: Final = 500_000
#: what the pass over all graphs may cost, beside what the molecules of the block cost
SHARE: Final = 0.1
#: it gives way to the processes that label, which are the reason for its work
NICENESS: Final = 5


@dataclass(frozen=True)
class Order:
    """Parent, once: enumerate the set with these ``settings`` (of an ``EnumerateConfig``), dealt to ``of`` parts, into
    ``folder``; unit i is part i + 1. Each ``Next`` is answered with a ``Block`` or ``Refused``."""

    settings: dict[str, Any]
    of: int
    folder: str
    stages: Stages


@dataclass(frozen=True)
class Next:
    """Parent: make the next block, as many of the first of ``units`` as are worth it."""

    units: tuple[int, ...]


@dataclass(frozen=True)
class Block:
    """Feeder: these units are there, with so many duplicates merged in each."""

    merged: dict[int, int]


@dataclass(frozen=True)
class Refused:
    """Feeder: an exception, and with it the end. ``message`` of an error meant for the user, else ``traceback``."""

    exit_code: int | None
    message: str
    traceback: str


def file_of(folder: Path, unit: int) -> Path:
    """Where the entries of a unit are."""
    return folder / f"{unit}.jsonl"


def main(handle: int, parent: int, folder: str) -> None:
    """Serve the process ``parent`` at the other end of the socket ``handle``, until it closes it or dies; then
    ``folder`` is cleared away.
    """
    os.set_inheritable(handle, False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears them
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.nice(NICENESS)
    connection = Connection(handle)
    try:
        threading.Thread(target=_leave_with, args=(parent, folder), daemon=True).start()
        order: Order = connection.recv()
        _serve(connection, order)
    except (BrokenPipeError, EOFError, ConnectionResetError):
        shutil.rmtree(folder, ignore_errors=True)  # nobody wants it
        os._exit(1)


def _serve(connection: Connection, order: Order) -> None:
    from qmgen.errors import QmgenError, one_line

    try:
        for block in blocks(order, connection.recv):
            connection.send(block)
    except QmgenError as error:
        connection.send(Refused(error.exit_code, "\n".join(error.lines), ""))
    except (BrokenPipeError, EOFError, ConnectionResetError):
        raise
    except OSError as error:
        room = f"cannot write to {order.folder}: {error.strerror or error}; make room, or set TMPDIR to another place"
        connection.send(Refused(1, one_line(room), ""))
    except Exception as error:
        connection.send(Refused(None, f"{type(error).__name__}: {error}", traceback.format_exc()))


def blocks(order: Order, asked: Callable[[], Next]) -> Iterator[Block]:
    """The blocks of an order, one after another, out of what is ``asked`` for before each; none after no units."""
    size, whole = 1, _whole(order)
    while now := list(asked().units[:size]):
        begin = time.perf_counter()
        found, judging = one_pass(whole, order.of, now)
        written = time.perf_counter()
        merged = {unit: _write(order, unit, smiles) for unit, smiles in found.items()}
        end = time.perf_counter()
        yield Block(merged)
        molecules = sum(map(len, found.values()))
        each = (judging + end - written) / len(now)
        size = next_size(len(now), molecules, written - begin - judging, each)


def next_size(units: int, molecules: int, fixed: float, each: float) -> int:
    """How many units the next block gets, after one of ``units`` with ``molecules`` that took ``fixed`` seconds for
    the pass and ``each`` for every unit."""
    enough = fixed / SHARE / each if each else float("inf")  # from here on the pass is a small part of the whole
    room = MOST_MOLECULES * units // max(molecules, 1)
    return max(1, min(2 * units, MOST_UNITS, room, int(min(enough, MOST_UNITS)) + 1))


def one_pass(whole: Selection, of: int, units: list[int]) -> tuple[dict[int, list[str]], float]:
    """The SMILES of each of ``units``, in the order of its part, from one pass over what is dealt to ``of`` parts; and
    the seconds that their molecules took, the graphs not counted."""
    from qmgen.molecules.enumeration.items import Part

    chosen = replace(whole, part=Part(tuple(unit + 1 for unit in units), of))
    found: dict[int, list[str]] = {unit: [] for unit in units}
    judging = 0.0
    for batch in chosen.batches():
        begin = time.perf_counter()
        for part, smiles in chosen.kept(batch):
            found[part - 1].append(smiles)
        judging += time.perf_counter() - begin
    return found, judging


def _whole(order: Order) -> Selection:
    from qmgen.config.generate import EnumerateConfig
    from qmgen.pipeline.enumeration.setup import selection

    return selection(EnumerateConfig(**order.settings))


def _write(order: Order, unit: int, smiles: list[str]) -> int:
    """The entries of a unit to its file; how many duplicates were merged. (There are none, unless two SMILES become
    the same when RDKit reads them.)"""
    from qmgen.molecules.types import Failure
    from qmgen.pipeline.enumeration.parts import identifier

    parse = order.stages.load("parse")
    entries = (parse(identifier(unit, place), text, "") for place, text in enumerate(smiles))
    written = 0
    with file_of(Path(order.folder), unit).open("w", encoding="ascii") as stream:
        for entry in order.stages.load("merge")(entries):
            place = entry.molecule_id - identifier(unit, 0)
            problem = [str(entry.reason), entry.detail] if isinstance(entry, Failure) else []
            stream.write(json.dumps([place, entry.smiles, *problem]) + "\n")
            written += 1
    return len(smiles) - written


def _leave_with(parent: int, folder: str) -> None:
    """When the parent was killed, clear up after it and go."""
    while os.getppid() == parent:
        time.sleep(1.0)
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)
