"""SMILES files as sequences of token numbers, split by a hash of the text.

A ``.smi`` file has one SMILES a line, a name after white space; blank lines and ``#`` comments are skipped. Texts are
taken as they are: `qmgen enumerate` writes canonical ones. Equal texts count once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

import numpy as np

from qmgen.corpus.splits import Splitter
from qmgen.errors import UsageError
from qmgen.learning.lm.texts.tokens import UnknownToken, Vocabulary, tokenise, vocabulary_of

#: which texts are held out is the same for every training
SPLIT_SEED: Final = 0
#: tokens of the enumerated molecules of nine heavy atoms, the special ones among them
USUAL: Final = 23


@dataclass(frozen=True)
class Sequences:
    """Texts one after another: those of ``tokens`` (all, int32) from ``ends[k − 1]`` to ``ends[k]`` are text k."""

    tokens: np.ndarray
    ends: np.ndarray

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, index: int) -> np.ndarray:
        return self.tokens[self.ends[index - 1] if index else 0 : self.ends[index]]  # type: ignore[no-any-return]

    def lengths(self) -> np.ndarray:
        """(texts,) int64, begin and end counted."""
        return np.diff(self.ends, prepend=0)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Texts:
    """The texts of some files, ``duplicates`` of them left out; ``digest`` (SHA-256) is of all that are here."""

    train: Sequences
    validation: Sequences
    vocabulary: Vocabulary
    duplicates: int
    digest: str


def read_lines(files: Sequence[Path]) -> tuple[list[str], int]:
    """The texts of ``files``, each once, in order; and how many were left out as equal.

    Raises ``UsageError`` with one line: no such file, an empty one, a line that cannot be tokenised.
    """
    seen: dict[str, None] = {}
    total = 0
    for file in files:
        before = total
        try:
            with file.open(encoding="utf-8-sig") as stream:
                for number, line in enumerate(stream, 1):
                    text = line.split(maxsplit=1)[0] if line.strip() else ""
                    if not text or text.startswith("#"):
                        continue
                    total += 1
                    if text not in seen:
                        try:
                            tokenise(text)
                        except UnknownToken as error:
                            raise UsageError(f"{file}:{number}: {error}: mend or remove the line") from None
                        seen[text] = None
        except FileNotFoundError:
            raise UsageError(f"no such file of SMILES: {file}") from None
        except UnicodeDecodeError:
            raise UsageError(f"{file} is no text: give a file with one SMILES a line") from None
        except OSError as error:
            raise UsageError(f"cannot read {file}: {error.strerror}") from None
        if total == before:
            raise UsageError(f"{file} has no SMILES: write one a line, with `qmgen enumerate --out`, for one")
    return list(seen), total - len(seen)


def read_texts(
    files: Sequence[Path],
    validation: float,
    vocabulary: Vocabulary | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> Texts:
    """The texts of ``files``, a share ``validation`` of them held out, the same for every ``seed``, by which at most
    ``limit`` are taken at random.

    Raises ``UsageError`` as ``read_lines``, where ``vocabulary`` lacks a token, and where a side is empty.
    """
    lines, duplicates = read_lines(files)
    if limit is not None and limit < len(lines):
        chosen = np.sort(np.random.default_rng(seed).choice(len(lines), limit, replace=False))
        lines = [lines[k] for k in chosen]
    known = vocabulary or vocabulary_of(lines)
    splitter = Splitter(SPLIT_SEED, validation, 0.0)
    sides: dict[str, list[str]] = {"train": [], "validation": []}
    for line in lines:
        sides[splitter.split(line, ())].append(line)
    for side, texts in sides.items():
        if not texts:
            raise UsageError(f"of {len(lines)} SMILES none is for {side}: give more, or another --validation-fraction")
    digest = sha256("\n".join(lines).encode()).hexdigest()
    return Texts(encoded(sides["train"], known), encoded(sides["validation"], known), known, duplicates, digest)


def our_vocabulary(files: Sequence[Path]) -> int:
    """How many tokens ``files`` have; those of molecules of C, N, O and F where there are none. Raises as
    ``read_lines``."""
    return len(vocabulary_of(read_lines(files)[0])) if files else USUAL


def encoded(texts: Sequence[str], vocabulary: Vocabulary) -> Sequences:
    """``texts`` as numbers. Raises ``UsageError`` where ``vocabulary`` lacks a token."""
    try:
        numbers = [vocabulary.encode(text) for text in texts]
    except UnknownToken as error:
        raise UsageError(f"{error}: leave such molecules out") from None
    ends = np.cumsum([len(one) for one in numbers], dtype=np.int64)
    return Sequences(np.fromiter((n for one in numbers for n in one), np.int32, int(ends[-1])), ends)
