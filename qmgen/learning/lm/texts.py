"""SMILES files as sequences of token numbers, split by a hash of the text.

A ``.smi`` file has one SMILES a line, a name after white space; blank lines and ``#`` comments are skipped. Texts are
taken as they are: `qmgen enumerate` writes canonical ones. Equal texts count once.

A token is an atom, a bracket, a bond, a ring closure or a branch: the atom-wise scheme of Schwaller et al., ACS Cent.
Sci. 2019, 5, 1572 (Molecular Transformer); two-letter elements of the organic subset, brackets and two-digit ring
closures are one token.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Final

import numpy as np

from qmgen.corpus.plan import Splitter
from qmgen.errors import UsageError

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
    """A text that cannot be tokenized."""


def tokenize(smiles: str) -> list[str]:
    """The tokens of ``smiles``, which joined are the text again. Raises ``UnknownToken``."""
    tokens = _TOKEN.findall(smiles)
    if sum(map(len, tokens)) != len(smiles) or not smiles:
        end = 0
        for match in _TOKEN.finditer(smiles):
            if match.start() != end:
                break
            end = match.end()
        raise UnknownToken(f"{short(smiles)} is no SMILES: no token begins at {smiles[end : end + 8]!r}")
    return tokens


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
            return [BEGIN_ID, *(numbers[token] for token in tokenize(smiles)), END_ID]
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
    tokens: set[str] = set()
    for text in texts:
        tokens.update(tokenize(text))
    return Vocabulary((*SPECIAL, *sorted(tokens)))


#: lines that are shown with what is wrong with them
SHOWN: Final = 10
#: ranges of line numbers that are listed, of all files together
RANGES: Final = 40


@dataclass
class Unreadable:
    """Of ``lines`` with a text in all files, ``count`` cannot be tokenized. ``hint`` is what to do about them."""

    hint: str
    lines: int = 0
    count: int = 0
    reasons: list[str] = field(default_factory=list)
    _ranges: list[tuple[Path, list[int]]] = field(default_factory=list)
    _listed: int = 0

    def add(self, file: Path, line: int, reason: str) -> None:
        """The text on ``line`` (from 1) of ``file`` cannot be tokenized."""
        self.count += 1
        if len(self.reasons) < SHOWN:
            self.reasons.append(f"{file}:{line}: {reason}")
        last = self._ranges[-1] if self._ranges else None
        if last is not None and last[0] == file and last[1][1] + 1 == line and self._listed == self.count - 1:
            last[1][1] = line
        elif len(self._ranges) < RANGES:
            self._ranges.append((file, [line, line]))
        else:
            return
        self._listed = self.count

    def places(self) -> str:
        """``a.smi:3, 7-9, b.smi:1``, and how many more there are."""
        words, before = [], None
        for file, (first, last) in self._ranges:
            words.append(f"{'' if file == before else f'{file}:'}{first}{'' if first == last else f'-{last}'}")
            before = file
        more = self.count - self._listed
        return ", ".join(words) + (f" and {more} more" if more else "")

    def report(self) -> list[str]:
        """The message where all must be readable: one line for one, else a line for each of the first,
        and their numbers."""
        if self.count == 1:
            return [f"{self.reasons[0]}: {self.hint}"]
        return [
            f"{self.count} of {self.lines} lines cannot be tokenized: {self.hint}",
            *self.reasons,
            *([f"all of them: {self.places()}"] if self.count > len(self.reasons) else []),
        ]


#: which texts are held out is the same for every training
SPLIT_SEED: Final = 0
#: tokens of the enumerated molecules of nine heavy atoms, the special ones among them
USUAL: Final = 23
#: what to do about lines that cannot be tokenized, where a training reads them
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
class ReadLines:
    """``texts`` of some files, each once, in order; ``duplicates`` and ``unreadable`` ones are left out."""

    texts: list[str]
    duplicates: int
    unreadable: Unreadable


def read_lines(
    files: Sequence[Path],
    vocabulary: Vocabulary | None = None,
    skip: bool = False,
    hint: str = "mend or remove such lines",
) -> ReadLines:
    """The texts of ``files``. With ``skip`` those that cannot be tokenized, or have a token that ``vocabulary`` lacks,
    are left out; else ``hint`` says what to do about them.

    Raises ``UsageError``: no such file, or one without a text; all lines that cannot be tokenized at once.
    """
    seen: dict[str, None] = {}
    unreadable = Unreadable(hint)
    read = tokenize if vocabulary is None else vocabulary.encode
    duplicates = 0
    for file in files:
        before, bad = unreadable.lines, unreadable.count
        for number, text in _texts_of(file):
            unreadable.lines += 1
            if text in seen:
                duplicates += 1
                continue
            try:
                read(text)
                text.encode()
            except UnknownToken as error:
                unreadable.add(file, number, str(error))
                continue
            except UnicodeEncodeError:
                unreadable.add(file, number, f"{short(text)} is not UTF-8 text")
                continue
            seen[text] = None
        if unreadable.lines == before:
            raise UsageError(f"{file} has no SMILES: write one a line, with `qmgen enumerate --out`, for one")
        if skip and unreadable.lines - before == unreadable.count - bad:
            raise UsageError(f"{file} has no SMILES: none of its {unreadable.lines - before} lines can be tokenized")
    if unreadable.count and not skip:
        raise UsageError(*unreadable.report())
    return ReadLines(list(seen), duplicates, unreadable)


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
    ``limit`` are taken at random. With ``skip`` those that cannot be tokenized by ``vocabulary`` are left out.

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
