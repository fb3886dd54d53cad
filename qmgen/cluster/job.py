"""What is to be run on a cluster, whichever engine runs it: one command per rank, and one that merges."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from qmgen import files
from qmgen.errors import UsageError

#: exit code of a run that was stopped and goes on when it is started again
RESUMABLE = 75
#: exit code of a run that is over, with more failures than allowed
TOO_MANY_FAILURES = 3


@dataclass(frozen=True)
class Job:
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
