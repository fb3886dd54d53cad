"""How many there are: multigraphs and molecules by formula, without writing SMILES where none is needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from qmgen.molecules.enumeration.chemistry import emit_rows, stands_for_molecule
from qmgen.molecules.enumeration.items import NITRO_ATOMS, WHOLE, MultigraphBatch, Part, Query, batches
from qmgen.molecules.enumeration.pruning import NITRO, VALENCES


def formula_text(atoms: dict[str, int], hydrogens: int) -> str:
    """A formula in Hill's order: C, H, then the others by the alphabet; all by the alphabet if there is no carbon."""
    counts = {**atoms, "H": hydrogens}
    order = sorted(counts)
    if counts.get("C"):
        order = ["C", "H", *(symbol for symbol in order if symbol not in "CH")]
    return "".join(f"{symbol}{counts[symbol] if counts[symbol] > 1 else ''}" for symbol in order if counts.get(symbol))


def formulas(batch: MultigraphBatch) -> tuple[list[str], np.ndarray]:
    """The formulas in a batch, and for each row (k,) int64 the index of its own."""
    symbols = list(VALENCES)
    atoms = np.zeros((len(batch), len(symbols) + 1), np.int64)
    for code, symbol in enumerate(batch.symbols):
        number = (batch.elements == code).sum(axis=1)
        for inside, count in (NITRO_ATOMS if symbol == NITRO else {symbol: 1}).items():
            atoms[:, symbols.index(inside)] += count * number
    atoms[:, -1] = batch.hydrogens()
    kinds, index = np.unique(atoms, axis=0, return_inverse=True)
    return [formula_text(dict(zip(symbols, kind)), kind[-1]) for kind in kinds.tolist()], index.ravel()


def count(query: Query, part: Part = WHOLE, keep: Callable[[Any], bool] | None = None) -> dict[str, tuple[int, int]]:
    """For each formula the number of multigraphs and of molecules, in the order in which formulas are met.

    With ``keep`` (see ``emit``) the molecules that it keeps are counted; without, RDKit is asked only where aromatic
    bonds are possible.
    """
    found: dict[str, tuple[int, int]] = {}
    for batch in batches(query, part):
        names, index = formulas(batch)
        own = np.flatnonzero(stands_for_molecule(batch)) if keep is None else [row for row, _ in emit_rows(batch, keep)]
        multigraphs = np.bincount(index, minlength=len(names)).tolist()
        molecules = np.bincount(index[own], minlength=len(names)).tolist()
        for name, graphs, kept in zip(names, multigraphs, molecules):
            before = found.get(name, (0, 0))
            found[name] = (before[0] + graphs, before[1] + kept)
    return found
