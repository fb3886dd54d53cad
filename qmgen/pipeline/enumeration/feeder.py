"""The process that enumerates for a run, and its parent's side: blocks of work units, one ahead of what is labeled.

Started by ``EnumerationFeed`` as ``python -c "from qmgen.pipeline.enumeration.feeder import main; main(...)"``. One
pass over all graphs costs the same however few of its parts are wanted, so a block takes several units; but the first
label should not wait for many, so the first block is one unit, and each is at most twice the one before.

The parent sends an ``EnumerationOrder``, then the units that are next, as a tuple, for each block. The answer is how
many duplicates were merged in each unit of the block, or a ``WorkerFailure``. A unit's entries go into a file of the
folder of the run, a line of JSON each: place in the part and SMILES, then reason and detail of what cannot be labeled.
That file is whole when the answer comes.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

from qmgen.errors import Interrupted, from_process
from qmgen.pipeline.messages import WorkerFailure
from qmgen.pipeline.stages import Stages
from qmgen.processes import Child, Gone, Parent, ending

if TYPE_CHECKING:
    from qmgen.molecules.selection import Selection


#: seconds without CPU time after which it stands still; it gives way to others
STALL_LIMIT: Final = 120.0
#: it computes in one thread: the cores belong to those that label
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
#: units in a block, and molecules in one, at most: they are held in memory
MOST_UNITS: Final = 64
MOST_MOLECULES: Final = 500_000
#: what the pass over all graphs may cost, beside what the molecules of the block cost
SHARE: Final = 0.1
#: it gives way to the processes that label, which are the reason for its work
NICENESS: Final = 5


@dataclass(frozen=True)
class EnumerationOrder:
    """Parent, once: enumerate the set with these ``settings`` (of an ``EnumerateConfig``), dealt to ``of`` parts, into
    ``folder``; unit i is part i + 1."""

    settings: dict[str, Any]
    of: int
    folder: str
    stages: Stages


@dataclass
class EnumerationFeed:
    """``units`` of an enumeration with these ``settings`` that is dealt to ``of`` parts; unit i is part i + 1.

    ``patience`` seconds are waited for a block before it is said not to be there.

    A context: leaving it ends the process and removes its files, which are in ``folder``, on this machine.
    """

    settings: dict[str, Any]
    of: int
    units: Sequence[int]
    stages: Stages
    patience: float = 0.0
    _stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def __enter__(self) -> EnumerationFeed:
        with contextlib.ExitStack() as stack:
            self.folder = Path(stack.enter_context(TemporaryDirectory(prefix="qmgen-")))
            self.child = Child.start(
                "qmgen.pipeline.enumeration.feeder:main", str(self.folder), environment=_ONE_THREAD
            )
            stack.callback(self.child.end)
            self._stack = stack.pop_all()
        self.child.channel.send(EnumerationOrder(self.settings, self.of, str(self.folder), self.stages))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def blocks(self) -> Iterator[dict[int, int] | None]:
        """The duplicates merged in each unit of a block, as soon as it is there, None before; the next block is then
        begun at once.

        Raises what the process refused, and ``Interrupted`` when it died or stands still.
        """
        done = 0
        self.child.channel.send(tuple(self.units[:MOST_UNITS]))
        while done < len(self.units):
            block = self._next_block()
            if block is not None:
                done += len(block)
                if done < len(self.units):
                    self.child.channel.send(tuple(self.units[done : done + MOST_UNITS]))
            yield block

    def _next_block(self) -> dict[int, int] | None:
        message = self.child.receive(self.patience)
        if message is None:
            if self.child.clock.stalled() < STALL_LIMIT:
                return None
            self.child.end()
            raise _ended("stands still")
        if isinstance(message, Gone):
            code = self.child.end(5.0)
            raise _ended("does not die" if code is None else f"died: {ending(code)}")
        if isinstance(message, WorkerFailure):
            raise from_process("the process that enumerates", message.exit_code, message.message, message.traceback)
        assert isinstance(message, dict)
        return message


def _ended(how: str) -> Interrupted:
    """So that a scheduler starts the rank again."""
    return Interrupted(f"the process that enumerates {how}; finished units are kept, the same command continues")


def file_of(folder: Path, unit: int) -> Path:
    """Where the entries of a unit are."""
    return folder / f"{unit}.jsonl"


def main(parent: Parent, folder: str) -> None:
    """Serve ``parent`` until it closes the pipe or dies; then ``folder`` is cleared away."""
    connection = parent.connect(orphaned=partial(shutil.rmtree, folder, ignore_errors=True))
    os.nice(NICENESS)
    try:
        order: EnumerationOrder = connection.recv()
        _serve(connection, order)
    except (BrokenPipeError, EOFError, ConnectionResetError):
        shutil.rmtree(folder, ignore_errors=True)  # there is no parent that reads it
        os._exit(1)


def _serve(connection: Connection, order: EnumerationOrder) -> None:
    from qmgen.errors import QmgenError, one_line, to_process

    try:
        for block in blocks(order, connection.recv):
            connection.send(block)
    except QmgenError as error:
        connection.send(WorkerFailure(*to_process(error)))
    except (BrokenPipeError, EOFError, ConnectionResetError):
        raise
    except OSError as error:
        room = f"cannot write to {order.folder}: {error.strerror or error}; make room, or set TMPDIR to another place"
        connection.send(WorkerFailure(1, one_line(room), ""))
    except Exception as error:
        connection.send(WorkerFailure(*to_process(error)))


def blocks(order: EnumerationOrder, asked: Callable[[], Sequence[int]]) -> Iterator[dict[int, int]]:
    """The blocks of an order, one after another, out of what is ``asked`` for before each; none after no units."""
    size, whole = 1, _whole(order)
    while now := list(asked()[:size]):
        begin = time.perf_counter()
        found, judging = one_pass(whole, order.of, now)
        written = time.perf_counter()
        merged = {unit: _write(order, unit, smiles) for unit, smiles in found.items()}
        end = time.perf_counter()
        yield merged
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


def _whole(order: EnumerationOrder) -> Selection:
    from qmgen.config.enumerate import EnumerateConfig
    from qmgen.pipeline.enumeration.run import selection

    return selection(EnumerateConfig(**order.settings))


def _write(order: EnumerationOrder, unit: int, smiles: list[str]) -> int:
    """The entries of a unit to its file; how many duplicates were merged. (There are none, unless two SMILES become
    the same when RDKit reads them.)"""
    from qmgen.corpus.plan import part_molecule_id
    from qmgen.molecules.types import Failure

    parse = order.stages.parse
    entries = (parse(part_molecule_id(unit, place), text, "") for place, text in enumerate(smiles))
    written = 0
    with file_of(Path(order.folder), unit).open("w", encoding="ascii") as stream:
        for entry in order.stages.merge(entries):
            place = entry.molecule_id - part_molecule_id(unit, 0)
            problem = [str(entry.reason), entry.detail] if isinstance(entry, Failure) else []
            stream.write(json.dumps([place, entry.smiles, *problem]) + "\n")
            written += 1
    return len(smiles) - written
