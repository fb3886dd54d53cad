"""Whether a molecule is in more than one split: by its id and by its SMILES, the training split read as a stream."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from qmgen.errors import UsageError
from qmgen.learning.data.source import RowSource

_COLUMNS = ["molecule_id", "smile"]


@dataclass(frozen=True)
class Leak:
    """A molecule that is in two splits: ``what`` is "molecule_id" or "smile", ``value`` the one they share."""

    what: str
    value: str
    splits: tuple[str, str]


#: training rows up to which splits are compared before every training: a second or two
_SOON: Final = 1_000_000


def check_splits(source: RowSource) -> None:
    """Raises ``UsageError`` where a molecule is in two splits; corpora of more than a million training rows are left to
    whoever made them."""
    if source.count("train") <= _SOON and (found := leakage(source, 1)):
        one = found[0]
        raise UsageError(
            f"{source.place}: {one.what} {one.value} is in {one.splits[0]} and in {one.splits[1]}, so that errors "
            "would be those of molecules seen in training: split the corpus by molecule"
        )


def leakage(source: RowSource, most: int = 10) -> list[Leak]:
    """Up to ``most`` molecules that more than one split holds; none where the corpus is sound.

    Memory holds the ids and SMILES of validation and test, and a batch of the training rows. An empty SMILES (a bare
    geometry) says nothing. Molecules that are merely alike are not looked for. Raises ``UsageError`` for a file that
    cannot be read.
    """
    seen: list[tuple[str, dict[str, pa.Array]]] = []
    found: list[Leak] = []
    for split in ("validation", "test"):
        columns = {name: _distinct(source, split, name) for name in _COLUMNS}
        for other, held in seen:
            for name in _COLUMNS:
                found += _shared(name, columns[name], held[name], (other, split))
        seen.append((split, columns))
    for batch in _stream(source, "train"):
        if len(found) >= most:
            break
        for split, held in seen:
            for name in _COLUMNS:
                found += _shared(name, batch.column(name), held[name], ("train", split))
    unique = {(leak.what, leak.value, leak.splits): leak for leak in found}
    return list(unique.values())[:most]


def _stream(source: RowSource, split: str) -> Iterator[pa.RecordBatch]:
    for name in source.groups(split).names:
        with source.corpus.open(name) as opened:
            yield from opened.iter_batches(batch_size=65536, columns=_COLUMNS, use_threads=False)


def _distinct(source: RowSource, split: str, name: str) -> pa.Array:
    parts = [pc.unique(batch.column(name)) for batch in _stream(source, split)]
    kind = source.corpus.schema.field(name).type
    return pc.unique(pa.chunked_array(parts, kind))


def _shared(name: str, values: pa.Array, held: pa.Array, splits: tuple[str, str]) -> list[Leak]:
    mask = pc.is_in(values, value_set=held)
    if name == "smile":
        mask = pc.and_(mask, pc.not_equal(values, ""))
    return [Leak(name, str(value), splits) for value in np.unique(values.filter(mask).to_numpy(zero_copy_only=False))]
