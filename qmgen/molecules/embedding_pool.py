"""Conformers of a stream of molecules, embedded ahead of time by a worker process that can be replaced.

    for item in conformers(read_molecules("drugs.smi"), count=4, seed=0):
        ...  # a Conformer or a Failure, in the order of the input; where something was left out, also a Pruned

The worker embeds the next few molecules while the caller labels. It gets a fixed time for each; past that, or when it
dies, its molecule becomes a failure and a new worker goes on with the next.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any, Final, NamedTuple

from qmgen.errors import QmgenError
from qmgen.molecules.conformers import Ensemble, make
from qmgen.molecules.embedding import why_refused
from qmgen.molecules.entries import failure
from qmgen.molecules.geometry import geometry_problem
from qmgen.molecules.procedure import PLAIN, Procedure
from qmgen.molecules.stereo import without_stereo
from qmgen.molecules.types import Conformer, Failure, Molecule, Pruned, Reason

Embed = Callable[[str, int, int, Procedure], list[Ensemble]]
#: entries taken from the source ahead of the one being handed out
AHEAD: Final = 16
#: seconds a worker may take to start, or to take up its next task, on however busy a machine
_START_LIMIT: Final = 180.0
#: starts in a row that come to nothing before we give up
_START_TRIES: Final = 3


def conformers(
    molecules: Iterable[Molecule | Failure],
    count: int,
    seed: int,
    time_limit: float = 60.0,
    in_process: bool = False,
    embed_with: Embed = make,
    procedure: Procedure = PLAIN,
) -> Iterator[Conformer | Failure | Pruned]:
    """``count`` conformers of each molecule, or the one whose geometry was given; failures pass through. In order.

    ``procedure`` says how they are made. Of a molecule with several stereoisomers each has ``count`` of them, under
    conformer numbers that go on from one isomer to the next. After the conformers of a molecule of which some were
    pruned, a ``Pruned`` says how many; their numbers stay unused. A geometry that was given is never changed or pruned.

    ``time_limit`` is in seconds per molecule, all its conformers together. ``in_process`` embeds here, without limit or
    protection. ``embed_with`` replaces the embedding (tests); it must be importable by name. The worker ends with
    the iterator, however that ends.

    Raises ``QmgenError`` when no worker can be started.
    """
    if count < 1 or time_limit <= 0:
        raise ValueError(f"count {count} and time_limit {time_limit} must be positive")
    worker = None if in_process else _Worker(embed_with, time_limit)
    return _conformers(iter(molecules), (count, seed, procedure), worker, embed_with)


def _conformers(
    molecules: Iterator[Molecule | Failure],
    how: tuple[int, int, Procedure],
    worker: _Worker | None,
    embed_with: Embed,
) -> Iterator[Conformer | Failure | Pruned]:
    procedure = how[2]
    queue: deque[Molecule | Failure] = deque()
    try:
        while True:
            while len(queue) < (AHEAD if worker else 1) and (entry := next(molecules, None)) is not None:
                queue.append(entry)
                if worker and _to_embed(entry):
                    worker.submit(entry.smiles, *how)
            if not queue:
                return
            entry = queue.popleft()
            if isinstance(entry, Failure):
                yield entry
            elif not _to_embed(entry):
                yield _given(entry, procedure)
            else:
                answer = worker.result() if worker else _embed_here(embed_with, entry.smiles, *how)
                yield from _made(entry, answer, procedure)
    finally:
        if worker:
            worker.close()


def _to_embed(entry: Molecule | Failure) -> bool:
    return isinstance(entry, Molecule) and entry.positions is None


def _given(molecule: Molecule, procedure: Procedure) -> Conformer | Failure:
    """The conformer of a molecule that came with its geometry."""
    assert molecule.numbers is not None and molecule.positions is not None
    return _sound(
        Conformer(
            molecule.molecule_id,
            molecule.conformer_id,
            molecule.name,
            molecule.smiles,
            molecule.numbers,
            molecule.positions,
            without_stereo(molecule.smiles) if procedure.stereo == "enumerate" else "",
            molecule.mapped_smiles,
        )
    )


def _sound(conformer: Conformer) -> Conformer | Failure:
    problem = geometry_problem(conformer.numbers, conformer.positions)
    if problem is None:
        return conformer
    c = conformer
    return failure(c.molecule_id, c.name, c.smiles, *problem, conformer_id=c.conformer_id)


def _made(
    molecule: Molecule, answer: list[Ensemble] | tuple[Reason, str], procedure: Procedure
) -> Iterator[Conformer | Failure | Pruned]:
    """What the embedding of a molecule came to: one item a conformer that was kept or did not come out, then how many
    were pruned; or one failure for the whole molecule."""
    place, name = molecule.molecule_id, molecule.name
    if isinstance(answer, tuple):
        yield failure(place, name, molecule.smiles, *answer)
        return
    detail = "ETKDG found no geometry" + (", from random coordinates neither" if procedure.embed == "etkdg3" else "")
    first = 0
    for isomer in answer:
        smiles = isomer.smiles or molecule.smiles
        for number, positions in enumerate(isomer.positions):
            if number in isomer.pruned:
                continue
            if positions is None:
                yield failure(place, name, smiles, Reason.EMBEDDING_FAILED, detail, first + number)
            else:
                graph = (isomer.family, isomer.mapped)
                yield _sound(Conformer(place, first + number, name, smiles, isomer.numbers, positions, *graph))
        first += len(isomer.positions)
    if pruned := sum(len(isomer.pruned) for isomer in answer):
        yield Pruned(place, pruned)


def _embed_here(
    embed_with: Embed, smiles: str, count: int, seed: int, procedure: Procedure
) -> list[Ensemble] | tuple[Reason, str]:
    try:
        return embed_with(smiles, count, seed, procedure)
    except (ValueError, RuntimeError) as error:
        return why_refused(error)


class _Outcome(NamedTuple):
    """How waiting for one task ended: whether the worker began it, its answer if any, and if it came too late."""

    begun: bool
    answer: tuple[str, Any] | None
    late: bool


class _Worker:
    """One replaceable process and the tasks it still owes, answered in order; started with the first task."""

    def __init__(self, embed_with: Embed, time_limit: float) -> None:
        self._embed, self._limit = embed_with, time_limit
        self._tasks: deque[tuple[str, int, int, Procedure, float]] = deque()
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None

    def submit(self, smiles: str, count: int, seed: int, procedure: Procedure) -> None:
        self._tasks.append((smiles, count, seed, procedure, self._limit))
        if self._process is None:
            self._start()
        else:
            self._send(self._tasks[-1])

    def result(self) -> list[Ensemble] | tuple[Reason, str]:
        """The answer to the oldest task, waiting for it; or why there is none."""
        for _ in range(_START_TRIES):
            outcome = self._wait()
            if outcome.answer is not None:
                self._tasks.popleft()
                return outcome.answer[1]
            ended = self._end(grace=0.0 if outcome.late else 5.0)
            if outcome.begun:
                self._tasks.popleft()
            if self._tasks:
                self._start()
            if outcome.begun and (outcome.late or ended == "SIGALRM"):
                return Reason.EMBEDDING_TIMEOUT, f"no geometry within {self._limit:g} s"
            if outcome.begun:
                return Reason.EMBEDDING_CRASHED, f"RDKit ended its process: {ended}"
        self.close()
        raise QmgenError(f"the process that embeds does not start ({ended}); is RDKit installed in this Python?")

    def close(self) -> None:
        """End the process and forget what it owes."""
        if self._process is not None:
            self._process.kill()
            self._end(grace=1.0)
        self._tasks.clear()

    def _start(self) -> None:
        ours, theirs = Pipe()
        program = f"import sys; sys.path[:] = {sys.path!r}; from qmgen.molecules.embedding_worker import serve; "
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", f"{program}serve({theirs.fileno()})"],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
                start_new_session=True,  # Ctrl-C at the shell reaches the parent alone
            )
        finally:
            theirs.close()
        self._connection = ours
        self._send(self._embed)
        for task in self._tasks:
            self._send(task)

    def _send(self, message: object) -> None:
        assert self._connection is not None
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # ``result`` finds out that it is gone
            self._connection.send(message)

    def _wait(self) -> _Outcome:
        """Wait for the answer to the oldest task: at most the time limit from where the worker began it."""
        assert self._connection is not None
        begun, deadline = False, time.monotonic() + _START_LIMIT
        while True:
            if not self._connection.poll(max(0.0, deadline - time.monotonic())):
                return _Outcome(begun, None, late=True)
            try:
                message = self._connection.recv()
            except (EOFError, OSError):
                return _Outcome(begun, None, late=False)
            if message[0] == "begin":
                begun, deadline = True, message[1] + self._limit
            elif message[0] != "ready":
                return _Outcome(begun, message, late=False)

    def _end(self, grace: float) -> str:
        """End the process, after ``grace`` seconds to end by itself; tell how it ended."""
        assert self._process is not None and self._connection is not None
        try:
            self._process.wait(grace)
        except subprocess.TimeoutExpired:
            self._process.kill()
        code = self._process.wait()
        self._connection.close()
        self._process = self._connection = None
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"
