"""Which split a molecule belongs to: a seeded hash of its canonical SMILES, of its Hill formula where there is none.

The hash knows neither the machine nor the run nor any other molecule; conformers of one molecule never part. Where
stereoisomers are enumerated, the caller gives the SMILES that they share, without marks, and they do not part either.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

SPLITS: Final = ("train", "validation", "test")


@dataclass(frozen=True)
class Splitter:
    """``validation`` and ``test`` are fractions of the molecules; the rest is ``train``.

    Raises ``ValueError`` when the fractions are negative or leave nothing to train on.
    """

    seed: int = 0
    validation: float = 0.05
    test: float = 0.05

    def __post_init__(self) -> None:
        if self.validation < 0 or self.test < 0 or self.validation + self.test >= 1:
            raise ValueError("validation and test fractions must not be negative, and their sum must be less than 1")

    def split(self, smiles: str, symbols: Iterable[str]) -> str:
        """The split of a molecule, by ``smiles``, or by the formula of its element ``symbols`` if that is empty.

        The digest's first 64 bits are a number u in [0, 1): test for u < test, validation up to test + validation.
        """
        place = self.place(smiles, symbols)
        if place < self.test:
            return "test"
        return "validation" if place < self.test + self.validation else "train"

    def place(self, smiles: str, symbols: Iterable[str]) -> float:
        """The number u in [0, 1) of a molecule, which ``split`` decides by."""
        key = smiles or hill_formula(symbols)
        digest = blake2b(f"{self.seed}\0{key}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") / 2**64


def hill_formula(symbols: Iterable[str]) -> str:
    """Formula in Hill order: C, H, then the alphabet; the alphabet alone where there is no carbon. ``C2H6O``."""
    counts = Counter(symbols)
    first = ["C", "H"] if "C" in counts else []
    order = [s for s in first if s in counts] + sorted(counts.keys() - set(first))
    return "".join(f"{symbol}{counts[symbol] if counts[symbol] > 1 else ''}" for symbol in order)
