"""What a measurement is given, and how it answers: entry by entry, each guarded, none begun when time is short.

Geometries are those of ``--toy``, or from a file; nothing here needs RDKit. The file is an ``.npz`` of

- ``numbers`` (M, A) uint8, 0 is padding, which stands at the end of a row;
- ``positions`` (M, A, 3) in Bohr, rounded to what float32 holds, as in a corpus;
- optionally ``levels`` (L,) grid levels and ``energies`` (M, L) Hartree of B3LYP5/STO-3G, NaN where there is none;
- optionally ``names`` (M,).

``scripts/make_device_geometries`` makes the one that ships.
"""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import cycle, islice
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any, Final

import numpy as np

from qmgen.dft.prepare import Shape, shape_of
from qmgen.errors import UsageError
from qmgen.labeling.level import level_of
from qmgen.labeling.types import Settings
from qmgen.molecules.geometry import bohr_from_angstrom, geometry_problem, stored_precision
from qmgen.molecules.types import Conformer

SHIPPED: Final = Path(__file__).with_name("geometries.npz")

#: with energies in Hartree by PySCF 2.14: B3LYP5/STO-3G, grid level 0, conv_tol 1e-11
_TOY: Final = (
    ("water", [8, 1, 1], [[0, 0, 0.117], [0, 0.757, -0.469], [0, -0.757, -0.469]], -75.2895248723399),
    (
        "ammonia",
        [7, 1, 1, 1],
        [[0, 0, 0.116], [0, 0.94, -0.27], [0.814, -0.47, -0.27], [-0.814, -0.47, -0.27]],
        -55.750999346223885,
    ),
    ("bent water", [8, 1, 1], [[0, 0, 0.13], [0, 0.72, -0.5], [0, -0.72, -0.5]], -75.2902479745882),
)


@dataclass(frozen=True)
class Geometries:
    """``conformers`` by ``molecule_id``, their place in the file; ``energies`` Hartree by (molecule_id, grid level)."""

    source: str
    conformers: tuple[Conformer, ...]
    energies: dict[tuple[int, int], float]

    def of_one_shape(self, settings: Settings, count: int) -> tuple[Shape, list[Conformer]]:
        """The shape that most conformers have, and ``count`` of these, those with a stored energy first.

        One shape is one compilation, and batches that are filled. Where there are fewer, they come again under
        other ``conformer_id``: nothing is kept between conformers, so that each costs its full time.
        """
        level = level_of(settings)
        shapes = [shape_of(c.numbers, level.basis_set, level.functional, level.grid_level) for c in self.conformers]
        shape = Counter(shapes).most_common(1)[0][0]
        chosen = [c for c, s in zip(self.conformers, shapes, strict=True) if s == shape]
        chosen.sort(key=lambda c: ((c.molecule_id, level.grid_level) not in self.energies, c.molecule_id))
        again = enumerate(islice(cycle(chosen), count))
        return shape, [replace(c, conformer_id=place // len(chosen)) for place, c in again]


#: one class of shells: the least to compile, where a toy starts with an empty cache
HYDROGEN: Final = Geometries(
    "hydrogen",
    (Conformer(0, 0, "hydrogen", "", np.array([1, 1], np.uint8), np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 1.5]])),),
    {},
)


def toy() -> Geometries:
    """Three tiny molecules of one shape, with energies at grid level 0."""
    made = [
        Conformer(i, 0, name, "", np.array(numbers, np.uint8), bohr_from_angstrom(np.array(positions)))
        for i, (name, numbers, positions, _) in enumerate(_TOY)
    ]
    return Geometries("toy", tuple(made), {(i, 0): entry[-1] for i, entry in enumerate(_TOY)})


