"""Text files: UTF-8, UTF-16 with its byte order mark, and either of them compressed by gzip."""

from __future__ import annotations

import codecs
import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TextIO, cast

#: characters of a line, or of the lines of one entry, beyond which it is no molecule: a small compressed file may hold
#: entries that fill the memory
LONGEST: Final = 10_000_000
_GZIP: Final = b"\x1f\x8b"
_UTF16: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def open_text(path: Path, newline: str | None = None) -> TextIO:
    """The text of a file, ``newline`` as of ``open``; a byte order mark is left out, broken bytes become U+FFFD.

    What the file is compressed with and written in is told by its first bytes, not by its name. Raises ``OSError``;
    reading raises ``EOFError`` or ``zlib.error`` too where a compressed file is cut or damaged.
    """
    with path.open("rb") as stream:
        zipped = stream.read(2) == _GZIP
    with gzip.open(path) if zipped else path.open("rb") as binary:
        encoding = "utf-16" if binary.read(2) in _UTF16 else "utf-8-sig"
    if zipped:
        return cast(TextIO, gzip.open(path, "rt", encoding=encoding, errors="replace", newline=newline))
    return path.open(encoding=encoding, errors="replace", newline=newline)


def read_line(stream: TextIO, most: int = LONGEST) -> str:
    """The next line with its end; "" after the last. Of a longer line the first ``most`` + 1 characters: the rest is
    read and left out, in pieces."""
    line = piece = stream.readline(most + 1)
    while len(piece) > most and not piece.endswith(("\n", "\r")):
        piece = stream.readline(most + 1)
    return line


def read_lines(stream: TextIO, most: int = LONGEST) -> Iterator[str]:
    """All lines, as ``read_line``."""
    while line := read_line(stream, most):
        yield line
