"""The results of finished trainings as points of a curve: error against rows, with every seed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from qmgen import files
from qmgen.documents import LARGEST, table_of
from qmgen.errors import QmgenError

RESULT: Final = "result.json"


def read_cells(folders: Iterable[Path]) -> list[dict[str, Any]]:
    """What the ``result.json`` of the folders say; those that have none, unfinished trainings, are left out.

    Raises ``QmgenError`` for one that cannot be read.
    """
    found = []
    for folder in folders:
        try:
            found.append(table_of(files.read(folder / RESULT, LARGEST), finite=False))
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, ValueError) as error:
            raise QmgenError(f"cannot read {folder / RESULT} ({error}): remove {folder} to train it anew") from error
    return found


def alike(asked: Sequence[dict[str, Any]], found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those of ``found`` that may stand in one curve with ``asked``: of the same rows to choose from, the same network
    and the same weights to begin with (but for trainings from scratch, which begin with none)."""
    kinds = [_kind(cell) for cell in asked]
    return [cell for cell in found if _kind(cell) in kinds]


def _kind(cell: dict[str, Any]) -> list[Any]:
    identity = cell.get("identity", {})
    return [identity.get(name) for name in ("data", "preset", "shape", "init")]


def points(cells: Sequence[dict[str, Any]], target: str) -> list[dict[str, Any]]:
    """One for each number of rows, rising: ``rows``, ``mean`` and ``spread`` of the validation MAE over seeds (the
    standard deviation of a sample; None with one seed), ``test_mean`` (None where it was not measured), ``seeds``."""
    by_rows: dict[int, list[dict[str, Any]]] = {}
    for cell in cells:
        of = cell["targets"][target]
        seed = {"seed": cell["seed"], "validation_mae": of["validation_mae"], "test_mae": of.get("test_mae")}
        seed |= {name: cell.get(name) for name in ("steps", "best_step", "seconds")}
        by_rows.setdefault(cell["rows"], []).append(seed)
    made = []
    for rows in sorted(by_rows):
        seeds = sorted(by_rows[rows], key=lambda one: int(one["seed"]))
        errors = np.array([one["validation_mae"] for one in seeds], float)
        tests = [one["test_mae"] for one in seeds if one["test_mae"] is not None]
        made.append(
            {
                "rows": rows,
                "mean": float(errors.mean()),
                "spread": float(errors.std(ddof=1)) if len(errors) > 1 else None,
                "test_mean": float(np.mean(tests)) if tests else None,
                "seeds": seeds,
            }
        )
    return made
