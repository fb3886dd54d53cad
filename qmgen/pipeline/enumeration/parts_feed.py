"""The parent's side of the process that enumerates: started, asked one block ahead, heard without waiting, ended."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from qmgen.errors import Interrupted, from_process
from qmgen.pipeline.enumeration.parts_feeder import MOST_UNITS, Block, Next, Order, Refused
from qmgen.pipeline.stages import Stages

_MAIN = "import sys; from qmgen.pipeline.enumeration.parts_feeder import main; main(int(sys.argv[1]), int(sys.argv[2]))"
#: it computes in one thread: the cores belong to those that label
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


@dataclass
class Feed:
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

    def __enter__(self) -> Feed:
        with contextlib.ExitStack() as stack:
            self.folder = Path(stack.enter_context(TemporaryDirectory(prefix="qmgen-")))
            self._connection, self.process = self._start()
            stack.callback(self._kill)
            self._stack = stack.pop_all()
        self._send(Order(self.settings, self.of, str(self.folder), self.stages))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def blocks(self) -> Iterator[Block | None]:
        """Each block as soon as it is there, None while it is not; the one after it is then begun at once.

        Raises what the process refused, and ``QmgenError`` when it died.
        """
        done = 0
        self._send(Next(tuple(self.units[:MOST_UNITS])))
        while done < len(self.units):
            block = self._heard()
            if block is not None:
                done += len(block.merged)
                if done < len(self.units):
                    self._send(Next(tuple(self.units[done : done + MOST_UNITS])))
            yield block

    def _heard(self) -> Block | None:
        try:
            if not self._connection.poll(self.patience):
                return None
            message = self._connection.recv()
        except (EOFError, OSError):
            raise self._death() from None
        if isinstance(message, Refused):
            raise from_process("the process that enumerates", message.exit_code, message.message, message.traceback)
        assert isinstance(message, Block)
        return message

    def _start(self) -> tuple[Connection, subprocess.Popen[bytes]]:
        ours, theirs = Pipe()
        environment = os.environ | _ONE_THREAD
        environment["PYTHONPATH"] = os.pathsep.join(p or os.getcwd() for p in sys.path)
        process = subprocess.Popen(
            [sys.executable, "-c", _MAIN, str(theirs.fileno()), str(os.getpid())],
            env=environment,
            pass_fds=(theirs.fileno(),),
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # the terminal's Ctrl-C reaches the parent alone
        )
        theirs.close()
        return ours, process

    def _send(self, message: object) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it died: the next look finds out
            self._connection.send(message)

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._connection.close()

    def _death(self) -> Interrupted:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=5)
        code = self.process.poll()
        how = signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"
        return Interrupted(  # so that a scheduler starts the rank again
            f"the process that enumerates died: {how}; finished units are kept, the same command continues"
        )
