"""The rows of a corpus by number, checked: what training and evaluation read from.

>>> source = open_rows("gap9", targets_of(["y"]))
>>> source.count("train")
>>> source.read("train", np.array([3, 10_000_000]))      # opens the two row groups that hold them

The footers are read when a corpus is opened, of all files, several at once: rows, level of theory, columns.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from sys import intern
from typing import Any, Final

import numpy as np
import pyarrow as pa

from qmgen.corpus import SPLITS, Corpus, Place, open_corpus
from qmgen.corpus.identity import difference
from qmgen.corpus.plan import Listing, parse
from qmgen.corpus.schema import canonical_json, decode
from qmgen.errors import QmgenError, UsageError
from qmgen.learning.data.packed import Packed, concatenate, per_atom
from qmgen.learning.targets import TARGETS, Kind, Target


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
    chosen = [footer for footer in footers if footer.split == split]
    sizes = np.array([rows for footer in chosen for rows in footer.groups], np.int64)
    counts = [len(footer.groups) for footer in chosen]
    return Groups(
        tuple(footer.name for footer in chosen),
        np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)]),
        np.repeat(np.arange(len(chosen)), counts),
        np.concatenate([np.arange(0), *(np.arange(count) for count in counts)]),
    )


def _read(level: str) -> dict[str, object]:
    return dict(json.loads(level))


#: rows decoded at once
_STEP = 65536


@dataclass(frozen=True)
class RowSource:
    """A corpus as it was when it was opened: units that are finished later are not seen."""

    corpus: Corpus
    targets: tuple[Target, ...]
    footers: tuple[Footer, ...]

    @property
    def level_of_theory(self) -> dict[str, Any]:
        """That of all files."""
        return self.corpus.level_of_theory

    @property
    def place(self) -> str:
        """Where the corpus lies, for messages."""
        return self.corpus.place

    @cached_property
    def digest(self) -> str:
        """What rows these are: names, rows and configuration of all files; equal as long as the corpus is."""
        total = sha256()
        for footer in self.footers:
            total.update(f"{footer.name}\0{footer.groups}\0{footer.config_hash}\n".encode())
        return total.hexdigest()

    def count(self, split: str) -> int:
        """Rows of a split."""
        return int(self.groups(split).starts[-1])

    def groups(self, split: str) -> Groups:
        """The row groups of a split. Raises ``UsageError`` for a split that is none."""
        if split not in SPLITS:
            raise UsageError(f"no split is called {split!r}: choose from {', '.join(SPLITS)}")
        return self._groups[split]

    def require(self, split: str) -> None:
        """Raises ``UsageError`` where a split has no rows, with ``lacking``."""
        if not self.count(split):
            raise UsageError(self.lacking(split))

    def lacking(self, split: str) -> str:
        """What to say where a split has no rows: how the corpus was split, and what to do."""
        counts = ", ".join(f"{self.count(name):,} in {name}" for name in SPLITS)
        recipe = self.corpus.metadata.get("recipe", {})
        keys = ("validation_fraction", "test_fraction")
        how = ", ".join(f"{key} = {recipe[key]}" for key in keys if key in recipe)
        return (
            f"{self.place} has no rows in {split} ({counts}{f'; {how}' if how else ''}): generate more molecules, or "
            "another corpus with larger validation_fraction and test_fraction in its TOML file"
        )

    def read(self, split: str, indices: np.ndarray | None = None, smiles: bool = True) -> Packed:
        """The rows of a split with these numbers (0-based, in any order; all where None), in their order.

        Raises ``QmgenError`` on a value that no row of a corpus may have (see ``packed_of``), with its file, ids and
        column; ``IndexError`` beyond the last row.
        """
        wanted = np.arange(self.count(split)) if indices is None else np.asarray(indices, np.int64)
        if len(wanted) and not 0 <= wanted.min() <= wanted.max() < self.count(split):
            raise IndexError(f"{split} has {self.count(split)} rows")
        order = np.argsort(wanted, kind="stable")
        ordered = wanted[order]
        if np.array_equal(ordered, wanted):
            return self._read_sorted(split, ordered, smiles)
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        return self._read_sorted(split, ordered, smiles).take(back)

    def _read_sorted(self, split: str, wanted: np.ndarray, smiles: bool) -> Packed:
        groups = self.groups(split)
        holders = np.searchsorted(groups.starts, wanted, side="right") - 1
        cuts = np.flatnonzero(np.diff(holders)) + 1

        def one(rows: np.ndarray) -> list[Packed]:
            group = int(np.searchsorted(groups.starts, rows[0], side="right")) - 1
            return self._read_group(groups, group, rows - groups.starts[group], smiles)

        if not len(wanted):
            return self._empty(smiles)
        with ThreadPoolExecutor(workers(self.corpus)) as pool:
            return concatenate([part for parts in pool.map(one, np.split(wanted, cuts)) for part in parts])

    def _read_group(self, groups: Groups, group: int, rows: np.ndarray, smiles: bool) -> list[Packed]:
        """``rows`` (sorted, 0-based in the row group), a part of them for each piece that was decoded."""
        name = groups.names[groups.file[group]]
        parts: list[Packed] = []
        before = 0
        with self.corpus.open(name) as opened:
            names, number = columns_of(self.targets, smiles), int(groups.number[group])
            try:
                pieces = opened.iter_batches(_STEP, row_groups=[number], columns=names, use_threads=False)
                for batch in pieces:
                    low, high = np.searchsorted(rows, [before, before + batch.num_rows])
                    here = rows[low:high] - before
                    if len(here):
                        every = len(here) == batch.num_rows and here[-1] == batch.num_rows - 1 and here[0] == 0
                        every = every and bool(np.all(np.diff(here) == 1))

                        def complain(row: int, column: str, what: str, batch: Any = batch) -> QmgenError:
                            ids = [batch.column(key)[row].as_py() for key in ("molecule_id", "conformer_id")]
                            return QmgenError(
                                f"{self.place}/{name}: column {column} {what} (molecule_id {ids[0]}, conformer_id "
                                f"{ids[1]}): `qmgen generate` writes no such row; take it out, or the unit's "
                                "files and generate them anew"
                            )

                        parts.append(packed_of(batch, self.targets, None if every else here, complain))
                    before += batch.num_rows
            except (OSError, pa.ArrowException) as error:
                raise QmgenError(
                    f"{self.place}/{name} cannot be read ({str(error).splitlines()[0]}): run `qmgen verify "
                    f"{self.place}`, which says what is damaged"
                ) from error
        if before != groups.starts[group + 1] - groups.starts[group]:
            raise QmgenError(f"{self.place}/{name} changed while it was being read: start again")
        return parts

    def _empty(self, smiles: bool) -> Packed:
        schema = self.corpus.schema
        names = columns_of(self.targets, smiles)
        batch = pa.RecordBatch.from_arrays(
            [pa.array([], schema.field(name).type) for name in names],
            schema=pa.schema([schema.field(n) for n in names]),
        )
        return packed_of(batch, self.targets, None, lambda row, column, what: QmgenError(what))

    @cached_property
    def _groups(self) -> dict[str, Groups]:
        return {split: groups_of(self.footers, split) for split in SPLITS}


def open_rows(place: Place, targets: Iterable[Target], splits: Iterable[str] = ("train", "validation")) -> RowSource:
    """The rows of the corpus at ``place`` with the columns of ``targets``; the footers are read, and no row.

    Raises ``UsageError`` where there is no corpus, a target's column is missing, files are of different levels of
    theory, or one of ``splits`` has no rows.
    """
    chosen = tuple(targets)
    corpus = open_corpus(place)
    footers = tuple(read_footers(corpus))
    if not footers:
        raise UsageError(f"{corpus.place} holds no finished work unit yet: wait for the first, then start again")
    check_one_level(corpus.place, footers)
    check_nothing_beside(corpus, footers)
    for footer in footers:
        lacking = [target.column for target in chosen if target.column not in footer.columns]
        if lacking:
            there = ", ".join(name for name, target in TARGETS.items() if target.column in footer.columns)
            raise UsageError(
                f"{corpus.place}/{footer.name} has no column {lacking[0]}: choose --target from {there}, or a corpus "
                f"that has {lacking[0]}"
            )
        if lacking := [name for name in columns_of(chosen, smiles=True) if name not in footer.columns]:
            raise UsageError(
                f"{corpus.place}/{footer.name} has no column {lacking[0]}, which every corpus of `qmgen generate` has: "
                "make it anew, or give another --data"
            )
    source = RowSource(corpus, chosen, footers)
    for split in splits:
        source.require(split)
    return source


#: atomic numbers beyond have no embedding: rows 0 (padding) to 99, as PyTorch Geometric's SchNet
LARGEST_NUMBER: Final = 99
#: gives the error for a row (0-based, of this batch) of a column, and what is wrong with it
Complaint = Callable[[int, str, str], QmgenError]


def columns_of(targets: tuple[Target, ...], smiles: bool) -> list[str]:
    """The columns of a file that ``packed_of`` needs."""
    names = ["molecule_id", "conformer_id", "z", "pos", "converged", *(target.column for target in targets)]
    return names + ["smile"] if smiles else names


def packed_of(
    batch: pa.RecordBatch, targets: tuple[Target, ...], wanted: np.ndarray | None, complain: Complaint
) -> Packed:
    """The rows ``wanted`` (0-based; all where None) of ``batch``, which holds ``columns_of(targets, ...)``.

    Raises what ``complain`` makes of an empty value, and of lists that do not fit z, in any row of the batch; in the
    wanted rows, of a number that is not finite, no or an unknown element, and a label that has not converged.
    """
    for name in batch.schema.names:
        nulls = batch.column(name)
        if nulls.null_count:
            raise complain(int(np.argmax(nulls.is_null().to_numpy(zero_copy_only=False))), name, "is empty")
    offsets, numbers = _flat(batch, "z", complain)
    sizes = np.diff(offsets)
    if len(sizes) and sizes.min() < 1:
        raise complain(int(np.argmin(sizes)), "z", "holds no atom")
    values: dict[str, np.ndarray] = {}
    for target in targets:
        if target.kind is Kind.SCALAR:
            values[target.name] = batch.column(target.column).to_numpy().astype(np.float64)[:, None]
        else:
            fitting = 3 * sizes if target.kind is Kind.FORCES else np.full(len(sizes), 3)
            values[target.name] = _threes(batch, target.column, fitting, complain).astype(np.float64)
    packed = Packed(
        numbers,
        _threes(batch, "pos", 3 * sizes, complain),
        offsets,
        values,
        batch.column("molecule_id").to_numpy(),
        batch.column("conformer_id").to_numpy(),
        batch.column("smile").to_numpy(zero_copy_only=False) if "smile" in batch.schema.names else np.array([], object),
    )
    converged = batch.column("converged").to_numpy(zero_copy_only=False)
    rows = np.arange(len(packed)) if wanted is None else wanted
    if wanted is not None:
        packed = packed.take(wanted)

    def refuse(where: np.ndarray, name: str, what: str, of_atoms: bool) -> None:
        if where.any():
            first = int(np.argmax(where))
            row = int(np.searchsorted(packed.offsets, first, side="right")) - 1 if of_atoms else first
            raise complain(int(rows[row]), name, what)

    # qmgen writes only what has converged: a row that has not is another's, or damage, and nothing to learn from
    refuse(~converged[rows], "converged", "is false", False)
    refuse(packed.numbers == 0, "z", "holds an atom of number 0", True)
    refuse(packed.numbers > LARGEST_NUMBER, "z", f"holds an atomic number above {LARGEST_NUMBER}", True)
    refuse(~np.isfinite(packed.positions).all(axis=1), "pos", "holds a number that is not finite", True)
    for target in targets:
        array = packed.values[target.name]
        bad = ~np.isfinite(array).all(axis=1)
        refuse(bad, target.column, "holds a number that is not finite", per_atom(target.name))
    return packed


def _flat(batch: pa.RecordBatch, name: str, complain: Complaint) -> tuple[np.ndarray, np.ndarray]:
    """(rows + 1,) int64 offsets from 0, and the values that they cut."""
    column = batch.column(name)
    offsets = column.offsets.to_numpy().astype(np.int64)
    values = column.flatten()
    if values.null_count:
        at = int(np.argmax(values.is_null().to_numpy(zero_copy_only=False)))
        raise complain(int(np.searchsorted(offsets - offsets[0], at, side="right")) - 1, name, "holds an empty value")
    return offsets - offsets[0], values.to_numpy()


def _threes(batch: pa.RecordBatch, name: str, fitting: np.ndarray, complain: Complaint) -> np.ndarray:
    """(values / 3, 3): the values of a column whose lists must have the lengths ``fitting``."""
    offsets, values = _flat(batch, name, complain)
    lengths = np.diff(offsets)
    wrong = lengths != fitting
    if wrong.any():
        row = int(np.argmax(wrong))
        raise complain(row, name, f"holds {lengths[row]} numbers where {fitting[row]} belong")
    return values.reshape(-1, 3)