def load(path: Path) -> Geometries:
    """Raises ``UsageError`` for a file that is not there or not of the form above."""
    try:
        with np.load(path) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, zipfile.BadZipFile, AttributeError, TypeError) as error:
        raise UsageError(f"{path} is not an .npz file of numbers and positions") from error
    numbers, positions = arrays.get("numbers"), arrays.get("positions")
    if numbers is None or positions is None:
        raise UsageError(
            f"{path} has no arrays 'numbers' and 'positions'; it has {', '.join(sorted(arrays)) or 'none'}"
        )
    if numbers.ndim != 2 or not len(numbers) or positions.shape != (*numbers.shape, 3):
        raise UsageError(
            f"{path}: numbers {numbers.shape} and positions {positions.shape} are not (M, A) and (M, A, 3)"
        )
    names = arrays.get("names", np.full(len(numbers), ""))
    if names.shape != numbers.shape[:1]:
        raise UsageError(f"{path}: names {names.shape} must be ({len(numbers)},)")
    conformers = [_conformer(path, i, str(names[i]), numbers[i], positions[i]) for i in range(len(numbers))]
    return Geometries(str(path), tuple(conformers), _energies(path, arrays, len(numbers)))


def _conformer(path: Path, place: int, name: str, numbers: np.ndarray, positions: np.ndarray) -> Conformer:
    real = numbers > 0
    if not real.any() or not np.all(real[:-1] >= real[1:]):
        raise UsageError(f"{path}: row {place} has no atoms, or padding before an atom")
    kept = stored_precision(positions[real])
    if problem := geometry_problem(numbers[real], kept):
        raise UsageError(f"{path}: row {place}: {problem[1]}")
    return Conformer(place, 0, name, "", numbers[real].astype(np.uint8), kept)


def _energies(path: Path, arrays: dict[str, np.ndarray], count: int) -> dict[tuple[int, int], float]:
    if "energies" not in arrays:
        return {}
    levels, energies = arrays.get("levels", np.zeros(0, int)), arrays["energies"]
    if energies.shape != (count, len(levels)):
        raise UsageError(f"{path}: energies {energies.shape} must be ({count}, {len(levels)}), by levels")
    found = {(i, int(level)): float(energies[i, k]) for i in range(count) for k, level in enumerate(levels)}
    return {key: energy for key, energy in found.items() if np.isfinite(energy)}


Entry = dict[str, Any]


def one_line(error: BaseException) -> str:
    """The type and the first words of an error, without line breaks."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


@dataclass
class Task:
    """One measurement in its own process.

    Attributes:
        toy: tiny molecules and sizes.
        accelerator: the default device is no CPU.
        geometries: what to label.
        ends: ``time.monotonic`` after which nothing is begun.
        put: takes the key and the value of each entry as it is finished.
        tell: takes a line of progress.
        throughput: conformers a second by grid level, as far as they were measured before.
        scratch: an empty folder.
        keep: a folder in which a later session goes on; None: nothing is kept.
    """

    toy: bool
    accelerator: bool
    geometries: Geometries
    ends: float
    put: Callable[[str, Entry], None]
    tell: Callable[[str], None]
    throughput: dict[str, float]
    scratch: Path
    keep: Path | None = None
    _longest: float = field(default=0.0, init=False)

    def left(self) -> float:
        """Seconds in which something may still be begun."""
        return self.ends - monotonic()

    def entry(self, key: str, work: Callable[[], Entry]) -> Entry | None:
        """Put what ``work`` returns under ``key``, with its seconds; or that it failed; or that it was not begun.

        It is begun only while the longest entry so far would fit into the time left. Returns what was measured.
        """
        if self.left() < self._longest:
            self.put(key, {"skipped": f"{self.left():.0f} s were left, the entry before took {self._longest:.0f}"})
            return None
        self.tell(key)
        begin = perf_counter()
        try:
            found, good = work(), True
        except Exception as error:  # whatever it is, the other figures are still wanted
            found, good = {"error": one_line(error)}, False
        seconds = perf_counter() - begin
        self._longest = max(self._longest, seconds)
        self.put(key, {**found, "seconds": round(seconds, 3)})
        return found if good else None
