"""Who is on the device is said before it gets them: a process may end there without another word."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from qmgen.labeling import Settings, label
from qmgen.molecules.types import Conformer, Failure


def hydrogen(molecule_id: int, distance: float) -> Conformer:
    return Conformer(molecule_id, 0, "", "", np.array([1, 1], np.uint8), np.array([[0.0, 0, 0], [0, 0, distance]]))


def test_a_batch_is_announced_before_its_results() -> None:
    asked: list[int] = []

    def geometries() -> Iterator[Conformer]:
        # the second is no molecule, and never gets to the device
        for number, distance in enumerate([1.375, 0.0, 1.4375, 1.5]):
            asked.append(number)
            yield hydrogen(number, distance)

    announced: list[list[int]] = []
    settings = Settings(xc="hf", grid_level=0, batch_size=2)
    open_: set[int] = set()
    for result in label(geometries(), settings, lambda batch: announced.append([c.molecule_id for c in batch])):
        number = result.molecule_id if isinstance(result, Failure) else result[0].molecule_id
        if isinstance(result, Failure):
            assert number == 1 and not announced
            continue
        assert number in announced[-1]
        if not open_:  # the first of a batch: nothing more was asked for meanwhile
            assert asked[-1] == announced[-1][-1]
            open_ = set(announced[-1])
        open_.remove(number)
    assert announced == [[0, 2], [3]] and not open_
