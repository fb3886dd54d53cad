"""From the columns of a Parquet file to ``Packed``: offsets and values of lists as they lie, no loop over rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import pyarrow as pa

from qmgen.errors import QmgenError
from qmgen.learning.data.packed import Packed, per_atom
from qmgen.learning.targets.target import Kind, Target

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
