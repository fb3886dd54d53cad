"""Conformers of a stream of molecules, embedded ahead of time by a worker process that can be replaced.

    for item in conformers(read_molecules("drugs.smi"), count=4, seed=0):
        ...  # a Conformer or a Failure, in the order of the input; where something was left out, also a Pruned

The worker embeds the next few molecules while the caller labels. It gets a fixed CPU time for each; past that its
molecule becomes a failure and a new worker goes on with the next. Where it dies or stands still otherwise, the molecule
is tried again by a new worker; and before it is held against the molecule, methane is embedded: where that fails too,
the trouble is the machine's.
"""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection
from typing import Any, Final, NamedTuple

from qmgen.errors import Interrupted
from qmgen.machine import address_space_limit, lacks_memory
from qmgen.molecules.embedding import PLAIN, Ensemble, Procedure, make_conformers, why_refused, without_stereo
from qmgen.molecules.geometry import geometry_problem
from qmgen.molecules.types import Conformer, Failure, Molecule, Pruned, Reason, failure
from qmgen.processes import OWN_FAULT, Child, Gone, Parent, ending

Embed = Callable[[str, int, int, Procedure], list[Ensemble]]
#: entries taken from the source ahead of the one being handed out
AHEAD: Final = 16
#: seconds without CPU time after which a worker stands still: while it starts (its files may come slowly), and later
START_PATIENCE: Final = 180.0
PATIENCE: Final = 30.0
#: the least of them where it sleeps, which RDKit never does: no machine's slowness looks like that
_ASLEEP: Final = 5.0
#: processes in a row that come to nothing with one molecule, or before they are ready, after which no other is started
_TRIES: Final = 3
_LOOK_EVERY: Final = 0.25
_HUNG: Final = "it slept"
#: how a process ends whose molecule has used up its time
_OUT_OF_TIME: Final = "SIGPROF"
_ONE_THREAD: Final = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
#: what any machine that is well can embed
_PLAIN_MOLECULE: Final = "C"


