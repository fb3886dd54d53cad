"""The molecules of a batch without a rule set, for the tests of the enumeration."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from qmgen.molecules.enumeration.chemistry import molecules, own_form
from qmgen.molecules.enumeration.items import MultigraphBatch


def emit_rows(batch: MultigraphBatch, keep: Callable[[Any], bool] | None = None) -> Iterator[tuple[int, str]]:
    """Row and canonical SMILES of the molecules of a batch, of each only from the form that stands for it.

    ``keep(mol)`` is asked first: it sees the aromatic molecule, so that it says the same of every form.
    """
    from rdkit import Chem

    for row, mol in enumerate(molecules(batch)):
        if keep is None or keep(mol):
            smiles = Chem.MolToSmiles(mol)
            if own_form(batch, row, mol, smiles):
                yield row, smiles


def emit(batch: MultigraphBatch, keep: Callable[[Any], bool] | None = None) -> Iterator[str]:
    """The canonical SMILES of ``emit_rows``."""
    return (smiles for _, smiles in emit_rows(batch, keep))
