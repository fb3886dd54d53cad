"""What runs on a Parsl worker: one rank, as a process of its own whose output goes to a file.

A file that appears asks all ranks to stop: it reaches a worker whichever way it was started, on any node that sees the
corpus. Nothing heavy is imported, for Parsl sends this function by name.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath

from qmgen import files

POLL = 0.5
STOPPED = 75


def run_rank(
    words: Sequence[str], directory: str, top: str, log: str, stop: str, environment: Mapping[str, str]
) -> int:
    """Run ``words`` in ``directory`` to its end; returns its exit code, -n where signal n ended it. What it prints is
    added to the file ``log`` below ``top``; ``Linked`` where that is a link.

    Where the file ``stop`` exists, the process is asked once (SIGTERM) to stop; one not yet begun does not begin.
    """
    if os.path.exists(stop):
        return STOPPED
    path = PurePath(log)
    with files.opened(Path(top), path.parent) as folder:
        opened = files.open_for_writing(folder, path.name, Path(top) / path, append=True)
    with opened as stream:
        process = subprocess.Popen(
            list(words),
            cwd=directory,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
        told = False
        while True:
            try:
                code = process.wait(timeout=POLL)
                # SIGTERM may have come before the run could listen
                return STOPPED if told and code < 0 else code
            except subprocess.TimeoutExpired:
                if not told and os.path.exists(stop):
                    told = True
                    process.terminate()
