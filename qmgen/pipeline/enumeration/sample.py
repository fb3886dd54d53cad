"""An exact sample in one pass: the molecules with the smallest hashes of seed and SMILES.

Every molecule is as likely as every other, a molecule's hash depends on nothing else, and the sample of a whole is
found among the samples of its parts: they can be drawn on many machines and merged.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable
from pathlib import Path

from qmgen.errors import UsageError


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


def merged(files: Iterable[str], size: int, seed: int) -> list[str]:
    """The sample of all from the samples of parts, which were drawn with this seed and at least this size.

    Raises ``UsageError`` for a file that cannot be read, or that is no sample of this seed.
    """
    sample = Sample(size, seed)
    for name in files:
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
