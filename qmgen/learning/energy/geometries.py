"""What a network learns the energy from: geometries alone, of files or of a corpus, whose labels are not read.

>>> read = read_geometries([Path("water.xyz")], None, level)
>>> train, validation = split(read.geometries, 0.1, "auto", seed=0)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from qmgen.corpus import SPLITS, Place, open_corpus
from qmgen.corpus.plan import hill_formula
from qmgen.dft.level import LevelOfTheory
from qmgen.errors import QmgenError, UsageError, first_line
from qmgen.labeling.level import reject
from qmgen.learning.data.splits import select
from qmgen.molecules.embedding_pool import conformers as embedded
from qmgen.molecules.geometry import symbol_of
from qmgen.molecules.readers import read_files
from qmgen.molecules.types import Conformer, Failure, Pruned, Reason

#: from so many different molecules on, whole molecules are held out
MOLECULES_APART: Final = 10
_EXAMPLES: Final = 5
_COLUMNS: Final = ("molecule_id", "conformer_id", "z", "pos", "smile", "name")

#: what was found, the split of the corpus it is in, and its place
_Item = tuple[Conformer | Failure, str, int]
By = Literal["auto", "molecules", "geometries"]


@dataclass(frozen=True)
class Geometry:
    """``numbers`` (A,) uint8, ``positions`` (A, 3) float64 in Bohr. ``smiles``, canonical, and ``name`` may be empty.

    ``source`` is the 0-based place in the files or the corpus, bad ones counted. ``split`` is that of its
    corpus, or empty.
    """

    numbers: np.ndarray
    positions: np.ndarray
    smiles: str
    name: str
    source: int
    split: str = ""

    @cached_property
    def molecule(self) -> str:
        """Which molecule it is of: the SMILES, or the formula where there is none."""
        return self.smiles or hill_formula(map(symbol_of, self.numbers.tolist()))


@dataclass(frozen=True)
class GeometrySet:
    """``skipped`` counts what cannot be used by its reason; ``examples`` are the first few of it, a line each."""

    geometries: list[Geometry]
    skipped: Counter[str]
    examples: list[str]

    @cached_property
    def digest(self) -> str:
        """What tells this set from others: SHA-256 of elements, positions and splits, in order."""
        found = sha256()
        for one in self.geometries:
            found.update(one.numbers.tobytes() + one.positions.tobytes() + one.split.encode())
        return found.hexdigest()


def read_geometries(
    files: Sequence[Path] | None,
    data: Place | None,
    level: LevelOfTheory,
    limit: int | None = None,
    seed: int = 0,
    conformers: int = 1,
    in_process: bool = False,
) -> GeometrySet:
    """The geometries of ``files``, or of the corpus ``data``: exactly one of the two is given.

    SMILES are embedded, ``conformers`` of each, as `qmgen generate` does with the same seed; geometries in files stay
    as they are. Of a corpus all splits are read, its columns of labels never. ``limit`` takes the first so many usable
    ones of files; of a corpus so many rows at random, by ``seed``. What cannot be labeled at ``level`` is skipped and
    counted. ``in_process`` embeds without protection against a molecule that hangs RDKit.

    Raises ``UsageError`` where nothing usable is found, and as ``read_molecules`` and ``open_corpus`` do.
    """
    if (files is None) == (data is None):
        raise ValueError("either files or data")
    if limit is not None and limit < 1:
        raise UsageError(f"cannot learn from {limit} geometries: ask for at least one")
    items: Iterator[_Item]
    if data is not None:
        where, items = str(data), _of_corpus(data, limit, seed)
    else:
        assert files is not None
        where, items = ", ".join(map(str, files)), _of_files(files, seed, conformers, in_process)
    geometries: list[Geometry] = []
    skipped: Counter[str] = Counter()
    examples: list[str] = []
    with closing(items):  # type: ignore[type-var]  # generators, both
        for item, split_name, place in items:
            refused = item if isinstance(item, Failure) else reject(item, level)
            if isinstance(item, Conformer) and refused is None:
                made = Geometry(item.numbers, item.positions, item.smiles, item.name, place, split_name)
                geometries.append(made)
                if limit is not None and len(geometries) == limit:
                    break
            elif refused is not None:
                skipped[refused.reason.value] += 1
                if len(examples) < _EXAMPLES:
                    what = " ".join(filter(None, (refused.name, refused.smiles)))
                    examples.append(f"entry {refused.molecule_id} {what}".rstrip() + f": {_why(refused)}")
    if not geometries:
        why = f"; {examples[0]}" if examples else ""
        raise UsageError(f"{where} holds no geometry to learn from ({skipped.total()} cannot be used{why})")
    return GeometrySet(geometries, skipped, examples)


def _why(refused: Failure) -> str:
    return f"{refused.reason.value}: {first_line(ValueError(refused.detail))}"


def _of_files(files: Sequence[Path], seed: int, conformers: int, in_process: bool) -> Iterator[_Item]:
    made = embedded(read_files(files), conformers, seed, in_process=in_process)
    with closing(made):  # type: ignore[type-var]  # ends the worker, also where no more is asked for
        place = 0
        for item in made:
            if not isinstance(item, Pruned):
                yield item, "", place
                place += 1


def _of_corpus(data: Place, limit: int | None, seed: int) -> Iterator[_Item]:
    """Rows in order, one split after the other; files are decoded piece by piece."""
    corpus = open_corpus(data)
    total = len(corpus)
    chosen = None if limit is None or limit >= total else select(total, limit, seed)
    before = 0
    try:
        for split_name in SPLITS:
            for batch in corpus.batches(split_name, _COLUMNS, rows=4096):
                rows = np.arange(batch.num_rows)
                if chosen is not None:
                    low, high = np.searchsorted(chosen, [before, before + batch.num_rows])
                    rows = chosen[low:high] - before
                for row in rows.tolist():
                    yield _conformer(batch, row), split_name, before + row
                before += batch.num_rows
    except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors
        raise QmgenError(f"{data} cannot be read ({first_line(error)}): run `qmgen verify {data}`") from error


def _conformer(batch: Any, row: int) -> Conformer | Failure:
    ids = [batch.column(name)[row].as_py() for name in _COLUMNS[:2]]
    molecule_id, conformer_id = (-1 if value is None else int(value) for value in ids)
    smiles, name = (batch.column(key)[row].as_py() or "" for key in ("smile", "name"))
    numbers, flat = (batch.column(name)[row].values for name in ("z", "pos"))
    why = ""
    if numbers is None or flat is None or numbers.null_count or flat.null_count:
        why = "an empty value in z or pos"
    elif len(flat) != 3 * len(numbers):
        why = f"{len(flat)} numbers in pos for {len(numbers)} atoms"
    if why:
        return Failure(molecule_id, conformer_id, name, smiles, Reason.BAD_COORDINATES, why)
    positions = flat.to_numpy().astype(np.float64).reshape(-1, 3)
    return Conformer(molecule_id, conformer_id, name, smiles, numbers.to_numpy().astype(np.uint8), positions)


def split(geometries: Sequence[Geometry], fraction: float, by: By, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Places in ``geometries``, sorted int64, to learn from and to validate on; the latter ``fraction`` of the units.

    Units are whole molecules, or single geometries; "auto" takes molecules from ``MOLECULES_APART`` different ones on.
    Those with the smallest hash of the seed and the molecule (or the source) are held out: at least one, never all,
    whatever their order. A corpus's own train and validation splits, where both have rows, are taken for molecules as
    they are; its test rows never come out of here. Raises ``UsageError`` where there are less than two units.
    """
    if not 0 < fraction < 1:
        raise UsageError(f"cannot hold out a share of {fraction} for validation: it must lie between 0 and 1")
    places = [place for place, geometry in enumerate(geometries) if geometry.split != "test"]
    molecules = {geometries[place].molecule for place in places}
    whole = by == "molecules" or (by == "auto" and len(molecules) >= MOLECULES_APART)
    given = {name: [p for p in places if geometries[p].split == name] for name in ("train", "validation")}
    if whole and all(given.values()) and sum(map(len, given.values())) == len(places):
        return np.array(given["train"], np.int64), np.array(given["validation"], np.int64)
    keys = {p: geometries[p].molecule if whole else f"\0{geometries[p].source}" for p in places}
    order = sorted(
        set(keys.values()), key=lambda key: (blake2b(f"{seed}\0{key}".encode(), digest_size=8).digest(), key)
    )
    if len(order) < 2:
        kind = "molecule" if whole else "geometry"
        instead = "; hold out single geometries instead" if whole and len(places) > 1 else ""
        raise UsageError(f"{len(order)} {kind} cannot be split into training and validation: give more{instead}")
    held = set(order[: min(max(1, round(fraction * len(order))), len(order) - 1)])
    train = [place for place in places if keys[place] not in held]
    return np.array(train, np.int64), np.array([place for place in places if keys[place] in held], np.int64)
