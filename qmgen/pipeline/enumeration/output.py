"""A file of SMILES that grows, and survives a stop: what is there is never written twice, nor left out.

While it grows it is called ``NAME.partial``, and ``NAME.partial.json`` says how many of its bytes are sure and where
the enumeration goes on. Whole, it gets its own name, and ``NAME.json`` says what it holds. The same settings thus make
the same bytes, however often they were interrupted.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from qmgen import files
from qmgen.corpus.identity import difference
from qmgen.corpus.locks import still_there
from qmgen.documents import table_of
from qmgen.errors import BeingWritten, UsageError
from qmgen.molecules.selection import ResumePoint

#: seconds between two notes of how far the file is sure
NOTE_EVERY: Final = 2.0


@dataclass
class Progress:
    """How far a file is: ``bytes`` of it hold ``molecules``, found before ``place``; ``removed`` by rule so far."""

    query: int = 0
    item: int = 0
    bytes: int = 0
    molecules: int = 0
    removed: dict[str, int] = field(default_factory=dict)

    @property
    def place(self) -> ResumePoint:
        return ResumePoint(self.query, self.item)


class Output:
    """The file ``path`` of the set with this ``fingerprint``, which follows from ``settings``; a context that holds a
    lock on it.

    Raises ``UsageError`` where it cannot be written, holds something else, or is being written by another process.
    """

    def __init__(self, path: Path, fingerprint: str, overwrite: bool, settings: Mapping[str, Any]) -> None:
        self.path = path
        self.partial = path.with_name(path.name + ".partial")
        self.about = path.with_name(path.name + ".json")
        self._note = path.with_name(path.name + ".partial.json")
        self._fingerprint = fingerprint
        self._settings = settings
        self._overwrite = overwrite
        self._noted = time.monotonic()
        self.at = Progress()

    def finished(self) -> dict[str, Any] | None:
        """What the whole file holds, if it is there and of this set; it is an error if it is of another."""
        if self.path.is_dir():
            raise UsageError(f"{self.path} is a directory: give --out a file")
        if self._overwrite or not self.path.exists():
            return None
        known = _read(self.about)
        if known is not None and known.get("fingerprint") == self._fingerprint:
            if known.get("bytes") == self.path.stat().st_size:
                return known
            raise UsageError(f"{self.path} is not as long as when it was written: --overwrite makes it anew")
        what = f"another enumeration{self._difference(known)}" if known else "something that qmgen did not enumerate"
        raise UsageError(f"{self.path} exists and holds {what}: choose another --out, or --overwrite")

    def __enter__(self) -> Output:
        try:
            with files.opened(self.path.parent, make=True) as folder:
                self._stream = files.open_for_writing(folder, self.partial.name, self.partial, append=True)
        except OSError as error:
            raise UsageError(f"cannot write {self.path}: {error.strerror or error}; choose another --out") from error
        try:
            fcntl.flock(self._stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._stream.close()
            raise self._busy() from None
        except OSError:
            pass  # a file system without locks: nobody can be kept out
        if not still_there(self._stream.fileno(), self.partial):  # its last writer has just given it its name
            self._stream.close()
            raise self._busy()
        self._take_up()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()

    def _difference(self, known: Mapping[str, Any]) -> str:
        """How the settings of an earlier process differ from ours, in brackets."""
        before = known.get("settings")
        if not isinstance(before, dict):  # versions that did not note them while a file grows had other default rules
            return " (by an older qmgen, which took --rules none unless given)"
        how = difference(before, self._settings)
        return f" ({how or 'the text of the rules, or the version of qmgen'})"

    def _busy(self) -> BeingWritten:
        return BeingWritten(f"another process is writing {self.path}: wait for it, or choose another --out")

    def _take_up(self) -> None:
        """Go on from what an earlier process was sure of; what it wrote after that is cut off."""
        known = None if self._overwrite else _read(self._note)
        size = os.fstat(self._stream.fileno()).st_size
        at = None if known is None else _progress(known.get("at"))
        if known is not None and known.get("fingerprint") == self._fingerprint:
            self.at = at if at is not None and at.bytes <= size else Progress()
        elif known is not None:
            raise UsageError(
                f"{self.partial} was begun with other settings{self._difference(known)}: give those, choose another "
                "--out, or --overwrite"
            )
        self._stream.truncate(self.at.bytes)
        self._stream.seek(0, os.SEEK_END)

    def write(self, smiles: list[str]) -> None:
        """Add molecules, one a line."""
        self._stream.write("".join(f"{line}\n" for line in smiles).encode())
        self.at.molecules += len(smiles)

    def reached(self, place: ResumePoint, removed: dict[str, int]) -> None:
        """All before ``place`` is written; noted now and then, or by ``note``."""
        self.at.query, self.at.item, self.at.removed = place.query, place.item, removed
        self.at.bytes = self._stream.tell()
        if time.monotonic() - self._noted >= NOTE_EVERY:
            self.note()

    def note(self) -> None:
        """Make sure of the bytes up to the last place, and write down how far that is."""
        self._stream.flush()
        os.fsync(self._stream.fileno())
        note = {"fingerprint": self._fingerprint, "settings": dict(self._settings), "at": asdict(self.at)}
        _write(self._note, json.dumps(note) + "\n")
        self._noted = time.monotonic()

    def finish(self, about: dict[str, Any]) -> None:
        """Give the whole file its name, and say beside it what it holds."""
        self._stream.flush()
        os.fsync(self._stream.fileno())
        size = os.fstat(self._stream.fileno()).st_size
        whole = {"fingerprint": self._fingerprint, "bytes": size, "sha256": _digest(self.partial), **about}
        _write(self.about, json.dumps(whole, indent=1, ensure_ascii=False) + "\n")
        os.replace(self.partial, self.path)
        self._note.unlink(missing_ok=True)


def _write(path: Path, text: str) -> None:
    files.write(path.parent, path.name, text.encode())


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return table_of(files.read(path))
    except (OSError, ValueError):
        return None


def _progress(value: Any) -> Progress | None:
    """What a note says of how far the file is; None where it is damaged."""
    try:
        found = Progress(**value)
    except TypeError:
        return None
    numbers = (found.query, found.item, found.bytes, found.molecules)
    if not isinstance(found.removed, dict) or not all(isinstance(n, int) and n >= 0 for n in numbers):
        return None
    return found if all(isinstance(n, int) for n in found.removed.values()) else None
