"""Converged fields: reference energies of the geometries that a training is watched by, and labels of ``qmgen train
labels`` (energies and Fock matrices), made once and kept beside the run.

Where a network finds a self-consistent field of lower energy than the reference, that one becomes the reference and is
counted: an excess is never measured against a higher solution. References are kept beside a training while it lasts, so
that a continued training knows what the one before the stop knew.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any, Final
from zipfile import BadZipFile

import jax
import jax.numpy as jnp
import numpy as np

from qmgen import files
from qmgen.dft.prepare import coarse_precision
from qmgen.dft.scf import ScfOptions, solve
from qmgen.dft.variational import energy_and_fock_of
from qmgen.documents import LARGEST, table_of
from qmgen.errors import Interrupted
from qmgen.learning.energy.problems import Case, ConvergedLabels, GeometryStore
from qmgen.learning.training import checkpoint
from qmgen.progress import TrainingProgress
from qmgen.signals import StopWatch

REFERENCES: Final = "references.json"
#: Hartree: references are converged further than any excess is read
CONVERGED: Final = ScfOptions(conv_energy=1e-10, conv_gradient=1e-7, max_cycles=100)
#: an energy lower than its reference by more than this (Hartree) is that of another solution
LOWER: Final = 1e-8
#: seconds between writes while references are made
_EVERY: Final = 30.0


@dataclass(frozen=True)
class Converged:
    """A self-consistent field: energy in Hartree, density and Fock matrix (n, n), levels (n,), cycles."""

    energy: float
    density: np.ndarray
    levels: np.ndarray
    cycles: int


@dataclass
class References:
    """Of geometries by index: ``energies`` in Hartree. ``missing`` did not converge; of ``lower`` the network found the
    solution of lower energy. ``file``, where one is given, keeps them; those in it are taken if they are of ``key``."""

    store: GeometryStore
    energies: dict[int, float] = field(default_factory=dict)
    missing: set[int] = field(default_factory=set)
    lower: set[int] = field(default_factory=set)
    file: Path | None = None
    key: str = ""

    def __post_init__(self) -> None:
        functional = self.store.level.functional
        self._solve = jax.jit(lambda problem, options: solve(functional, problem, options))
        self._field = jax.jit(lambda problem, density: energy_and_fock_of(functional, problem)(density)[1])
        self._kept = time.monotonic()
        if self.file is not None:
            self._take(self.file)

    def _take(self, file: Path) -> None:
        try:
            found = table_of(files.read(file, LARGEST), finite=False)
            if found["key"] == self.key:
                energies = {int(index): float(energy) for index, energy in found["energies"].items()}
                self.missing, self.lower = set(found["missing"]), set(found["lower"])
                self.energies = energies
        except (OSError, ValueError, KeyError, TypeError, AttributeError):  # none, or damaged: made anew
            return

    def keep(self) -> None:
        """Write them to ``file``, if there is one. Raises ``QmgenError`` where that cannot be done."""
        if self.file is None:
            return
        about = {"key": self.key, "energies": self.energies, "missing": sorted(self.missing)}
        checkpoint.write(self.file, json.dumps({**about, "lower": sorted(self.lower)}).encode())
        self._kept = time.monotonic()

    def converge(self, case: Case, guess: Any = None, options: ScfOptions = CONVERGED) -> Converged | None:
        """The self-consistent field from ``guess`` (n, n), by default spherical atoms; None where there is none."""
        problem = case.problem if guess is None else case.problem._replace(guess=jnp.asarray(guess)[None])
        wanted = coarse_precision(self.store.level.basis_set, float(options.conv_gradient))
        if problem.coarse is not None and problem.coarse.weights.dtype != wanted:  # further than its rounding allows
            problem = problem._replace(coarse=None)
        found = jax.tree.map(np.asarray, self._solve(problem, options))
        if not found.converged:
            return None
        return Converged(float(found.energy), found.density[0], found.orbital_energies[0], int(found.cycles))

    def fock(self, case: Case, density: np.ndarray) -> np.ndarray:
        """(n, n) the Fock matrix of a density."""
        return np.asarray(self._field(case.problem, density))

    def make(self, indices: Iterable[int]) -> None:
        """References for ``indices`` that have none yet."""
        for index in indices:
            if index in self.energies or index in self.missing:
                continue
            ready = self.store.get(index)
            found = None if ready is None else self.converge(ready.case)
            if found is None:
                self.missing.add(index)
            else:
                self.energies[index] = found.energy
            if time.monotonic() - self._kept > _EVERY:
                self.keep()

    def excess(self, index: int, energy: float, density: np.ndarray) -> float:
        """``energy`` of an idempotent ``density`` above the reference, in Hartree: the reference is converged anew from
        the density where it is not the lowest."""
        if energy < self.energies[index] - LOWER:
            ready = self.store.get(index)
            found = None if ready is None else self.converge(ready.case, density)
            better = energy if found is None else min(found.energy, energy)
            self.energies[index] = better
            self.lower.add(index)
            self.keep()
        return energy - self.energies[index]


#: settings that labels depend on
_DEPENDS: Final = ("geometries", "xc", "basis", "grid_level")
_LABELS_EVERY: Final = 60.0
#: labels as `qmgen generate` makes them, and no slower
AS_GENERATED: Final = ScfOptions()


def make_labels(
    references: References,
    indices: Sequence[int],
    file: Path,
    identity: Mapping[str, Any],
    stop: StopWatch,
    progress: TrainingProgress,
) -> dict[int, ConvergedLabels]:
    """Labels of those of ``indices`` that converge, continued from ``file`` and kept there.

    Raises ``Interrupted`` when ``stop`` says so.
    """
    key = sha256(json.dumps([identity[name] for name in _DEPENDS]).encode()).hexdigest()
    labels, lost = _read_labels(file, key)
    begin = kept = time.monotonic()
    before = len(labels)
    for index in indices:
        if index in labels or index in lost:
            continue
        if stop.stopping():
            _write_labels(file, key, labels, lost)
            raise Interrupted(f"stopped by {stop.reason} after {len(labels)} labels: the same command continues")
        ready = references.store.get(index)
        found = None if ready is None else references.converge(ready.case, options=AS_GENERATED)
        if ready is None or found is None:
            lost.add(index)
        else:
            labels[index] = ConvergedLabels(found.energy, references.fock(ready.case, found.density))
        if (now := time.monotonic()) - kept > _LABELS_EVERY:
            kept = now
            _write_labels(file, key, labels, lost)
            rate = (len(labels) - before) / (now - begin)
            progress.say(f"labels: {len(labels)} of {len(indices)}, {rate:.2g}/s")
    _write_labels(file, key, labels, lost)
    return {index: labels[index] for index in indices if index in labels}  # the file may know others


def _write_labels(file: Path, key: str, labels: dict[int, ConvergedLabels], lost: set[int]) -> None:
    stream = BytesIO()
    arrays: dict[str, Any] = {f"fock{index}": one.fock for index, one in labels.items()}
    arrays |= {f"energy{index}": np.float64(one.energy) for index, one in labels.items()}
    np.savez(stream, key=np.array(key), lost=np.array(sorted(lost), np.int64), **arrays)
    checkpoint.write(file, stream.getvalue())


def _read_labels(file: Path, key: str) -> tuple[dict[int, ConvergedLabels], set[int]]:
    try:
        with np.load(file) as archive:
            if str(archive["key"]) != key:
                return {}, set()
            indices = [int(name[4:]) for name in archive.files if name.startswith("fock")]
            found = {k: ConvergedLabels(float(archive[f"energy{k}"]), archive[f"fock{k}"]) for k in indices}
            return found, set(archive["lost"].tolist())
    except (OSError, EOFError, ValueError, KeyError, BadZipFile):  # none, or damaged: made anew
        return {}, set()
