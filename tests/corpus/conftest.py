"""Rows for the tests of files: three atoms each, numbers from a seed; and a corpus of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qmgen.corpus import (
    FAILURES,
    SPLITS,
    Plan,
    config_hash,
    failure_schema,
    failure_table,
    plan,
    row_schema,
    row_table,
    write_manifest,
    write_unit,
)  # fmt: skip
from tests.made_up import properties


def make_row(molecule: int, conformer: int = 0, **changes: Any) -> dict[str, Any]:
    random = np.random.default_rng(1000 * molecule + conformer)
    row = {
        "smile": f"C{molecule}", "atoms": "OHH", "z": np.array([8, 1, 1], np.uint8),
        "energy": -2000.0 + random.normal(), "homo": -7.0, "lumo": 3.5, "N": 7, "std": 1e-9, "y": 10.5,
        "pos": random.normal(size=9).astype(np.float32),
        "molecule_id": molecule, "conformer_id": conformer, "name": f"mol{molecule}", "converged": True, "cycles": 9,
        "orbital_gradient": 1e-7,
        **properties(3, random),
        "precision": "float64", "mapped_smiles": "[O:1]([H:2])[H:3]", "spin_hint": "",
    }  # fmt: skip
    return {**row, **changes}


@pytest.fixture
def row() -> Callable[..., dict[str, Any]]:
    """``row(molecule, conformer, **changes)``."""
    return make_row


RECIPE = {"xc": "b3lyp5", "basis": "sto-3g", "conformers": 2}
METADATA = {
    "config_hash": config_hash(RECIPE),
    "recipe": RECIPE,
    "level_of_theory": {"xc": "b3lyp5", "basis": "sto-3g"},
    "constants": {"codata": 2018},
}


@dataclass
class Written:
    """A corpus of 4 units over 40 molecules, two conformers each: every tenth molecule has none and failed, every
    tenth is in each of the smaller splits. ``write(unit, change)`` writes a unit again, with ``change(tables)``."""

    directory: Path
    plan: Plan

    def write(self, index: int, change: Callable[[dict[str, Any]], Any] = lambda tables: None, **metadata: Any) -> None:
        unit = list(self.plan)[index]
        shared = {**METADATA, **metadata}
        rows: dict[str, Any] = {split: [] for split in SPLITS}
        failures = []
        for molecule in range(unit.start, unit.end):
            split = {1: "validation", 2: "test"}.get(molecule % 10, "train")
            if molecule % 10 == 0:
                failure = {"molecule_id": molecule, "conformer_id": -1, "name": "", "smile": "C"}
                failures.append({**failure, "reason": "embedding_failed", "detail": "no geometry"})
            else:
                rows[split] += [make_row(molecule, conformer) for conformer in range(2)]
        tables: dict[str, Any] = {split: row_table(rows[split], row_schema(shared)) for split in SPLITS}
        counts = {"entries": unit.end - unit.start, "merged": 0}
        tables[FAILURES] = failure_table(failures, failure_schema({**shared, "unit": counts}))
        change(tables)
        write_unit(self.directory, unit, tables)

    def manifest(self) -> dict[str, Any]:
        return write_manifest(self.directory, self.plan, METADATA, licence="CC0-1.0", versions={"qmgen": "0"})


@pytest.fixture
def written(tmp_path: Path) -> Written:
    """The corpus, complete."""
    made = Written(tmp_path / "corpus", plan(40, 2, 4))
    for index in range(4):
        made.write(index)
    (made.directory / "config.toml").write_text("conformers = 2\n")
    made.manifest()
    return made
