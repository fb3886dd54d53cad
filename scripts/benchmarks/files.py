"""What a corpus costs as files: bytes, time and memory to write, check, list and sum up units of made-up rows.

The rows have as many atoms as molecules of 9-11 heavy atoms and random numbers, which compress no better than real
ones. The result says what a corpus of any size costs, unit by unit: docs/scale.md works out a billion rows from it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np

from qmgen.corpus.columns import PROPERTY_COLUMNS
from qmgen.corpus.manifest import write_manifest
from qmgen.corpus.plan import FAILURES, SPLITS, Listing, Plan, Unit
from qmgen.corpus.schema import failure_schema, failure_table, row_schema, row_table
from qmgen.corpus.store import store_of
from qmgen.corpus.unit_records import damage_of, sums_of, write_unit
from qmgen.machine import peak_memory

_ATOMS: Final = (18, 28)


@dataclass(frozen=True)
class Files:
    """Measured over ``units`` units of ``rows_per_unit`` rows: seconds to make the tables of a unit, to write it, to
    check it again; to list ``listed`` files, and to write the manifest, by unit; bytes by row; peak memory in bytes."""

    units: int
    rows_per_unit: int
    bytes_per_row: float
    table_seconds: float
    write_seconds: float
    check_seconds: float
    manifest_seconds: float
    listed: int
    list_seconds: float
    peak_memory: int

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def measure(rows_per_unit: int, units: int, listed: int, folder: Path | None = None) -> Files:
    """Write ``units`` units below ``folder`` (the system's temporary directory where None), and take the times.

    ``listed`` is how many empty files are listed, four a unit.
    """
    with TemporaryDirectory(prefix="qmgen-", dir=folder) as place:
        corpus = Path(place, "corpus")
        store = store_of(corpus)
        recipe = {"recipe": {"made": "up"}}
        tables, writes = [], []
        for index in range(units):
            rows = _rows(index, rows_per_unit)
            made, seconds = _timed(partial(_tables, rows, recipe))
            tables.append(seconds)
            unit = Unit(index, units, index * rows_per_unit, (index + 1) * rows_per_unit)
            writes.append(_timed(partial(write_unit, store, unit, made))[1])
        memory = peak_memory()
        plan = Plan(units * rows_per_unit, units)
        _, manifest_seconds = _timed(lambda: write_manifest(store, plan, recipe, licence="none", versions={}))
        listing, sums = Listing.of(store), {name: (one,) for name, one in sums_of(store).items()}

        def check() -> None:
            for _, name in listing.units():
                if damages := list(damage_of(store, listing, name, sums)):
                    raise RuntimeError(damages[0])

        _, check_seconds = _timed(check)
        many = Path(place, "many")
        _empty(many, listed // 4)
        found, list_seconds = _timed(lambda: sum(1 for _ in Listing.of(store_of(many)).units()))
        assert found == listed // 4
        return Files(
            units=units,
            rows_per_unit=rows_per_unit,
            bytes_per_row=sum(listing.sizes.values()) / (units * rows_per_unit),
            table_seconds=float(np.median(tables)),
            write_seconds=float(np.median(writes)),
            check_seconds=check_seconds / units,
            manifest_seconds=manifest_seconds / units,
            listed=listed,
            list_seconds=list_seconds,
            peak_memory=memory,
        )


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    begin = time.perf_counter()
    found = work()
    return found, time.perf_counter() - begin


def _rows(unit: int, count: int) -> dict[str, list[dict[str, Any]]]:
    random = np.random.default_rng(unit)
    found: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
    for k, split in enumerate(random.choice(SPLITS, size=count, p=(0.9, 0.05, 0.05))):
        found[str(split)].append(_row(unit * count + k, random))
    return found


def _tables(rows: dict[str, list[dict[str, Any]]], metadata: dict[str, Any]) -> dict[str, Any]:
    schema = row_schema(metadata)
    entries = sum(map(len, rows.values()))
    failures = failure_table([], failure_schema({**metadata, "unit": {"entries": entries, "merged": 0}}))
    return {split: row_table(rows[split], schema) for split in SPLITS} | {FAILURES: failures}


def _row(molecule: int, random: np.random.Generator) -> dict[str, Any]:
    atoms = int(random.integers(*_ATOMS))
    heavy = random.choice(np.array([6, 7, 8, 9], np.uint8), size=10, p=(0.7, 0.13, 0.16, 0.01))
    numbers = np.concatenate([heavy, np.ones(atoms - 10, np.uint8)])
    names = {1: "H", 6: "C", 7: "N", 8: "O", 9: "F"}
    smiles = "".join(random.permutation([*(names[int(z)] for z in heavy), *"()1=1()"]))
    homo, gap = random.normal(-6, 1), random.normal(9, 1)
    return {
        "smile": smiles, "atoms": "".join(names[int(z)] for z in numbers), "z": numbers,
        "energy": random.normal(-1e4, 1e3), "homo": homo, "lumo": homo + gap, "N": 50 + atoms, "y": gap,
        "std": abs(random.normal(0, 1e-9)), "pos": random.normal(0, 4, 3 * atoms).astype(np.float32),
        "molecule_id": molecule, "conformer_id": 0, "name": "", "converged": True,
        "cycles": int(random.integers(8, 15)),
        "orbital_gradient": abs(random.normal(0, 1e-7)), "precision": "float64",
        **{column.name: random.normal(0, 0.2, column.shape(atoms) or None) for column in PROPERTY_COLUMNS},
        "mapped_smiles": "".join(f"[{names[int(numbers[k])]}:{k + 1}]" for k in random.permutation(atoms)),
        "spin_hint": "",
    }  # fmt: skip


def _empty(folder: Path, units: int) -> None:
    for name in ("data", FAILURES):
        (folder / name).mkdir(parents=True)
    for index in range(units):
        for name in Unit(index, units, index, index + 1).files().values():
            (folder / name).touch()
