"""Stand-ins for the stations of the pipeline: geometries of stretched water, labeled by PySCF itself.

``label`` does its first share in a process more slowly, as a compiler would.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from qmgen.corpus.columns import PROPERTY_COLUMNS
from qmgen.dft.level import LevelOfTheory
from qmgen.errors import UsageError
from qmgen.labeling.types import Label, Settings
from qmgen.molecules.embedding import PLAIN, Procedure
from qmgen.molecules.types import Conformer, Failure, Molecule, Reason
from qmgen.pipeline.level import level_of_theory
from qmgen.validation.oracle import solve

COMPILING = 1.0  # seconds
WATER = np.array([[0.0, 0.0, 0.22], [0.0, 1.43, -0.89], [0.0, -1.43, -0.89]])
_compiled = False


def read(path: Path, smiles_column: str | None = None, keep: Sequence[str] = ()) -> Iterator[Molecule]:
    for index, line in enumerate(Path(path).read_text().splitlines()):
        yield Molecule(index, line, line)


def merge(entries: Iterable[Molecule]) -> Iterator[Molecule]:
    yield from entries


def check(entry: Molecule | Failure, settings: Settings) -> Molecule | Failure:
    return entry


def conformers(
    molecules: Iterable[Molecule], count: int, seed: int, time_limit: float, procedure: Procedure = PLAIN
) -> Iterator[Any]:
    for molecule in molecules:
        if molecule.name == "flat":
            yield Failure(molecule.molecule_id, -1, "", molecule.smiles, Reason.EMBEDDING_FAILED, "told to")
            continue
        for number in range(count):
            stretched = WATER * (1 + 0.01 * molecule.molecule_id + 0.003 * number)
            positions = stretched.astype(np.float32).astype(np.float64)
            yield Conformer(
                molecule.molecule_id, number, molecule.name, molecule.smiles, np.array([8, 1, 1], np.uint8), positions
            )


def label(
    items: Iterable[Conformer], settings: Settings, starting: Any = None, **_: Any
) -> Iterator[tuple[Conformer, Label] | Failure]:
    global _compiled
    for conformer in items:
        if not _compiled:
            time.sleep(COMPILING)
            _compiled = True
        if conformer.name == "crash":
            os._exit(3)
        if conformer.name == "refuse":
            raise UsageError("told to refuse")
        if conformer.name == "bug":
            raise ZeroDivisionError("told to")
        found = solve(
            conformer.numbers, conformer.positions, LevelOfTheory(settings.xc, settings.basis, settings.grid_level)
        )
        yield (
            conformer,
            Label(
                energy=found.energy + (1e-4 if conformer.name == "wrong" else 0.0),
                homo=found.homo,
                lumo=found.lumo,
                energy_std=0.0,
                properties={column.name: np.zeros(column.shape(len(conformer.numbers))) for column in PROPERTY_COLUMNS},
                n_orbitals=7,
                converged=True,
                cycles=found.cycles,
                orbital_gradient=1e-9,
                precision="float64",
            ),
        )


def prepare() -> None:
    pass


def theory(settings: Settings) -> dict[str, Any]:
    return level_of_theory(settings)
