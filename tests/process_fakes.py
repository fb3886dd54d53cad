"""What children of the tests of processes run."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import Any

from qmgen.errors import UsageError
from qmgen.processes import Parent


def wait(parent: Parent) -> None:
    parent.connect().send(os.getpid())
    time.sleep(600)


def echo(parent: Parent, *arguments: object) -> None:
    """Say what was given; then everything that is heard, or the number of a process that sleeps."""
    connection = parent.connect()
    connection.send((*arguments, os.environ["QMGEN_TOLD"], os.getpid()))
    while True:
        message = connection.recv()
        if message == "start another":
            message = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]).pid
        connection.send(message)


class Adder:
    def __init__(self, setup: int) -> None:
        self.setup = setup

    def __call__(self, task: int | str) -> dict[str, Any]:
        if task == "die":
            os._exit(3)
        if task == "refuse":
            raise UsageError("told to refuse")
        if task == "bug":
            raise ZeroDivisionError("told to")
        assert isinstance(task, int)
        return {
            "sum": self.setup + task,
            "threads": os.environ.get("OMP_NUM_THREADS"),
            "cores": sorted(os.sched_getaffinity(0)),
        }
