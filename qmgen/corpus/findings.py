"""What an inspection of a corpus finds: a file, what is wrong with it, and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from qmgen.errors import one_line

#: rows are wrong, lost or doubled · what describes the corpus is lost or out of date · no harm
DAMAGE, STALE, NOTE = "damage", "stale", "note"

#: what mends a file that is not what was written
GENERATE: Final = "run the same `qmgen generate` again, which makes this work unit anew"
MERGE: Final = "run `qmgen merge` on the corpus, which writes it anew"


@dataclass(frozen=True)
class VerificationIssue:
    """``severity`` is one of those above; ``file`` a name within the corpus; ``todo`` is empty where nothing is."""

    severity: str
    file: str
    what: str
    todo: str = ""

    def text(self) -> str:
        """One line."""
        return one_line(f"{self.severity}: {self.file}: {self.what}" + (f"; {self.todo}" if self.todo else ""))


def anew(failures: str) -> str:
    """What to do with a unit whose files are as they were written, and wrong: nothing else would make it again."""
    return f"remove {failures} and run the same `qmgen generate` again"
