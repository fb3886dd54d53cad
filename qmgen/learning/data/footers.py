"""What the footers of a corpus say: rows, level of theory, columns; of all files, several at once, no row read."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from sys import intern

import numpy as np

from qmgen.corpus import Corpus
from qmgen.corpus.identity import difference
from qmgen.corpus.listing import Listing, parse
from qmgen.corpus.schema import canonical_json, decode
from qmgen.errors import UsageError


@dataclass(frozen=True)
class Footer:
    """``groups``: rows of each row group. ``level`` as JSON; ``columns``: names. Both are shared among files."""

    name: str
    split: str
    groups: tuple[int, ...]
    level: str
    config_hash: str
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Groups:
    """The row groups of one split in order: ``starts`` (G + 1,) are the rows before each; ``file`` and ``number``
    (G,) say where each is."""

    names: tuple[str, ...]
    starts: np.ndarray
    file: np.ndarray
    number: np.ndarray


def workers(corpus: Corpus) -> int:
    """How many files to have open at once: a store far away answers many requests in the time of one."""
    return 32 if corpus.store.local is None else min(8, os.cpu_count() or 1)


def read_footers(corpus: Corpus, names: Sequence[str] | None = None) -> list[Footer]:
    """Of all data files, or of ``names``. Raises ``UsageError`` for a file that cannot be read."""
    shared: dict[tuple[str, ...], tuple[str, ...]] = {}

    def read(name: str) -> Footer:
        with corpus.open(name) as opened:
            schema, about = opened.schema_arrow, opened.metadata
            plain = decode(schema.metadata)
            named = parse(name)
            return Footer(
                name,
                named.kind if named else "",
                tuple(about.row_group(group).num_rows for group in range(about.num_row_groups)),
                intern(canonical_json(plain.get("level_of_theory", {}))),
                intern(str(plain.get("config_hash", ""))),
                shared.setdefault(tuple(schema.names), tuple(schema.names)),
            )

    with ThreadPoolExecutor(workers(corpus)) as pool:
        return list(pool.map(read, corpus.files() if names is None else names))


def check_one_level(place: str, footers: Sequence[Footer]) -> None:
    """Raises ``UsageError`` that names two files of different levels of theory, and how they differ."""
    first = footers[0]
    for footer in footers:
        if footer.level == canonical_json({}):
            raise UsageError(
                f"{place}/{footer.name} does not say its level of theory: `qmgen generate` did not write it, or it was "
                "rewritten without its metadata"
            )
        if footer.level != first.level:
            how = difference(_read(first.level), _read(footer.level))
            raise UsageError(
                f"{place} mixes levels of theory: {first.name} and {footer.name} differ ({how}): "
                "keep one level in a directory"
            )


def check_nothing_beside(corpus: Corpus, footers: Sequence[Footer]) -> None:
    """Raises ``UsageError`` that names a Parquet file in ``data/`` which would be passed over in silence: one under a
    name that no unit has, or one of another level of theory. What a unit in the making has written may stand there."""
    listing = Listing.of(corpus.store)
    known = {footer.name for footer in footers} | set(listing.superseded())
    beside = sorted(name for name in listing.sizes if name.startswith("data/") and name not in known)
    for name in beside:
        if name.endswith(".parquet") and parse(name) is None:
            raise UsageError(
                f"{corpus.place}/{name} belongs to no work unit and would not be read: take it out, or give it to "
                "another corpus"
            )
    whole = [name for name in beside if parse(name) is not None]
    check_one_level(corpus.place, [*footers[:1], *read_footers(corpus, whole)])


def groups_of(footers: Sequence[Footer], split: str) -> Groups:
    """The row groups of a split."""
    found = [footer for footer in footers if footer.split == split]
    sizes = np.array([rows for footer in found for rows in footer.groups], np.int64)
    counts = [len(footer.groups) for footer in found]
    return Groups(
        tuple(footer.name for footer in found),
        np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)]),
        np.repeat(np.arange(len(found)), counts),
        np.concatenate([np.arange(0), *(np.arange(count) for count in counts)]),
    )


def _read(level: str) -> dict[str, object]:
    return dict(json.loads(level))
