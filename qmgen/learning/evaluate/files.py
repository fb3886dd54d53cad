"""Predictions for molecules without labels: given geometries as they are, SMILES embedded as ``qmgen generate`` does.

>>> for row in predict_molecules("runs/gap9", "drugs.sdf"):
...     row.values.get("y"), row.reason
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np

from qmgen.learning.data.packed import Packed, per_atom
from qmgen.learning.evaluate.predictor import Predictor, open_predictor
from qmgen.molecules.embedding_pool import conformers
from qmgen.molecules.geometry import symbol_of
from qmgen.molecules.readers import read_molecules
from qmgen.molecules.types import Conformer, Failure, Molecule, Pruned

#: molecules predicted at once, sorted by size among each other
_WINDOW: Final = 1024


@dataclass(frozen=True)
class Prediction:
    """One molecule. ``values`` by target, float64, in the column's unit: (1,) for a scalar, (3,) for the dipole moment,
    (atoms, 3) for forces; empty where there is none, and ``reason`` says why. ``positions`` in Bohr."""

    molecule_id: int
    conformer_id: int
    name: str
    smile: str
    values: dict[str, np.ndarray] = field(default_factory=dict)
    reason: str = ""
    numbers: np.ndarray | None = None
    positions: np.ndarray | None = None


def predict_molecules(
    model: str | Path | Predictor,
    molecules: str | Path | Iterable[Molecule | Failure],
    seed: int = 0,
    in_process: bool = False,
) -> Iterator[Prediction]:
    """One ``Prediction`` for each entry of a file (or of a stream of them), in order; nothing is left out.

    Charged molecules, radicals and unreadable entries come from the readers as failures, with their reason; molecules
    with elements that the network was not trained on become such here. ``in_process`` embeds without protection against
    a molecule that hangs RDKit. Raises ``UsageError`` for no model and no file.
    """
    predictor = open_predictor(model) if isinstance(model, str | Path) else model
    entries = read_molecules(molecules) if isinstance(molecules, str | Path) else molecules
    return _predictions(predictor, conformers(entries, 1, seed, in_process=in_process))


def _predictions(predictor: Predictor, made: Iterator[Conformer | Failure | Pruned]) -> Iterator[Prediction]:
    known = set(predictor.normalisation.elements)
    while window := list(islice(made, _WINDOW)):
        rows = [_unpredicted(item, known) for item in window if not isinstance(item, Pruned)]
        places = [at for at, row in enumerate(rows) if not row.reason]
        if places:
            packed = _packed([rows[at] for at in places])
            found = predictor(packed)
            for number, at in enumerate(places):
                atoms = slice(packed.offsets[number], packed.offsets[number + 1])
                values = {name: v[atoms] if per_atom(name) else v[number] for name, v in found.items()}
                bad = [name for name, value in values.items() if not np.isfinite(value).all()]
                if bad:
                    rows[at] = replace(rows[at], reason=f"prediction of {bad[0]} is not a finite number")
                else:
                    rows[at] = replace(rows[at], values=values)
        yield from rows


def _unpredicted(item: Conformer | Failure, known: set[int]) -> Prediction:
    if isinstance(item, Failure):
        reason = f"{item.reason.value}: {item.detail}"
        return Prediction(item.molecule_id, item.conformer_id, item.name, item.smiles, reason=reason)
    strange = sorted(set(item.numbers.tolist()) - known)
    names = " ".join(map(symbol_of, strange))
    reason = f"unseen_element: the network was not trained on {names}" if strange else ""
    return Prediction(
        item.molecule_id, item.conformer_id, item.name, item.smiles, {}, reason, item.numbers, item.positions
    )


def _packed(rows: list[Prediction]) -> Packed:
    numbers = [row.numbers for row in rows if row.numbers is not None]
    positions = [row.positions for row in rows if row.positions is not None]
    return Packed(
        np.concatenate(numbers).astype(np.uint8),
        np.concatenate(positions).astype(np.float32),
        np.concatenate([[0], np.cumsum([len(n) for n in numbers])]).astype(np.int64),
        {},
        np.array([row.molecule_id for row in rows], np.int64),
        np.array([row.conformer_id for row in rows], np.int32),
        np.array([row.smile for row in rows], dtype=object),
    )


def corpus_rows(packed: Packed, values: dict[str, np.ndarray]) -> Iterator[Prediction]:
    """Rows of a corpus with their predictions, for a ``Writer``."""
    for row in range(len(packed)):
        atoms = slice(packed.offsets[row], packed.offsets[row + 1])
        found = {name: v[atoms] if per_atom(name) else v[row] for name, v in values.items()}
        smile = str(packed.smiles[row]) if len(packed.smiles) else ""
        ids = int(packed.molecule_id[row]), int(packed.conformer_id[row])
        yield Prediction(*ids, "", smile, found, "", packed.numbers[atoms], packed.positions[atoms].astype(np.float64))
