"""``metrics.jsonl``: one JSON object a line, appended as the training goes, and cut back when it resumes.

A training that is killed has written lines past its last checkpoint. It takes those steps again, so the lines go first:
the file of a resumed training reads as that of an undisturbed one.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from qmgen import files
from qmgen.documents import json_of
from qmgen.errors import QmgenError
from qmgen.learning.training import checkpoint

NAME: Final = "metrics.jsonl"
#: what differs between two runs of the same training
CLOCKS: Final = frozenset({"seconds", "rows_per_second", "tokens_per_second"})


class Journal:
    """The file ``path``, of which the lines up to and with ``step`` stay; a context. Each line names its ``step``."""

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        kept = [line for line in read(path) if line["step"] <= step]
        checkpoint.write(path, "".join(_text(line) for line in kept).encode())
        with files.opened(path.parent) as folder:  # never through a link of this name
            stream = files.open_for_writing(folder, path.name, path, append=True)
        self._stream = io.TextIOWrapper(stream, encoding="utf-8")

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def append(self, line: Mapping[str, Any]) -> None:
        """One more line, in the hands of the operating system when this returns. Raises ``QmgenError``."""
        try:
            self._stream.write(_text(line))
            self._stream.flush()
        except OSError as error:
            raise QmgenError(f"cannot write {self.path}: {error.strerror}; the same command continues") from error

    def synchronise(self) -> None:
        """Onto the disk: no checkpoint may be newer than the lines before it."""
        os.fsync(self._stream.fileno())


def read(path: Path) -> list[dict[str, Any]]:
    """The whole lines of the file, up to the first that is not; none where there is no file."""
    lines: list[dict[str, Any]] = []
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return lines
    for line in text.splitlines(keepends=True):
        try:
            found = json_of(line)
        except ValueError:
            break
        if not line.endswith("\n") or not isinstance(found, dict) or not isinstance(found.get("step"), int):
            break
        lines.append(found)
    return lines


def timeless(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """``lines`` without what the clock says: equal for equal trainings."""
    return [{key: value for key, value in line.items() if key not in CLOCKS} for line in lines]


def _text(line: Mapping[str, Any]) -> str:
    return json.dumps(line, allow_nan=False) + "\n"
