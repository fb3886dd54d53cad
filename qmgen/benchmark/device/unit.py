"""A set of conformers from geometries to Parquet, by the code that ``qmgen generate`` runs for each work unit."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import pyarrow.parquet as pq

from qmgen.constants import HARTREE_TO_EV
from qmgen.corpus.plan import Unit
from qmgen.corpus.splits import Splitter
from qmgen.dft.prepare import Shape
from qmgen.labeling.level import level_of
from qmgen.labeling.stream import batch_size_of
from qmgen.labeling.types import Settings
from qmgen.molecules.types import Conformer, Failure, Molecule
from qmgen.pipeline.source import Work
from qmgen.pipeline.stages import Stages
from qmgen.pipeline.unit import Job, do_unit

#: the stations of the pipeline, with one in place of the embedding that starts no process with RDKit
STAGES = Stages(conformers=f"{__name__}:given")


@dataclass(frozen=True)
class Pass:
    """Wall ``seconds``, ``failures`` by reason, and ``energies`` in Hartree by (molecule_id, conformer_id)."""

    seconds: float
    failures: dict[str, int]
    energies: dict[tuple[int, int], float]


def given(molecules: Iterable[Molecule | Failure], *_: Any, **__: Any) -> Iterator[Conformer | Failure]:
    """The geometry of each molecule: the station ``conformers`` where there is nothing to embed."""
    for entry in molecules:
        if isinstance(entry, Failure):
            yield entry
        else:
            assert entry.numbers is not None and entry.positions is not None
            place = entry.molecule_id, entry.conformer_id
            yield Conformer(*place, entry.name, entry.smiles, entry.numbers, entry.positions)


def to_parquet(conformers: list[Conformer], settings: Settings, scratch: Path) -> Pass:
    """One unit, written below ``scratch``, which is emptied; its energies are read back from the file, untimed."""
    folder = scratch / "corpus"
    shutil.rmtree(folder, ignore_errors=True)
    unit = Unit(0, 1, 0, len(conformers))
    job = Job(folder, settings, 1, 0, 60.0, Splitter(0, 0.0, 0.0), {}, STAGES)
    entries: list[Molecule | Failure] = [
        Molecule(c.molecule_id, c.name, c.smiles, c.numbers, c.positions, 0, c.conformer_id) for c in conformers
    ]
    begin = perf_counter()
    done = do_unit(job, Work(unit, entries, 0))
    seconds = perf_counter() - begin
    table = pq.read_table(folder / unit.files()["train"], columns=["molecule_id", "conformer_id", "energy"])
    energies = {(r["molecule_id"], r["conformer_id"]): r["energy"] / HARTREE_TO_EV for r in table.to_pylist()}
    shutil.rmtree(folder, ignore_errors=True)
    return Pass(seconds, done.failures, energies)


def places(shape: Shape, settings: Settings) -> int:
    """Molecules that labelling puts into a batch of ``shape``: as asked, or fewer where memory ends."""
    return batch_size_of(shape, level_of(settings), settings)
