"""The parent's side of the process that enumerates: started, asked one block ahead, heard without waiting, ended."""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Pipe
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from qmgen.errors import Interrupted, from_process
from qmgen.pipeline.enumeration.parts_feeder import MOST_UNITS, Block, Next, Order, Refused
from qmgen.pipeline.stages import Stages
from qmgen.processes import Channel, Gone, StallClock, end, ending

_MAIN = (
    "import sys; from qmgen.pipeline.enumeration.parts_feeder import main; "
    "main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])"
)
#: seconds without CPU time after which it stands still; it gives way to others
PATIENCE: Final = 120.0
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
            self._channel, self.process = self._start()
            self._clock = StallClock(self.process.pid)
            stack.callback(self._kill)
            self._stack = stack.pop_all()
        self._channel.send(Order(self.settings, self.of, str(self.folder), self.stages))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def blocks(self) -> Iterator[Block | None]:
        """Each block as soon as it is there, None while it is not; the one after it is then begun at once.

        Raises what the process refused, and ``Interrupted`` when it died or stands still.
        """
        done = 0
        self._channel.send(Next(tuple(self.units[:MOST_UNITS])))
        while done < len(self.units):
            block = self._heard()
            if block is not None:
                done += len(block.merged)
                if done < len(self.units):
                    self._channel.send(Next(tuple(self.units[done : done + MOST_UNITS])))
            yield block

    def _heard(self) -> Block | None:
        try:
            _, message = self._channel.inbox.get(self.patience > 0, self.patience or None)
        except queue.Empty:
            if self._clock.stalled() < PATIENCE:
                return None
            self._kill()
            raise _ended("stands still") from None
        self._clock.moved()
        if isinstance(message, Gone):
            raise self._death()
        if isinstance(message, Exception):
            raise message
        if isinstance(message, Refused):
            raise from_process("the process that enumerates", message.exit_code, message.message, message.traceback)
        assert isinstance(message, Block)
        return message

    def _start(self) -> tuple[Channel, subprocess.Popen[bytes]]:
        ours, theirs = Pipe()
        environment = os.environ | _ONE_THREAD
        environment["PYTHONPATH"] = os.pathsep.join(p or os.getcwd() for p in sys.path)
        process = subprocess.Popen(
            [sys.executable, "-c", _MAIN, str(theirs.fileno()), str(os.getpid()), str(self.folder)],
            env=environment,
            pass_fds=(theirs.fileno(),),
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # the terminal's Ctrl-C reaches the parent alone
        )
        theirs.close()
        return Channel(ours), process

    def _kill(self) -> None:
        end(self.process, 0.0, group=True)
        self._channel.close()

    def _death(self) -> Interrupted:
        code = end(self.process, 5.0)
        return _ended("does not die" if code is None else f"died: {ending(code)}")


def _ended(how: str) -> Interrupted:
    """So that a scheduler starts the rank again."""
    return Interrupted(f"the process that enumerates {how}; finished units are kept, the same command continues")
