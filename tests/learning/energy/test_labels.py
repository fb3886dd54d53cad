"""Labels made once, kept beside the run, and continued; never those of another level or of geometries held out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from few_molecules import store_of

from qmgen.errors import Interrupted
from qmgen.learning.energy.problems import Converged, ConvergedLabels, References, make_labels
from qmgen.progress import TrainingProgress
from qmgen.signals import StopWatch

STORE = store_of(["water", "ammonia", "fluoride", "water"])
LEVEL = {"geometries": "abc", "xc": "b3lyp5", "basis": "sto-3g", "grid_level": 0, "steps": 10}


class Counted(References):
    """Fields that are no work: the energy is the first coordinate; hydrogen fluoride does not converge."""

    asked: list[float]

    def converge(self, case: Any, guess: Any = None, options: Any = None) -> Converged | None:
        place = float(np.asarray(case.problem.positions)[0, 0])
        self.__dict__.setdefault("asked", []).append(place)
        n = int(case.problem.n_real)
        return None if n == 6 else Converged(place, np.full((8, 8), place), np.zeros(8), 5)

    def fock(self, case: Any, density: np.ndarray) -> np.ndarray:
        return 2.0 * density


class After(StopWatch):
    """Stops once it was asked so often."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    def stopping(self) -> bool:
        self.times -= 1
        self.reason = "the time limit" if self.times < 0 else None
        return self.times < 0


def made(
    file: Path, indices: list[int], stop: StopWatch | None = None, level: dict[str, Any] = LEVEL
) -> tuple[dict[int, ConvergedLabels], int]:
    """The labels, and how many fields were made for them."""
    references = Counted(STORE)
    found = make_labels(references, indices, file, level, stop or StopWatch(), TrainingProgress(quiet=True))
    return found, len(references.__dict__.get("asked", []))


def check(labels: dict[int, ConvergedLabels], indices: list[int]) -> None:
    assert sorted(labels) == indices
    for index, label in labels.items():
        ready = STORE.get(index)
        assert ready is not None
        place = float(np.asarray(ready.case.problem.positions)[0, 0])
        assert label.energy == place and np.array_equal(label.fock, np.full((8, 8), 2 * place))


def test_made_once_and_read_again(tmp_path: Path) -> None:
    file = tmp_path / "labels.npz"
    labels, fields = made(file, [0, 1, 2, 3])
    check(labels, [0, 1, 3])
    assert fields == 4
    again, fields = made(file, [0, 1, 2, 3], level={**LEVEL, "steps": 20})
    check(again, [0, 1, 3])
    assert fields == 0  # also what did not converge is not tried again


def test_stopped_it_goes_on_where_it_was(tmp_path: Path) -> None:
    file = tmp_path / "labels.npz"
    with pytest.raises(Interrupted, match="the time limit after 2 labels: the same command continues"):
        made(file, [0, 1, 2, 3], After(3))
    labels, fields = made(file, [0, 1, 2, 3])
    check(labels, [0, 1, 3])
    assert fields == 1


@pytest.mark.parametrize(
    "change", [{"xc": "pbe"}, {"basis": "6-31g"}, {"grid_level": 1}, {"geometries": "abd"}], ids=lambda c: next(iter(c))
)
def test_those_of_another_level_or_of_other_geometries_are_not_taken(tmp_path: Path, change: dict[str, Any]) -> None:
    file = tmp_path / "labels.npz"
    made(file, [0, 1])
    labels, fields = made(file, [0, 1], level={**LEVEL, **change})
    check(labels, [0, 1])
    assert fields == 2


def test_only_what_is_asked_for_is_given(tmp_path: Path) -> None:
    """The file may know geometries that another split holds out."""
    file = tmp_path / "labels.npz"
    made(file, [0, 1])
    labels, fields = made(file, [1, 3])
    check(labels, [1, 3])
    assert fields == 1


@pytest.mark.parametrize("left", [0, 100, -50])
def test_a_damaged_file_is_made_anew(tmp_path: Path, left: int) -> None:
    file = tmp_path / "labels.npz"
    made(file, [0, 1])
    file.write_bytes(file.read_bytes()[:left])
    labels, fields = made(file, [0, 1])
    check(labels, [0, 1])
    assert fields == 2
