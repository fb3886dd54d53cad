"""An exact sample in one pass: the molecules with the smallest hashes of seed and SMILES.

Every molecule is as likely as every other, a molecule's hash depends on nothing else, and the sample of a whole is
found among the samples of its parts: they can be drawn on many machines and merged.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from qmgen import files
from qmgen.corpus.identity import difference
from qmgen.documents import LARGEST, table_of
from qmgen.errors import UsageError

#: settings in which samples of one enumeration may differ
_OF_PARTS: Final = ("part", "sample", "limit")


def rank(seed: int, smiles: str) -> int:
    """The 128-bit hash that decides about a molecule."""
    return int.from_bytes(hashlib.sha256(f"{seed}\n{smiles}".encode()).digest()[:16], "big")


class Sample:
    """The ``size`` molecules of least ``rank`` among those added."""

    def __init__(self, size: int, seed: int) -> None:
        self._size, self._seed = size, seed
        self._heap: list[tuple[int, str]] = []  # least of -rank first: the one to go next
        self._held: set[str] = set()

    def add(self, smiles: Iterable[str]) -> None:
        """Offer molecules; one that was offered before counts once."""
        for text in smiles:
            entry = (-rank(self._seed, text), text)
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


def merged(files: Iterable[str], size: int, seed: int) -> list[str]:
    """The sample of all from the samples of parts, which were drawn with this seed and at least this size.

    Raises ``UsageError`` for a file that cannot be read, or that is no sample of this seed, and for files of different
    enumerations, as far as the notes beside them say.
    """
    sample = Sample(size, seed)
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
        ranks = [rank(seed, text) for text in lines]
        if ranks != sorted(ranks):
            raise UsageError(f"{name} is no sample drawn with --seed {seed}: its molecules stand in another order")
        sample.add(lines)
    return sample.ordered()
