"""What runs on a cluster, with Slurm or Parsl: one command for each rank, and one that merges.

A Parsl worker imports this module, for Parsl sends ``run_rank`` by its name: nothing heavy is imported.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from qmgen import files
from qmgen.errors import UsageError

#: exit code of a run that was stopped and goes on when it is started again
RESUMABLE = 75
#: exit code of a run that is over, with more failures than allowed
TOO_MANY_FAILURES = 3


@dataclass(frozen=True)
class ClusterJob:
    """``ranks`` times ``qmgen generate config *extra``, then ``qmgen merge out``.

    ``config`` is an absolute path, ``out`` an absolute path or a URL; ``extra`` are words of the command line, relative
    to ``directory``. ``python`` must be there under the same path where the ranks run.
    """

    config: Path
    out: str
    ranks: int
    extra: tuple[str, ...] = ()
    directory: Path = Path()
    python: str = sys.executable

    @property
    def name(self) -> str:
        """A name for queues: ``qmgen-`` and the corpus's own."""
        last = self.out.partition("?")[0].rstrip("/").rpartition("/")[2]
        return "qmgen-" + "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in last)

    @property
    def logs(self) -> Path:
        """The folder for scripts and logs: ``runs`` in the corpus, or the current one where that is in a store."""
        return self.top / self.folder

    @property
    def top(self) -> Path:
        """The directory that the user has named, below which nothing is written through a link."""
        return self.directory if "://" in self.out else Path(self.out)

    @property
    def folder(self) -> str:
        """``logs``, seen from ``top``."""
        return "" if "://" in self.out else "runs"

    def rank_command(self, rank: int) -> list[str]:
        """The words that do one rank."""
        return [*self._generate(), "--rank", str(rank), "--world-size", str(self.ranks), *self.extra]

    def rank_line(self, variable: str) -> str:
        """The same as a line of shell, with the rank in a variable of the shell."""
        begin, end = shlex.join(self._generate()), shlex.join(self.extra)
        return f'{begin} --rank "${variable}" --world-size {self.ranks} {end}'.rstrip()

    def merge_command(self) -> list[str]:
        """The words that make one corpus of what all ranks wrote."""
        return [self.python, "-m", "qmgen", "merge", self.out]

    def make_logs(self) -> Path:
        """The folder for logs, made. Raises ``UsageError`` where it cannot be, and where a folder of the corpus is a
        link."""
        from qmgen.corpus.store.local import FOLDERS

        try:
            if self.folder:
                files.refuse_links(self.top, *FOLDERS)
            with files.opened(self.top, self.folder, make=True):
                pass
        except files.Linked:
            raise
        except OSError as error:
            raise UsageError(f"cannot write to {self.logs}: {error.strerror}; choose another out") from error
        return self.logs

    def _generate(self) -> list[str]:
        return [self.python, "-m", "qmgen", "generate", str(self.config)]


def absolute(place: object) -> str:
    """A directory as an absolute path, a URL as it is."""
    return str(place) if "://" in str(place) else os.path.abspath(str(place))


#: seconds between two looks for the file that asks ranks to stop
POLL = 0.5


def run_rank(
    words: Sequence[str], directory: str, top: str, log: str, stop: str, environment: Mapping[str, str]
) -> int:
    """Run ``words`` in ``directory`` to its end; returns its exit code, -n where signal n ended it. What it prints is
    added to the file ``log`` below ``top``; ``Linked`` where that is a link.

    A file asks all ranks to stop, since every node sees the corpus, however its worker was started. Where ``stop``
    exists, the process is asked once (SIGTERM) to stop; one that has not begun does not begin.
    """
    if os.path.exists(stop):
        return RESUMABLE
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
                return RESUMABLE if told and code < 0 else code
            except subprocess.TimeoutExpired:
                if not told and os.path.exists(stop):
                    told = True
                    process.terminate()
