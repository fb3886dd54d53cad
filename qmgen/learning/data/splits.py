"""Which rows of a corpus a training learns from, which it is validated on, and whether a molecule is in more than one
split.

>>> division = divided(source, 0.1)
>>> division.select(1000, seed=0)          # of the training rows that are left
>>> division.validation(10_000)            # rows of the split validation, and of the split train

Training rows are the first ones of a random order that is never written down: a permutation of 0 .. total - 1 by a key,
a Feistel network on the next power of four, whose values beyond the end are sent through again until they fall within
(cycle walking). Any place of it costs the same, and no memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from qmgen.corpus.plan import Splitter
from qmgen.defaults import LARGEST_SEED
from qmgen.errors import UsageError
from qmgen.learning.data.source import RowSource

#: four are enough for a pseudo-random permutation (Luby and Rackoff 1988); small domains need some more
_ROUNDS: Final = 12


def select(total: int, count: int, seed: int) -> np.ndarray:
    """``count`` of ``total`` rows, uniformly at random: sorted, int64.

    With the same total and seed, the rows of a smaller count are among those of a larger one. Raises ``UsageError``
    when there are fewer rows than that, or none is asked for.
    """
    if count < 1:
        raise UsageError(f"cannot learn from {count:,} rows: ask for at least one")
    if count > total:
        raise UsageError(f"{count:,} rows were asked for, and there are {total:,}: ask for fewer, or for all")
    return np.sort(permute(np.arange(count, dtype=np.int64), total, seed))


def permute(places: np.ndarray, total: int, seed: int) -> np.ndarray:
    """What stands at ``places`` of the order of 0 .. total - 1 that belongs to ``seed``: int64."""
    half = max(1, -(-max(total - 1, 1).bit_length() // 2))
    # NumPy keeps the bits of SeedSequence the same for ever
    keys = np.random.SeedSequence([seed, total]).generate_state(_ROUNDS, np.uint64)
    values = np.asarray(places).astype(np.uint64)
    beyond = np.ones(len(values), bool)
    while beyond.any():
        values[beyond] = _feistel(values[beyond], half, keys)
        beyond = values >= np.uint64(total)
    return values.astype(np.int64)


def _feistel(values: np.ndarray, half: int, keys: np.ndarray) -> np.ndarray:
    """A permutation of the numbers of 2 ``half`` bits."""
    bits, mask = np.uint64(half), np.uint64((1 << half) - 1)
    left, right = values >> bits, values & mask
    for key in keys:
        left, right = right, left ^ (_mixed(right ^ key) & mask)
    return (left << bits) | right


def _mixed(values: np.ndarray) -> np.ndarray:
    """64 bits in which each depends on all of ``values``: the finalizer of SplitMix64 (Steele et al. 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


#: no corpus has this seed, so that what is held out has nothing to do with how the corpus was split
HELD_OUT_SEED: Final = LARGEST_SEED + 1
#: which validation rows, where there are more than are used: the same for all trainings
VALIDATION_SEED: Final = 0
_BATCH: Final = 65536


@dataclass(frozen=True)
class Division:
    """``kept`` and ``held_out``: numbers of rows of the split train (sorted, int64); both None where nothing is held
    out, and all are kept."""

    source: RowSource
    fraction: float | None = None
    kept: np.ndarray | None = None
    held_out: np.ndarray | None = None

    @property
    def training_rows(self) -> int:
        """Rows to learn from."""
        return self.source.count("train") if self.kept is None else len(self.kept)

    def select(self, rows: int, seed: int) -> np.ndarray:
        """As ``selection.select`` of the rows to learn from: numbers of rows of the split train."""
        chosen = select(self.training_rows, rows, seed)
        return chosen if self.kept is None else self.kept[chosen]

    def validation(self, most: int) -> list[tuple[str, np.ndarray]]:
        """The rows to validate on, ``most`` of them or all: splits, and numbers of rows of each."""
        own = self.source.count("validation")
        total = own + (0 if self.held_out is None else len(self.held_out))
        chosen = select(total, min(most, total), VALIDATION_SEED)
        cut = int(np.searchsorted(chosen, own))
        parts = [("validation", chosen[:cut])]
        if self.held_out is not None:
            parts.append(("train", self.held_out[chosen[cut:] - own]))
        return [(split, rows) for split, rows in parts if len(rows)]

    def molecules(self, most: int) -> int:
        """How many molecules ``validation(most)`` has: conformers of one tell little more than one."""
        molecule_ids: set[int] = set()
        for split, rows in self.validation(most):
            ids = [batch.column("molecule_id").to_numpy() for batch in _stream(self.source, split, ["molecule_id"])]
            molecule_ids.update(np.unique(np.concatenate(ids)[rows]).tolist())
        return len(molecule_ids)


def divided(source: RowSource, fraction: float | None) -> Division:
    """``source`` with ``fraction`` of its training molecules held out, by a seeded hash of their SMILES (of their
    formula where there is none): the same for every training, and conformers of one molecule never part.

    Raises ``UsageError`` where nothing is left to learn from or to validate on.
    """
    if fraction is None:
        source.require("train")
        if not source.count("validation"):
            raise UsageError(f"{source.lacking('validation')}; or hold out molecules with --validation-fraction 0.1")
        return Division(source)
    # kept with the source, for all trainings of a process: a look at every training row
    known: dict[float, Division] = source.__dict__.setdefault("_divisions", {})
    if fraction not in known:
        aside = _held_out(source, fraction)
        division = Division(source, fraction, np.flatnonzero(~aside), np.flatnonzero(aside))
        if not division.training_rows or not (source.count("validation") or aside.any()):
            what, do = ("left to learn from", "smaller") if aside.any() else ("held out", "larger")
            raise UsageError(
                f"{source.place}: of its {len(aside):,} training rows none is {what} with --validation-fraction "
                f"{fraction:g}: give a {do} one, or generate more molecules"
            )
        known[fraction] = division
    return known[fraction]


def _held_out(source: RowSource, fraction: float) -> np.ndarray:
    """(rows of train,) bool. Isomers that share a ``molecule_id`` follow the least of their keys' hashes."""
    splitter = Splitter(HELD_OUT_SEED, fraction, 0.0)
    ids, places = [np.zeros(0, np.int64)], [np.zeros(0)]
    for batch in _stream(source, "train", ["molecule_id", "smile", "z"]):
        ids.append(batch.column("molecule_id").to_numpy())
        names = batch.column("smile").to_pylist()
        # any names of elements do, as long as equal elements have equal ones
        bare = {row: [str(z) for z in batch.column("z")[row].as_py()] for row, name in enumerate(names) if not name}
        known: dict[str, float] = {}
        for name in names:
            if name and name not in known:
                known[name] = splitter.place(name, ())
        places.append(np.array([known[n] if n else splitter.place("", bare[row]) for row, n in enumerate(names)]))
    molecules, which = np.unique(np.concatenate(ids), return_inverse=True)
    least = np.full(len(molecules), np.inf)
    np.minimum.at(least, which, np.concatenate(places))
    return np.asarray(least[which] < fraction)


def _stream(source: RowSource, split: str, columns: list[str]) -> Iterator[Any]:
    for name in source.groups(split).names:
        with source.corpus.open(name) as opened:
            yield from opened.iter_batches(batch_size=_BATCH, columns=columns, use_threads=False)


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
    if source.count("train") <= _SOON and (leaks := leakage(source, 1)):
        one = leaks[0]
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
    leaks: list[Leak] = []
    for split in ("validation", "test"):
        columns = {name: _distinct(source, split, name) for name in _COLUMNS}
        for other, held in seen:
            for name in _COLUMNS:
                leaks += _shared(name, columns[name], held[name], (other, split))
        seen.append((split, columns))
    for batch in _stream(source, "train", _COLUMNS):
        if len(leaks) >= most:
            break
        for split, held in seen:
            for name in _COLUMNS:
                leaks += _shared(name, batch.column(name), held[name], ("train", split))
    unique = {(leak.what, leak.value, leak.splits): leak for leak in leaks}
    return list(unique.values())[:most]


def _distinct(source: RowSource, split: str, name: str) -> pa.Array:
    parts = [pc.unique(batch.column(name)) for batch in _stream(source, split, _COLUMNS)]
    kind = source.corpus.schema.field(name).type
    return pc.unique(pa.chunked_array(parts, kind))


def _shared(name: str, values: pa.Array, held: pa.Array, splits: tuple[str, str]) -> list[Leak]:
    mask = pc.is_in(values, value_set=held)
    if name == "smile":
        mask = pc.and_(mask, pc.not_equal(values, ""))
    return [Leak(name, str(value), splits) for value in np.unique(values.filter(mask).to_numpy(zero_copy_only=False))]
