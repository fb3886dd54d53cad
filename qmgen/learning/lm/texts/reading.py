"""SMILES files as sequences of token numbers, split by a hash of the text.

A ``.smi`` file has one SMILES a line, a name after white space; blank lines and ``#`` comments are skipped. Texts are
taken as they are: `qmgen enumerate` writes canonical ones. Equal texts count once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

import numpy as np

from qmgen.corpus.splits import Splitter
from qmgen.errors import UsageError
from qmgen.learning.lm.texts.tokens import UnknownToken, Vocabulary, short, tokenise, vocabulary_of
from qmgen.learning.lm.texts.unreadable import Unreadable

#: which texts are held out is the same for every training
SPLIT_SEED: Final = 0
#: tokens of the enumerated molecules of nine heavy atoms, the special ones among them
USUAL: Final = 23
#: what to do about lines that cannot be tokenised, where a training reads them
HINT: Final = "mend or remove such lines, or leave them out with --skip-unreadable"


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
    """The texts of some files, ``duplicates`` and ``unreadable`` ones left out; ``digest`` (SHA-256) is of all that are
    here."""

    train: Sequences
    validation: Sequences
    vocabulary: Vocabulary
    duplicates: int
    unreadable: Unreadable
    digest: str


@dataclass(frozen=True)
class Lines:
    """``texts`` of some files, each once, in order; ``duplicates`` and ``unreadable`` ones are left out."""

    texts: list[str]
    duplicates: int
    unreadable: Unreadable


def read_lines(
    files: Sequence[Path],
    vocabulary: Vocabulary | None = None,
    skip: bool = False,
    hint: str = "mend or remove such lines",
) -> Lines:
    """The texts of ``files``. With ``skip`` those that cannot be tokenised, or have a token that ``vocabulary`` lacks,
    are left out; else ``hint`` says what to do about them.

    Raises ``UsageError``: no such file, or one without a text; all lines that cannot be tokenised at once.
    """
    seen: dict[str, None] = {}
    found = Unreadable(hint)
    read = tokenise if vocabulary is None else vocabulary.encode
    duplicates = 0
    for file in files:
        before, bad = found.lines, found.count
        for number, text in _texts_of(file):
            found.lines += 1
            if text in seen:
                duplicates += 1
                continue
            try:
                read(text)
                text.encode()
            except UnknownToken as error:
                found.add(file, number, str(error))
                continue
            except UnicodeEncodeError:
                found.add(file, number, f"{short(text)} is not UTF-8 text")
                continue
            seen[text] = None
        if found.lines == before:
            raise UsageError(f"{file} has no SMILES: write one a line, with `qmgen enumerate --out`, for one")
        if skip and found.lines - before == found.count - bad:
            raise UsageError(f"{file} has no SMILES: none of its {found.lines - before} lines can be tokenised")
    if found.count and not skip:
        raise UsageError(*found.report())
    return Lines(list(seen), duplicates, found)


def _texts_of(file: Path) -> Iterator[tuple[int, str]]:
    """Line numbers from 1, and the first word of each line that is neither blank nor a comment. Bytes that are not
    UTF-8 spoil a text, and not a name behind it."""
    try:
        with file.open(encoding="utf-8-sig", errors="surrogateescape") as stream:
            for number, line in enumerate(stream, 1):
                if "\0" in line:
                    raise UsageError(f"{file} is no text: give a file with one SMILES a line")
                text = line.split(maxsplit=1)[0] if line.strip() else ""
                if text and not text.startswith("#"):
                    yield number, text
    except FileNotFoundError:
        raise UsageError(f"no such file of SMILES: {file}") from None
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}") from None


def read_texts(
    files: Sequence[Path],
    validation: float,
    vocabulary: Vocabulary | None = None,
    limit: int | None = None,
    seed: int = 0,
    skip: bool = False,
) -> Texts:
    """The texts of ``files``, a share ``validation`` of them held out, the same for every ``seed``, by which at most
    ``limit`` are taken at random. With ``skip`` those that cannot be tokenised by ``vocabulary`` are left out.

    Raises ``UsageError`` as ``read_lines``, and where a side is empty.
    """
    read = read_lines(files, vocabulary, skip, HINT)
    lines = read.texts
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
    train, held_out = (encoded(sides[side], known) for side in ("train", "validation"))
    return Texts(train, held_out, known, read.duplicates, read.unreadable, digest)


def our_vocabulary(files: Sequence[Path], skip: bool = False) -> int:
    """How many tokens ``files`` have; those of molecules of C, N, O and F where there are none. Raises as
    ``read_lines``."""
    return len(vocabulary_of(read_lines(files, skip=skip, hint=HINT).texts)) if files else USUAL


def encoded(texts: Sequence[str], vocabulary: Vocabulary) -> Sequences:
    """``texts`` as numbers. Raises ``UsageError`` where ``vocabulary`` lacks a token, with how many texts have one."""
    numbers, strange = [], []
    for text in texts:
        try:
            numbers.append(vocabulary.encode(text))
        except UnknownToken as error:
            strange.append(str(error))
    if strange:
        more = f" (and {len(strange) - 1} more of {len(texts)} molecules)" if len(strange) > 1 else ""
        raise UsageError(f"{strange[0]}{more}: leave such molecules out")
    ends = np.cumsum([len(one) for one in numbers], dtype=np.int64)
    return Sequences(np.fromiter((n for one in numbers for n in one), np.int32, int(ends[-1])), ends)
