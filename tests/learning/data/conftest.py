"""Small corpora by the corpus' own writer: molecules of 3 to 12 atoms, their numbers from their ids."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from qmgen.corpus import FAILURES, SPLITS, Splitter, failure_schema, failure_table, plan, row_schema, row_table
from qmgen.corpus.unit_records import write_table, write_unit
from tests.made_up import properties

LEVEL = {"xc": "b3lyp5", "basis": "sto-3g"}


def molecule(number: int, conformer: int = 0, forces: bool = False) -> dict[str, Any]:
    """A row; its energy tells which it is."""
    random = np.random.default_rng([number, conformer])
    shape = np.random.default_rng(number)
    z = shape.choice([1, 6, 7, 8], size=shape.integers(3, 13)).astype(np.uint8)
    row = {
        "smile": f"C{number}", "atoms": "X", "z": z, "energy": -1000.0 - number - conformer / 8, "homo": -7.0,
        "lumo": 3.5, "N": 7, "std": 1e-9, "y": 10.0 + random.normal(), "molecule_id": number,
        "pos": random.normal(size=3 * len(z)).astype(np.float32), "conformer_id": conformer, "name": "",
        "converged": True, "cycles": 9, "orbital_gradient": 1e-7, **properties(len(z), random),
        "precision": "float64", "mapped_smiles": "", "spin_hint": "",
    }  # fmt: skip
    return {**row, "forces": random.normal(size=3 * len(z))} if forces else row


def write(
    folder: Path,
    molecules: int = 60,
    units: int = 5,
    fractions: tuple[float, float] = (0.2, 0.1),
    forces: bool = False,
    levels: dict[int, dict[str, Any]] | None = None,
) -> Path:
    """Two conformers of each molecule, split by their SMILES; ``levels``: of units with another level of theory."""
    splitter = Splitter(0, *fractions)
    recipe = {"validation_fraction": fractions[0], "test_fraction": fractions[1]}
    for unit in plan(molecules, units=units):
        about = {"level_of_theory": (levels or {}).get(unit.index, LEVEL), "recipe": recipe, "config_hash": "abc"}
        rows: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
        for number in range(unit.start, unit.stop):
            found = rows[splitter.split(f"C{number}", [])]
            found += [molecule(number, conformer, forces) for conformer in range(2)]
        tables = {split: row_table(found, row_schema(about, forces)) for split, found in rows.items()}
        counts = {"entries": unit.stop - unit.start, "merged": 0}
        write_unit(folder, unit, {**tables, FAILURES: failure_table([], failure_schema({**about, "unit": counts}))})
    return folder


def alter(folder: Path, name: str, column: str, change: Callable[[list[Any]], None]) -> tuple[int, int]:
    """Change a column of a file behind the corpus' back; gives the ids of its second row."""
    import pyarrow.parquet as pq

    table = pq.read_table(folder / name)
    values = table[column].to_pylist()
    change(values)
    place = table.schema.get_field_index(column)
    changed = table.set_column(place, table.schema.field(place), pa.array(values, table.schema.field(place).type))
    write_table(changed, folder / name)
    return table["molecule_id"][1].as_py(), table["conformer_id"][1].as_py()


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 molecules in 5 units; for reading only."""
    return write(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="session")
def with_forces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with forces; for reading only."""
    return write(tmp_path_factory.mktemp("forces"), forces=True)


@pytest.fixture
def make() -> Callable[..., Path]:
    """``make(folder, ...)``: see ``write``."""
    return write


@pytest.fixture
def spoil() -> Callable[..., tuple[int, int]]:
    """``spoil(folder, file, column, change)``: see ``alter``."""
    return alter