def conformers(
    molecules: Iterable[Molecule | Failure],
    count: int,
    seed: int,
    time_limit: float = 60.0,
    in_process: bool = False,
    embed_with: Embed = make_conformers,
    procedure: Procedure = PLAIN,
) -> Iterator[Conformer | Failure | Pruned]:
    """``count`` conformers of each molecule, or the one whose geometry was given; failures pass through. In order.

    ``procedure`` states how they are made. Of a molecule with several stereoisomers each has ``count`` of them, under
    conformer numbers that go on from one isomer to the next. After the conformers of a molecule of which some were
    pruned, a ``Pruned`` counts them; their numbers stay unused. A geometry that was given is never changed or pruned.

    ``time_limit`` is in seconds of CPU time per molecule, all its conformers together. ``in_process`` embeds here,
    without limit or protection. ``embed_with`` replaces the embedding (tests); it must be importable by name. The
    worker ends with the iterator, however that ends.

    Raises ``Interrupted`` when no worker can be started, or none embeds even methane: that is the machine's trouble.
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


def _given(molecule: Molecule, procedure: Procedure) -> Conformer:
    """The conformer of a molecule that came with its geometry, which its reader has checked."""
    assert molecule.numbers is not None and molecule.positions is not None
    return Conformer(
        molecule.molecule_id,
        molecule.conformer_id,
        molecule.name,
        molecule.smiles,
        molecule.numbers,
        molecule.positions,
        without_stereo(molecule.smiles) if procedure.stereo == "enumerate" else "",
        molecule.mapped_smiles,
    )


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
            elif problem := geometry_problem(isomer.numbers, positions):
                yield failure(place, name, smiles, *problem, conformer_id=first + number)
            else:
                graph = (isomer.family, isomer.mapped)
                yield Conformer(place, first + number, name, smiles, isomer.numbers, positions, *graph)
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
    """How waiting for one task ended: whether the worker began it, its answer if any, and how the worker ended else."""

    begun: bool
    answer: tuple[str, Any] | None
    ended: str = ""

    @property
    def own_fault(self) -> bool:
        """Whether the cause may lie in what RDKit did with the molecule. Where address space is limited, anything that
        asks for more of it may end a process in any way."""
        if self.ended == _HUNG:
            return True
        return (self.ended in OWN_FAULT or self.ended.startswith("exit code")) and address_space_limit() is None


class _Worker:
    """One replaceable process and the tasks it still owes, answered in order; started with the first task."""

    def __init__(self, embed_with: Embed, time_limit: float) -> None:
        self._embed, self._limit = embed_with, time_limit
        self._tasks: deque[tuple[str, int, int, Procedure, float]] = deque()
        self._child: Child | None = None
        self._ready = False

    def submit(self, smiles: str, count: int, seed: int, procedure: Procedure) -> None:
        self._tasks.append((smiles, count, seed, procedure, self._limit))
        if self._child is None:
            self._start()
        else:
            self._child.channel.send(self._tasks[-1])

    def result(self) -> list[Ensemble] | tuple[Reason, str]:
        """The answer to the oldest task, waiting for it; or why there is none."""
        tries = unready = 0
        while True:
            outcome = self._outcome()
            if outcome.answer is not None:
                self._tasks.popleft()
                return outcome.answer[1]
            tries += outcome.begun
            unready += not outcome.begun
            if outcome.ended == _OUT_OF_TIME:
                self._drop()
                return Reason.EMBEDDING_TIMEOUT, f"no geometry within {self._limit:g} s"
            if unready >= _TRIES:
                self.close()
                raise Interrupted(
                    f"the process that embeds does not start ({outcome.ended}); is RDKit installed in this Python, and "
                    "is there memory enough? When that is mended, the same command continues"
                )
            if tries >= (2 if outcome.own_fault else _TRIES):
                self._require_a_sound_machine(outcome.ended)
                self._drop()
                if outcome.ended == _HUNG:
                    return (
                        Reason.EMBEDDING_TIMEOUT,
                        f"no geometry within {self._limit:g} s: the process waits for nothing",
                    )
                if outcome.own_fault:
                    return Reason.EMBEDDING_CRASHED, f"RDKit ended its process: {outcome.ended}"
                return Reason.MACHINE_TROUBLE, f"embedding it failed {tries} times: {outcome.ended}"
            self._start()

    def close(self) -> None:
        """End the process and forget what it owes."""
        self._end(0.0)
        self._tasks.clear()

    def _drop(self) -> None:
        """Forget the oldest task, and go on with the others."""
        self._tasks.popleft()
        if self._tasks and self._child is None:
            self._start()

    def _require_a_sound_machine(self, ended: str) -> None:
        """Raise ``Interrupted`` unless a new process embeds methane."""
        probe = _Worker(self._embed, max(self._limit, PATIENCE))
        try:
            for _ in range(_TRIES):
                probe.submit(_PLAIN_MOLECULE, 1, 0, PLAIN)
                if probe._outcome().answer is not None:
                    return
                probe._tasks.clear()
        finally:
            probe.close()
        self.close()
        raise Interrupted(
            f"molecules cannot be embedded on this machine now, not even methane ({ended}): see to memory and load; "
            "the same command continues"
        )

    def _start(self) -> None:
        try:
            self._child = Child.start("qmgen.molecules.embedding_pool:serve", environment=_ONE_THREAD, quiet=True)
        except OSError as error:  # no memory or no place for another process
            raise Interrupted(
                f"no process that embeds can be started ({error.strerror or error}); when that is mended, the same "
                "command continues"
            ) from error
        self._ready = False
        for message in (self._embed, *self._tasks):
            self._child.channel.send(message)

    def _outcome(self) -> _Outcome:
        """Wait for the answer to the oldest task. Where there is none, the process has been ended."""
        assert self._child is not None
        begun = False
        clock = self._child.clock
        clock.moved()
        while True:
            message = self._child.receive(_LOOK_EVERY)
            if message is None:
                if clock.stalled() < self._patience(clock.state):
                    continue
                self._end(0.0)
                return _Outcome(begun, None, _HUNG if clock.state == "S" else "it was stopped or starved")
            if isinstance(message, Gone):
                return _Outcome(begun, None, self._end(5.0))
            self._ready = True
            if message[0] == "begin":
                begun = True
            elif message[0] == "memory":
                self._end(0.0)  # what is left of its memory is in pieces
                return _Outcome(begun, None, f"too little memory ({message[1] or 'MemoryError'})")
            elif message[0] != "ready":
                return _Outcome(begun, message)

    def _patience(self, state: str) -> float:
        """Seconds that the process may be without CPU time in this ``state``."""
        if not self._ready:
            return START_PATIENCE
        return min(PATIENCE, max(self._limit, _ASLEEP)) if state == "S" else PATIENCE

    def _end(self, grace: float) -> str:
        """End the process, after ``grace`` seconds to end by itself; return how it ended."""
        if self._child is None:
            return ""
        code = self._child.end(grace)
        self._child = None
        return ending(code)


def serve(parent: Parent) -> None:
    """In the worker process: answer the tasks of ``parent``, in their order, until it closes the pipe, or is gone.

    Messages in: the embedding function (once), then ``(smiles, count, seed, procedure, time_limit)``.
    Messages out: ``("ready",)`` once, then for each task ``("begin",)`` and ``("done", [Ensemble, ...])``,
    ``("refused", (reason, why))`` or, where there was too little of it, ``("memory", why)``.

    The time limit is CPU time, which the kernel counts: SIGPROF ends the process when it is used up. A process that is
    stopped, or waits for a processor, uses none.
    """
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    with parent.connect() as connection:
        try:
            _answer(connection)
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return


def _answer(connection: Connection) -> None:
    import rdkit.Chem  # noqa: F401 - fail here, before the first task, where RDKit is missing

    embed = connection.recv()
    connection.send(("ready",))
    while True:
        smiles, count, seed, procedure, time_limit = connection.recv()
        connection.send(("begin",))
        signal.setitimer(signal.ITIMER_PROF, time_limit)
        try:
            answer = ("done", embed(smiles, count, seed, procedure))
        except Exception as error:
            answer = ("memory", str(error)) if lacks_memory(error) else ("refused", why_refused(error))
        signal.setitimer(signal.ITIMER_PROF, 0)
        connection.send(answer)
