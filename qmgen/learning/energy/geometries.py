"""The geometries that an energy is learnt from: from files or a corpus, without a label, some of them held out."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from qmgen.corpus.reader import open_corpus
from qmgen.corpus.splits import hill_formula
from qmgen.errors import UsageError
from qmgen.labeling.level import Level
from qmgen.labeling.screening import reject
from qmgen.learning.evaluate.files import read_files
from qmgen.molecules.elements import symbol_of
from qmgen.molecules.embedding_pool import conformers
from qmgen.molecules.types import Conformer, Failure, Pruned

#: with as many different molecules, ``auto`` holds out whole ones
MANY: Final = 10
#: refused entries that are kept to be shown
SHOWN: Final = 5
_COLUMNS: Final = ("smile", "z", "pos", "molecule_id", "conformer_id", "name")

HeldOut = Literal["auto", "molecules", "geometries"]


@dataclass(frozen=True)
class Geometry:
    """``numbers`` (A,) uint8, ``positions`` (A, 3) float64 in Bohr; ``smiles`` and ``name`` may be empty; ``source``
    is its 0-based place; ``split`` that of a corpus, else empty."""

    numbers: np.ndarray
    positions: np.ndarray
    smiles: str
    name: str
    source: int
    split: str = ""

    @property
    def molecule(self) -> str:
        """What tells molecules apart: the SMILES, or the formula where there is none."""
        return self.smiles or hill_formula(symbol_of(int(z)) for z in self.numbers)


@dataclass(frozen=True)
class Read:
    """Geometries, how many entries were skipped by reason, and the first of these; ``digest`` tells sets apart."""

    geometries: list[Geometry]
    skipped: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    digest: str = ""


def read_geometries(
    files: Sequence[str] | None,
    data: Path | str | None,
    level: Level,
    limit: int | None = None,
    seed: int = 0,
    count: int = 1,
) -> Read:
    """All geometries of ``files`` (SMILES are embedded, ``count`` conformers each) or of the corpus ``data``.

    What has no energy at this level (unreadable, charged, radicals, unknown elements, coincident atoms) is skipped and
    counted. Raises ``UsageError`` with one line where nothing is left.
    """
    found: Iterator[tuple[Conformer | Failure, str]]
    if data is not None:
        found = _of_corpus(data)
    else:
        made = conformers(read_files(files or []), count, seed)
        found = ((item, "") for item in made if not isinstance(item, Pruned))
    geometries: list[Geometry] = []
    skipped: Counter[str] = Counter()
    examples: list[str] = []
    digest = hashlib.sha256()
    for place, (item, where) in enumerate(islice(found, limit)):
        failure = item if isinstance(item, Failure) else reject(item, level)
        if failure is not None or isinstance(item, Failure):
            skipped[failure.reason.value] += 1  # type: ignore[union-attr]
            if len(examples) < SHOWN:
                examples.append(f"{place} {failure.smiles or failure.name}: {failure.reason.value}")  # type: ignore[union-attr]
            continue
        positions = np.ascontiguousarray(item.positions, np.float64)
        digest.update(item.numbers.astype(np.uint8).tobytes() + positions.tobytes() + where.encode())
        geometries.append(Geometry(item.numbers.astype(np.uint8), positions, item.smiles, item.name, place, where))
    if not geometries:
        why = ", ".join(f"{count} {reason}" for reason, count in skipped.most_common(3)) or "no entries"
        raise UsageError(f"no geometry to learn from ({why}): give others")
    return Read(geometries, skipped, examples, digest.hexdigest())


def split(
    geometries: Sequence[Geometry], fraction: float, by: HeldOut = "auto", seed: int = 0
) -> tuple[list[int], list[int]]:
    """Indices to train on, and of those held out, both in a seeded order.

    A corpus' own split stands. Else whole ``molecules`` are held out, or ``geometries`` of any; ``auto`` takes
    molecules where there are ten different ones. Neither side is empty. Raises ``UsageError`` where that cannot be.
    """
    order = sorted(range(len(geometries)), key=lambda k: _draw(seed, "order", geometries[k]))
    if any(one.split for one in geometries):
        held = {k for k in order if geometries[k].split == "validation"}
        used = [k for k in order if geometries[k].split in ("train", "validation")]
        if not held or len(held) == len(used):
            raise UsageError("this corpus has no training or no validation molecules: give it a validation_fraction")
        return [k for k in used if k not in held], [k for k in used if k in held]
    molecules = {one.molecule for one in geometries}
    whole = by == "molecules" or (by == "auto" and len(molecules) >= MANY)
    keys = {k: geometries[k].molecule if whole else _geometry_key(geometries[k]) for k in order}
    units = sorted(set(keys.values()), key=lambda key: _hash(seed, "held out", key))
    if len(units) < 2:
        what = "molecules" if whole else "geometries"
        raise UsageError(f"there is nothing to hold out: give at least two different {what}, or another --held-out")
    count = min(max(round(fraction * len(units)), 1), len(units) - 1)
    held_units = set(units[:count])
    return [k for k in order if keys[k] not in held_units], [k for k in order if keys[k] in held_units]


def _hash(*words: Any) -> bytes:
    return hashlib.sha256("\0".join(map(str, words)).encode()).digest()


def _geometry_key(one: Geometry) -> str:
    return hashlib.sha256(one.numbers.tobytes() + one.positions.tobytes()).hexdigest()


def _draw(seed: int, purpose: str, one: Geometry) -> tuple[bytes, int]:
    return _hash(seed, purpose, _geometry_key(one)), one.source


def _of_corpus(data: Path | str) -> Iterator[tuple[Conformer, str]]:
    """The geometries of a corpus; none of its labels are read."""
    corpus = open_corpus(data)
    for where in ("train", "validation"):
        for batch in corpus.batches(where, _COLUMNS):
            for row in batch.to_pylist():
                numbers = np.array(row["z"], np.uint8)
                positions = np.array(row["pos"], np.float64).reshape(-1, 3)
                yield (
                    Conformer(
                        row["molecule_id"], row["conformer_id"], row["name"] or "", row["smile"], numbers, positions
                    ),
                    where,
                )
