"""The process in which RDKit embeds, so that a crash or a hang costs one molecule.

Messages in: the embedding function (once), then ``(smiles, count, seed, procedure, time_limit)``.
Messages out: ``("ready",)`` once, then for each task ``("begin",)`` and ``("done", [Ensemble, ...])``,
``("refused", (reason, why))`` or, where there was too little of it, ``("memory", why)``. Answers come in the order of
the tasks.

The time limit is CPU time, which the kernel counts: SIGPROF ends the process when it is used up. A process that is
stopped, or waits for a processor, uses none.
"""

from __future__ import annotations

import signal
from multiprocessing.connection import Connection

from qmgen.machine import lacks_memory
from qmgen.processes import Parent

#: how a process ends whose molecule has used up its time
OUT_OF_TIME = "SIGPROF"


def serve(parent: Parent) -> None:
    """Answer the tasks of ``parent`` until it closes the pipe, or is gone."""
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    with parent.connect() as connection:
        try:
            _answer(connection)
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return


def _answer(connection: Connection) -> None:
    import rdkit.Chem  # noqa: F401 - fail here, before the first task, where RDKit is missing

    from qmgen.molecules.embedding import why_refused

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
