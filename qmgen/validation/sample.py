"""A seeded sample of a corpus' rows, back in atomic units, with the level of theory they claim."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from qmgen.corpus.columns import CHECKED, Column
from qmgen.corpus.reader import Corpus
from qmgen.errors import UsageError
from qmgen.validation.oracle import FUNCTIONALS, Level

_KEYS: Final = ("molecule_id", "conformer_id", "converged")
_COLUMNS: Final = ("molecule_id", "conformer_id", "smile", "z", "pos", "N")


@dataclass(frozen=True)
class Entry:
    """One row: ``numbers`` (atoms,), ``positions`` (atoms, 3) Bohr as stored; ``values`` by the names of ``CHECKED``,
    as far as the corpus has these columns: energies in Hartree, all else in the unit of the column."""

    molecule_id: int
    conformer_id: int
    smiles: str
    numbers: np.ndarray
    positions: np.ndarray
    n_orbitals: int
    values: Mapping[str, Any]

    @property
    def energy(self) -> float:
        """The total energy in Hartree."""
        return float(self.values["energy"])


@dataclass(frozen=True)
class Sample:
    """``entries`` in the order of (molecule_id, conformer_id), out of ``rows`` rows of which ``not_converged`` are
    never drawn."""

    entries: tuple[Entry, ...]
    rows: int
    not_converged: int


def level_of(corpus: Corpus) -> Level:
    """The level of theory that the files state. Raises ``UsageError`` when it is missing or PySCF cannot follow."""
    stated = corpus.level_of_theory
    missing = [key for key in ("xc", "basis", "grid_level") if key not in stated]
    if missing:
        raise UsageError(f"{corpus.place} does not state its level of theory (no {', '.join(missing)} in the metadata)")
    level = Level(str(stated["xc"]), str(stated["basis"]), int(stated["grid_level"]))
    if level.xc not in FUNCTIONALS:
        raise UsageError(
            f"{corpus.place} was made with the functional {level.xc!r}, which has no PySCF counterpart here; "
            f"known: {', '.join(FUNCTIONALS)}"
        )
    return level


def hartree_in_ev(corpus: Corpus) -> float:
    """The factor the rows were written with. Raises ``UsageError`` when the metadata do not state it."""
    factor = (corpus.metadata.get("constants") or {}).get("hartree_in_ev")
    if not isinstance(factor, float):
        raise UsageError(f"{corpus.place} does not state its constants (no hartree_in_ev in the metadata)")
    return factor


def draw(corpus: Corpus, size: int, seed: int) -> Sample:
    """``size`` converged rows of all splits (all of them where there are fewer), without replacement.

    Depends on the rows and the seed, not on how the rows lie in files. Raises ``UsageError`` when there is nothing to
    draw from.
    """
    keys = corpus.table(columns=_KEYS)
    molecules, conformers, converged = (keys[name].to_numpy() for name in _KEYS)
    order = np.lexsort((conformers, molecules))
    candidates = order[converged[order]]
    rows, usable = len(order), len(candidates)
    if not rows:
        raise UsageError(f"{corpus.place} holds no rows: its failures files say why")
    if not usable:
        raise UsageError(f"{corpus.place}: none of its {rows} rows converged, there is nothing to compare")
    drawn = np.random.default_rng(seed).permutation(usable)[:size]
    entries = _read(corpus, np.sort(candidates[drawn]), hartree_in_ev(corpus))
    entries.sort(key=lambda entry: (entry.molecule_id, entry.conformer_id))
    return Sample(tuple(entries), rows, rows - usable)


def _read(corpus: Corpus, places: np.ndarray, factor: float) -> list[Entry]:
    """The rows at ``places`` (ascending) in the order in which the corpus is read."""
    entries: list[Entry] = []
    offset = 0
    checked = {name: column for name, column in CHECKED.items() if column.name in corpus.schema.names}
    for batch in corpus.batches(columns=[*_COLUMNS, *(column.name for column in checked.values())]):
        inside = places[(places >= offset) & (places < offset + batch.num_rows)] - offset
        offset += batch.num_rows
        if len(inside):
            entries += [_entry(row, checked, factor) for row in batch.take(inside).to_pylist()]
    return entries


def _entry(row: Mapping[str, Any], checked: Mapping[str, Column], factor: float) -> Entry:
    def value(column: Column) -> Any:
        plain = row[column.name]
        if column.length:
            return np.array(plain, dtype=np.float64)
        return plain / factor if column.unit == "eV" else plain

    return Entry(
        molecule_id=row["molecule_id"],
        conformer_id=row["conformer_id"],
        smiles=row["smile"],
        numbers=np.array(row["z"], dtype=np.uint8),
        positions=np.array(row["pos"], dtype=np.float64).reshape(-1, 3),
        n_orbitals=row["N"],
        values={name: value(column) for name, column in checked.items()},
    )
