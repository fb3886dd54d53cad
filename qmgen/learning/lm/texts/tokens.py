"""SMILES as tokens: an atom, a bracket, a bond, a ring closure or a branch each.

The scheme is the atom-wise one of Schwaller et al., ACS Cent. Sci. 2019, 5, 1572 (Molecular Transformer): two-letter
elements of the organic subset, brackets and two-digit ring closures are one token.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

PAD: Final = "<pad>"
BEGIN: Final = "<bos>"
END: Final = "<eos>"
SPECIAL: Final = (PAD, BEGIN, END)
#: their places in every vocabulary
PAD_ID, BEGIN_ID, END_ID = range(3)

_TOKEN: Final = re.compile(r"\[[^\[\]]+\]|Br|Cl|%\d\d|[BCNOSPFIbcnops]|[()=#$:.\-+/\\~*@?>]|\d")


#: characters of a text that a message quotes
_QUOTED: Final = 80


class UnknownToken(ValueError):
    """A text that cannot be tokenised."""


def tokenise(smiles: str) -> list[str]:
    """The tokens of ``smiles``, which joined are the text again. Raises ``UnknownToken``."""
    found = _TOKEN.findall(smiles)
    if sum(map(len, found)) != len(smiles) or not smiles:
        end = 0
        for match in _TOKEN.finditer(smiles):
            if match.start() != end:
                break
            end = match.end()
        raise UnknownToken(f"{short(smiles)} is no SMILES: no token begins at {smiles[end : end + 8]!r}")
    return found


def short(text: str) -> str:
    """``text`` as it is quoted in messages: on one line, and not all of it where it is long."""
    return repr(text) if len(text) <= _QUOTED else f"{text[: _QUOTED - 3] + '...'!r} ({len(text)} characters)"


@dataclass(frozen=True)
class Vocabulary:
    """``tokens``, the special ones first; a token's number is its place."""

    tokens: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.tokens[: len(SPECIAL)] != SPECIAL or len(set(self.tokens)) != len(self.tokens):
            raise ValueError(f"a vocabulary begins with {', '.join(SPECIAL)}, and has each token once")
        object.__setattr__(self, "_numbers", {token: number for number, token in enumerate(self.tokens)})

    def __len__(self) -> int:
        return len(self.tokens)

    def encode(self, smiles: str) -> list[int]:
        """The numbers of its tokens, between begin and end. Raises ``UnknownToken``."""
        numbers: dict[str, int] = self._numbers  # type: ignore[attr-defined]
        try:
            return [BEGIN_ID, *(numbers[token] for token in tokenise(smiles)), END_ID]
        except KeyError as error:
            lacking = short(error.args[0])
            raise UnknownToken(f"{short(smiles)} has a token that the vocabulary lacks: {lacking}") from None

    def decode(self, numbers: Sequence[int]) -> str:
        """The text between begin and the first end."""
        words = []
        for number in numbers:
            if number == END_ID:
                break
            if number >= len(SPECIAL):
                words.append(self.tokens[number])
        return "".join(words)


def vocabulary_of(texts: Iterable[str]) -> Vocabulary:
    """All tokens in ``texts``, in alphabetical order after the special ones. Raises ``UnknownToken``."""
    found: set[str] = set()
    for text in texts:
        found.update(tokenise(text))
    return Vocabulary((*SPECIAL, *sorted(found)))
