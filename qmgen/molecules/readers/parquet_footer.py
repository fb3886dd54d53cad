"""What the footer of a Parquet file states about its row groups, read without pyarrow.

pyarrow gives the same counts, but a damaged footer ends the process there (an exception of C++ in
``ColumnChunkMetaData`` is not caught, in pyarrow 26 too), and the counts are needed before anything is decoded.

Format: apache/parquet-format, ``parquet.thrift``, in Thrift's compact protocol.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

_MAGIC: Final = b"PAR1"
_DEEPEST: Final = 16
#: the types of Thrift's compact protocol
_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = 1, 2, 3, 7, 8, 9, 10, 11, 12
_WHOLE: Final = (4, 5, 6)


class BrokenFooter(ValueError):
    """The bytes at the end of the file are no footer."""


@dataclass(frozen=True)
class ColumnChunk:
    """One column of a row group: ``path`` in the schema; ``values``, those of lists each counted; ``bytes_whole``
    before compression and ``bytes_stored``."""

    path: tuple[str, ...]
    values: int
    bytes_whole: int
    bytes_stored: int


@dataclass(frozen=True)
class RowGroup:
    """``rows`` and columns of one row group."""

    rows: int
    columns: tuple[ColumnChunk, ...]


def row_groups(path: Path) -> list[RowGroup]:
    """The row groups that the footer lists. Raises ``BrokenFooter``; and ``OSError`` as files do."""
    with path.open("rb") as stream:
        size = stream.seek(0, 2)
        stream.seek(max(size - 8, 0))
        tail = stream.read(8)
        length = int.from_bytes(tail[:4], "little")
        if tail[4:] != _MAGIC or length > size - 8:
            raise BrokenFooter("the footer is cut off")
        stream.seek(size - 8 - length)
        footer = stream.read(length)
    try:
        return [_row_group(group) for group in _Compact(footer).struct()[4]]
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise BrokenFooter(f"the footer lacks what it must state ({type(error).__name__})") from None


def _row_group(group: Any) -> RowGroup:
    return RowGroup(_count(group[3]), tuple(_chunk(chunk[3]) for chunk in group[1]))


def _chunk(about: Any) -> ColumnChunk:
    path = tuple(part.decode(errors="replace") for part in about[3])
    return ColumnChunk(path, _count(about[5]), _count(about[6]), _count(about[7]))


def _count(value: Any) -> int:
    if not isinstance(value, int) or value < 0:
        raise BrokenFooter("the footer states a negative count")
    return value


class _Compact:
    """A reader of Thrift's compact protocol: structs become dicts by the numbers of their fields."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def struct(self, depth: int = 0) -> dict[int, Any]:
        if depth > _DEEPEST:
            raise BrokenFooter("the footer is nested too deeply")
        fields: dict[int, Any] = {}
        number = 0
        while header := self._byte():
            step, kind = header >> 4, header & 15
            number = number + step if step else self._whole()
            fields[number] = kind == _TRUE if kind in (_TRUE, _FALSE) else self._value(kind, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        if kind in _WHOLE:
            return self._whole()
        if kind == _BINARY:
            return self._take(self._varint())
        if kind == _STRUCT:
            return self.struct(depth + 1)
        if kind in (_LIST, _SET):
            header = self._byte()
            count = header >> 4 if header >> 4 < 15 else self._varint()
            if count > len(self._data) or depth > _DEEPEST:
                raise BrokenFooter("the footer states a list that is longer than itself")
            return [self._element(header & 15, depth + 1) for _ in range(count)]
        if kind == _MAP:
            count = self._varint()
            kinds = self._byte() if count else 0
            if count > len(self._data) or depth > _DEEPEST:
                raise BrokenFooter("the footer states a map that is longer than itself")
            return [(self._element(kinds >> 4, depth + 1), self._element(kinds & 15, depth + 1)) for _ in range(count)]
        return self._element(kind, depth)

    def _element(self, kind: int, depth: int) -> Any:
        if kind in (_TRUE, _FALSE, _BYTE):
            return self._byte()
        if kind == _DOUBLE:
            return self._take(8)
        if kind in (*_WHOLE, _BINARY, _LIST, _SET, _MAP, _STRUCT):
            return self._value(kind, depth)
        raise BrokenFooter(f"the footer holds a value of kind {kind}, which there is not")

    def _take(self, count: int) -> bytes:
        taken = self._data[self._at : self._at + count]
        if len(taken) != count:
            raise BrokenFooter("the footer ends too early")
        self._at += count
        return taken

    def _byte(self) -> int:
        return self._take(1)[0]

    def _varint(self) -> int:
        number = 0
        for shift in range(0, 70, 7):
            byte = self._byte()
            number |= (byte & 127) << shift
            if byte < 128:
                return number
        raise BrokenFooter("the footer holds a number of more than 64 bits")

    def _whole(self) -> int:
        number = self._varint()
        return (number >> 1) ^ -(number & 1)
