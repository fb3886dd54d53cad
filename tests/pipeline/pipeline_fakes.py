"""Stand-ins for the stations of the pipeline: quick, deterministic, without RDKit and JAX.

Lines of the source steer them: ``CCO`` is labelled; ``bad`` is unreadable; ``flat`` cannot be embedded;
``diverge`` does not converge; ``nan`` has a label that is not finite; ``lose`` vanishes (a bug); ``crash`` kills its
process like somebody else would; ``segfault`` does so like a library, and ``exit`` ends it; ``sink`` ends it where it
is embedded; ``raise`` raises; ``full`` meets a refusal meant for the user; ``starve`` has too little memory unless
QMGEN_TEST_MEMORY is set; ``freeze`` stops its process, the first time (as a file in QMGEN_TEST_FROZEN tells); ``stuck``
takes ten minutes; ``stiff`` converges in 200 cycles, ``stiffer`` in 800; ``slow`` is embedded in 600 seconds; ``big``
needs a batch of its own; ``given_5_2`` is a geometry, conformer 2 of molecule 5.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from qmgen.corpus.columns import PROPERTY_COLUMNS
from qmgen.errors import QmgenError, UsageError
from qmgen.labeling.types import Label, Settings
from qmgen.molecules.embedding import PLAIN, Procedure
from qmgen.molecules.types import Conformer, Failure, Molecule, Pruned, Reason


def read(path: Path, smiles_column: str | None, keep: Sequence[str] = ()) -> Iterator[Molecule | Failure]:
    for number, line in enumerate(Path(path).read_text().splitlines()):
        smiles, _, name = line.partition(" ")
        yield parse(number, smiles, name)


def parse(number: int, smiles: str, name: str) -> Molecule | Failure:
    if smiles == "bad":
        return Failure(number, -1, name, smiles, Reason.UNREADABLE, "not a SMILES string")
    if smiles.startswith("given"):  # given_<molecule_id>_<conformer_id>, a geometry with identifiers of its own
        _, molecule_id, conformer_id = smiles.split("_")
        positions = np.zeros((2, 3)) + [[0.0], [float(number + 1)]]
        return Molecule(int(molecule_id), name, "", np.array([1, 1], np.uint8), positions, 0, int(conformer_id))
    return Molecule(number, name, smiles)


class merge:
    def __init__(self, entries: Iterable[Molecule | Failure]) -> None:
        self.entries, self.merged = entries, 0

    def __iter__(self) -> Iterator[Molecule | Failure]:
        seen: set[str] = set()
        for entry in self.entries:
            if isinstance(entry, Molecule) and entry.smiles and entry.smiles in seen:
                self.merged += 1
                continue
            seen.add(entry.smiles)
            yield entry


def check(entry: Molecule | Failure, settings: Settings) -> Molecule | Failure:
    return entry


def conformers(
    molecules: Iterable[Molecule], count: int, seed: int, time_limit: float, procedure: Procedure = PLAIN
) -> Iterator[Conformer | Failure | Pruned]:
    for m in molecules:
        if m.positions is not None and m.numbers is not None:
            yield Conformer(m.molecule_id, m.conformer_id, m.name, m.smiles, m.numbers, m.positions)
            continue
        if m.smiles.startswith("sink"):
            os._exit(4)
        if m.smiles.startswith("flat"):
            yield Failure(m.molecule_id, -1, m.name, m.smiles, Reason.EMBEDDING_FAILED, "no geometry")
            continue
        if m.smiles.startswith("slow") and time_limit < 600:
            yield Failure(m.molecule_id, -1, m.name, m.smiles, Reason.EMBEDDING_TIMEOUT, f"{time_limit} seconds")
            continue
        kept = 1 if procedure.prunes else count  # all conformers are alike
        if count > kept:
            yield Pruned(m.molecule_id, count - kept)
        for c in range(kept):
            random_of = np.random.default_rng(int(hashlib.sha256(f"{seed}{m.smiles}{c}".encode()).hexdigest()[:8], 16))
            numbers = np.array([6] + [1] * (len(m.smiles) % 4 + 1), dtype=np.uint8)
            positions = random_of.normal(size=(len(numbers), 3)).astype(np.float32).astype(np.float64)
            yield Conformer(m.molecule_id, c, m.name, m.smiles, numbers, positions)


def conformers_slowly(*arguments: Any, **more: Any) -> Iterator[Conformer | Failure | Pruned]:
    for item in conformers(*arguments, **more):
        time.sleep(0.05)
        yield item


Starting = Callable[[list[Conformer]], None]
Results = Iterator[tuple[Conformer, Label] | Failure]


def label(
    geometries: Iterable[Conformer], settings: Settings, starting: Starting = lambda batch: None, **_: Any
) -> Results:
    waiting: list[Conformer] = []
    for conformer in geometries:
        waiting.append(conformer)
        if len(waiting) == 4:
            yield from _batch(waiting, settings, starting)
            waiting = []
    if waiting:
        yield from _batch(waiting, settings, starting)


def label_slowly(geometries: Iterable[Conformer], settings: Settings, starting: Starting, **_: Any) -> Results:
    for result in label(geometries, settings, starting):
        time.sleep(0.1)
        yield result


def label_that_fails(*_: Any, **more: Any) -> Results:
    raise AttributeError("a bug")


def label_and_count(geometries: Iterable[Conformer], settings: Settings, starting: Starting, **_: Any) -> Results:
    """Slow, and with a line in the file QMGEN_TEST_COUNT for each conformer that goes to the device."""

    def counted(batch: list[Conformer]) -> None:
        starting(batch)
        with open(os.environ["QMGEN_TEST_COUNT"], "a") as stream:
            stream.writelines(f"{c.molecule_id} {c.conformer_id}\n" for c in batch)

    return label_slowly(geometries, settings, counted)


def open_guess(path: str) -> Any:
    """A network that guesses ``path/model.safetensors``; says in the file QMGEN_TEST_OPENED that it was opened."""
    from qmgen.pipeline.level import describe_network

    known = describe_network(path)
    if told := os.environ.get("QMGEN_TEST_OPENED"):
        with open(told, "a") as stream:
            stream.write(f"{os.getpid()}\n")
    return Atoms(known["checksum"], (known["xc"], known["basis"]))


class Atoms:
    """A guess for the real labelling: the density of atoms, as if it had been learned."""

    def __init__(self, checksum: str, level: tuple[str, str]) -> None:
        self.checksum, self.level = checksum, level

    def __call__(self, problems: Any, numbers: Any) -> list[np.ndarray]:
        return [np.asarray(problem.guess)[0] for problem in problems]


def label_guessed(
    geometries: Iterable[Conformer], settings: Settings, starting: Starting, guess: Any = None, tally: Any = None
) -> Results:
    """As ``label``; a learned guess saves 4 cycles, takes a quarter of a second, and has no answer for CCC."""
    for result in label(geometries, settings, starting):
        if guess is not None and not isinstance(result, Failure):
            tally.seconds["guess"] += 0.25
            if result[0].smiles.startswith("CCC_"):
                tally.fallbacks += 1
            else:
                tally.guessed += 1
                result = result[0], replace(result[1], cycles=result[1].cycles - 4)
        yield result


def label_but_one(geometries: Iterable[Conformer], settings: Settings, starting: Starting, **_: Any) -> Results:
    """Conformer 1 does not converge within 50 cycles."""
    for c in geometries:
        starting([c])
        if c.conformer_id == 1 and settings.max_cycles <= 50:
            yield Failure(c.molecule_id, c.conformer_id, c.name, c.smiles, Reason.NOT_CONVERGED, "50 cycles")
        else:
            yield c, make_label(c)


def _batch(batch: list[Conformer], settings: Settings, starting: Starting) -> Results:
    batch = list(batch)
    starting(batch)
    random.Random(time.monotonic_ns()).shuffle(batch)  # the order of completion is nobody's promise
    for c in batch:
        kind = c.smiles.split("_")[0]
        if settings.max_cycles < {"stiff": 200, "stiffer": 800}.get(kind, 0):
            cycles = f"{settings.max_cycles} cycles"
            yield Failure(c.molecule_id, c.conformer_id, c.name, c.smiles, Reason.NOT_CONVERGED, cycles)
            continue
        if kind == "big" and settings.batch_size != 1:
            yield Failure(c.molecule_id, c.conformer_id, c.name, c.smiles, Reason.OUT_OF_MEMORY, "too many at once")
            continue
        if kind == "diverge":
            yield Failure(c.molecule_id, c.conformer_id, c.name, c.smiles, Reason.NOT_CONVERGED, "50 cycles")
            continue
        if kind == "lose":
            continue
        if kind == "crash":
            os.kill(os.getpid(), signal.SIGKILL)
        if kind == "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        if kind == "exit":
            os._exit(3)
        if kind == "starve" and "QMGEN_TEST_MEMORY" not in os.environ:
            raise MemoryError
        if kind == "freeze" and not os.path.exists(frozen := os.environ["QMGEN_TEST_FROZEN"]):
            open(frozen, "w").close()
            os.kill(os.getpid(), signal.SIGSTOP)
        if kind == "stuck":
            time.sleep(600)
        if kind == "raise":
            raise KeyError("a bug")
        if kind == "full":
            raise QmgenError("batch of 4 does not fit: choose a smaller --batch-size")
        yield c, make_label(c, float("nan") if kind == "nan" else 0.0)


def make_label(c: Conformer, shift: float = 0.0) -> Label:
    return Label(
        energy=float(-np.sum(c.numbers.astype(float) ** 2) - np.sum(c.positions**2)) + shift,
        homo=-0.25,
        lumo=0.125,
        energy_std=1e-10,
        properties={column.name: np.resize(c.positions, column.shape(len(c.numbers))) for column in PROPERTY_COLUMNS},
        n_orbitals=5 + len(c.numbers) - 1,
        converged=True,
        cycles=9,
        orbital_gradient=1e-7,
        precision="float64",
    )


def prepare() -> None:
    pass


def prepare_to_leave_at_once() -> None:
    """The main thread gets half a second to come to an end itself."""
    from qmgen.pipeline import worker

    worker.LEAVE_WITHIN = 0.5  # type: ignore[misc]


def prepare_and_die() -> None:
    os._exit(5)


def prepare_an_eager_keeper() -> None:
    """Partial work is saved whenever there is some, and writing takes long enough to be hit."""
    from qmgen.pipeline import checkpoint, unit

    write = unit.write_unit

    def write_slowly(*arguments: Any, **more: Any) -> Any:
        time.sleep(0.3)
        return write(*arguments, **more)

    checkpoint.CHECKPOINT_EVERY, checkpoint._SPARING = 0.0, 0  # type: ignore[misc]
    unit.write_unit = write_slowly


def prepare_and_tell() -> None:
    """Writes what this process was given into a file named by the environment."""
    names = ("NPROC", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    told = {"cores": sorted(os.sched_getaffinity(0)), **{name: os.environ.get(name) for name in names}}
    Path(os.environ["QMGEN_TEST_TOLD"], f"{os.getpid()}.json").write_text(json.dumps(told))


def theory(settings: Settings) -> dict[str, Any]:
    if settings.xc == "b3lpy":
        raise UsageError("unknown functional 'b3lpy'; did you mean 'b3lyp'?")
    return {"xc": settings.xc, "basis": settings.basis, "grid_level": settings.grid_level}
