"""What an enumeration writes: a file of SMILES that grows and survives a stop, and a sample.

A molecule that is in the file is never written twice, nor left out. While the file grows it is called ``NAME.partial``,
and ``NAME.partial.json`` says how many of its bytes are sure and where the enumeration goes on. When it is whole it
gets its own name, and ``NAME.json`` says what it holds. The same settings thus make the same bytes, however often they
were interrupted.
"""

from __future__ import annotations

import fcntl
import hashlib
import heapq
import json
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from qmgen import files
from qmgen.corpus.identity import difference
from qmgen.corpus.locks import still_there
from qmgen.documents import LARGEST, table_of
from qmgen.errors import BeingWritten, UsageError
from qmgen.molecules.selection import ResumePoint

#: seconds between two notes of how far the file is sure
NOTE_EVERY: Final = 2.0


@dataclass
class OutputPosition:
    """How far a file is: ``bytes`` of it hold ``molecules``, found before ``place``; ``removed`` by rule so far."""

    query: int = 0
    item: int = 0
    bytes: int = 0
    molecules: int = 0
    removed: dict[str, int] = field(default_factory=dict)

    @property
    def place(self) -> ResumePoint:
        return ResumePoint(self.query, self.item)


class EnumerationFile:
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
        self.at = OutputPosition()

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

    def __enter__(self) -> EnumerationFile:
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
        """How the settings of an earlier process differ from the present ones, in brackets."""
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
            self.at = at if at is not None and at.bytes <= size else OutputPosition()
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
        whole = {"fingerprint": self._fingerprint, "bytes": size, "sha256": _file_digest(self.partial), **about}
        _write(self.about, json.dumps(whole, indent=1, ensure_ascii=False) + "\n")
        os.replace(self.partial, self.path)
        self._note.unlink(missing_ok=True)


def _write(path: Path, text: str) -> None:
    files.write(path.parent, path.name, text.encode())


def _file_digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return table_of(files.read(path))
    except (OSError, ValueError):
        return None


def _progress(value: Any) -> OutputPosition | None:
    """What a note says of how far the file is; None where it is damaged."""
    try:
        found = OutputPosition(**value)
    except TypeError:
        return None
    numbers = (found.query, found.item, found.bytes, found.molecules)
    if not isinstance(found.removed, dict) or not all(isinstance(n, int) and n >= 0 for n in numbers):
        return None
    return found if all(isinstance(n, int) for n in found.removed.values()) else None


#: settings in which samples of one enumeration may differ
_OF_PARTS: Final = ("part", "sample", "limit")


def hash_rank(seed: int, smiles: str) -> int:
    """The 128-bit hash that decides about a molecule."""
    return int.from_bytes(hashlib.sha256(f"{seed}\n{smiles}".encode()).digest()[:16], "big")


class HashSample:
    """An exact sample in one pass: the ``size`` molecules of least ``hash_rank`` among those added.

    Every molecule is as likely as every other, a molecule's hash depends on nothing else, and the sample of a whole is
    found among the samples of its parts: they can be drawn on many machines and merged.
    """

    def __init__(self, size: int, seed: int) -> None:
        self._size, self._seed = size, seed
        self._heap: list[tuple[int, str]] = []  # least of -rank first: the one to go next
        self._held: set[str] = set()

    def add(self, smiles: Iterable[str]) -> None:
        """Offer molecules; one that was offered before counts once."""
        for text in smiles:
            entry = (-hash_rank(self._seed, text), text)
            if len(self._heap) == self._size and entry < self._heap[0]:
                continue
            if text in self._held:
                continue
            self._held.add(text)
            if len(self._heap) < self._size:
                heapq.heappush(self._heap, entry)
            else:
                self._held.discard(heapq.heappushpop(self._heap, entry)[1])

    def __len__(self) -> int:
        return len(self._heap)

    def ordered(self) -> list[str]:
        """By rank, least first: the first n of a sample are a sample of n."""
        return [text for _, text in sorted(self._heap, reverse=True)]


def drawn_from(name: str) -> dict[str, Any] | None:
    """The settings of the enumeration that a sample is of, but for its part and size, by the note beside it; None where
    there is none."""
    try:
        settings = table_of(files.read(Path(f"{name}.json"), LARGEST))["settings"]
        if settings["heavy_atoms"] is None and settings["formula"] is None:  # merged by a version that kept no more
            return None
        return {key: value for key, value in settings.items() if key not in _OF_PARTS}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def merged_samples(files: Iterable[str], size: int, seed: int) -> list[str]:
    """The sample of all from the samples of parts, which were drawn with this seed and at least this size.

    Raises ``UsageError`` for a file that cannot be read, or that is no sample of this seed, and for files of different
    enumerations, as far as the notes beside them say.
    """
    sample = HashSample(size, seed)
    first: tuple[str, dict[str, Any]] | None = None
    for name in files:
        settings = drawn_from(name)
        if settings is not None and first is not None and settings != first[1]:
            raise UsageError(
                f"{first[0]} and {name} are samples of different enumerations ({difference(first[1], settings)}): "
                "merge samples of one"
            )
        first = first or (None if settings is None else (name, settings))
        try:
            lines = Path(name).read_text(encoding="utf-8").split()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not UTF-8 text"
            raise UsageError(f"cannot read the sample {name}: {reason}") from None
        ranks = [hash_rank(seed, text) for text in lines]
        if ranks != sorted(ranks):
            raise UsageError(f"{name} is no sample drawn with --seed {seed}: its molecules stand in another order")
        sample.add(lines)
    return sample.ordered()
