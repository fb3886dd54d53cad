"""The process in which RDKit embeds, so that a crash or a hang costs one molecule.

Messages in: the embedding function (once), then ``(smiles, count, seed, procedure, time_limit)``.
Messages out: ``("ready",)`` once, then for each task ``("begin", time.monotonic())`` and
``("done", [Ensemble, ...])`` or ``("refused", (reason, why))``. Answers come in the order of the tasks.
"""

from __future__ import annotations

import signal
import sys
import time
from multiprocessing.connection import Connection

#: a worker whose parent is gone ends itself this long after the time limit of its molecule (seconds)
_GRACE = 30.0


def serve(descriptor: int) -> None:
    """Answer tasks on the connection with this file descriptor until its other end is closed.

    Interrupts are for the parent to handle: it closes the connection, or kills this process.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    with Connection(descriptor) as connection:
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
        connection.send(("begin", time.monotonic()))
        signal.setitimer(signal.ITIMER_REAL, time_limit + _GRACE)
        try:
            answer = ("done", embed(smiles, count, seed, procedure))
        except Exception as error:
            answer = ("refused", why_refused(error))
        signal.setitimer(signal.ITIMER_REAL, 0)
        connection.send(answer)


if __name__ == "__main__":
    serve(int(sys.argv[1]))
