"""Each row once an epoch, the same batches again, from any place; memory holds a window and no more."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qmgen.learning.data.batches import Batches, Position, training_batches
from qmgen.learning.data.packed import MoleculeBatch, Packed
from qmgen.learning.data.source import RowSource, open_rows
from qmgen.learning.data.splits import select
from qmgen.learning.targets import targets_of

BATCH = 7
#: all in one window; several, of which the last is not full; windows smaller than a row group
WINDOWS = (1000, 28, 7)


def _made(place: Path, window: int, rows: int | None = None, seed: int = 0, **more: Any) -> tuple[Batches, RowSource]:
    source = open_rows(place, targets_of(["energy", "dipole"]))
    indices = None if rows is None else select(source.count("train"), rows, 0)
    return training_batches(source, indices, BATCH, seed, window)[1], source


def _same(a: MoleculeBatch, b: MoleculeBatch) -> bool:
    values = all(np.array_equal(a.values[name], b.values[name]) for name in a.values)
    return values and all(np.array_equal(getattr(a, n), getattr(b, n)) for n in ("numbers", "positions", "weights"))


def _keys(batch: MoleculeBatch) -> list[bytes]:
    """What tells the molecules of a batch apart, dummies left out."""
    real = batch.weights == 1
    return [x[z > 0].tobytes() for x, z in zip(batch.positions[real], batch.numbers[real], strict=True)]


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("rows", [None, 50])
def test_each_row_once(corpus: Path, window: int, rows: int | None) -> None:
    batches, source = _made(corpus, window, rows)
    indices = None if rows is None else select(source.count("train"), rows, 0)
    packed = source.read("train", indices)
    wanted = sorted(packed.positions[a:b].tobytes() for a, b in zip(packed.offsets, packed.offsets[1:], strict=False))
    for epoch in range(2):
        found = [batch for batch, _ in batches.epoch_batches(epoch)]
        assert sorted(key for batch in found for key in _keys(batch)) == wanted
        assert len(found) == batches.steps_per_epoch == -(-len(packed) // BATCH)
        assert sum(bool((batch.weights == 0).any()) for batch in found) <= 1  # only one batch is not full
        for batch in found:
            assert batch.numbers.dtype == np.int32 and batch.positions.dtype == np.float32
            assert not batch.positions[batch.numbers == 0].any() and not batch.numbers[batch.weights == 0].any()
            assert not any(array[batch.weights == 0].any() for array in batch.values.values())
    places = np.concatenate([places for _, places in batches.in_order()])
    assert sorted(places.tolist()) == list(range(len(packed)))
    for batch, at in batches.in_order():
        assert _keys(batch) == [packed.positions[packed.offsets[i] : packed.offsets[i + 1]].tobytes() for i in at]


@pytest.mark.parametrize("window", WINDOWS)
def test_same_seed_same_batches_and_resume_from_anywhere(corpus: Path, window: int) -> None:
    whole = list(_made(corpus, window)[0].epoch_batches(3))
    assert all(_same(a, b) for (a, _), (b, _) in zip(whole, _made(corpus, window)[0].epoch_batches(3), strict=True))
    assert whole[-1][1] == Position(4)
    for done in range(len(whole) - 1):
        rest = list(_made(corpus, window)[0].epoch_batches(3, whole[done][1]))
        assert [after for _, after in rest] == [after for _, after in whole[done + 1 :]]
        assert all(_same(a, b) for (a, _), (b, _) in zip(rest, whole[done + 1 :], strict=True))
    for other in (_made(corpus, window, seed=1)[0].epoch_batches(3), _made(corpus, window)[0].epoch_batches(4)):
        assert not all(_same(a, b) for (a, _), (b, _) in zip(whole, other, strict=True))


@pytest.mark.parametrize("targets", [["y"], ["energy"]])
def test_an_element_that_the_first_window_lacks(
    tmp_path: Path, make: Callable[..., Path], spoil: Any, targets: list[str]
) -> None:
    """Fluorine is in one training molecule alone; whichever window that is in, an epoch goes to its end."""
    make(tmp_path)

    def fluorinate(values: list[Any]) -> None:
        values[0] = [9, *values[0][1:]]

    spoil(tmp_path, "data/train-00003-of-00005.parquet", "z", fluorinate)
    source = open_rows(tmp_path, targets_of(targets))
    for seed in range(3):
        normalization, batches = training_batches(source, None, BATCH, seed, 14)
        seen = {int(z) for batch, _ in batches.epoch_batches(0) for z in np.unique(batch.numbers)}
        assert 9 in seen
        assert targets == ["y"] or (9 in normalization.elements and 9 in normalization.references["energy"])


def test_memory_holds_one_window(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    held: list[weakref.ref[Packed]] = []
    real = RowSource.read

    def counted(self: RowSource, split: str, indices: Any = None, smiles: bool = True) -> Any:
        assert not [one for one in held if one() is not None]  # the window before is gone
        packed = real(self, split, indices, smiles)
        read.append(len(packed))
        held.append(weakref.ref(packed))
        return packed

    # references of atoms are fitted to the first window and to what later ones have of rare elements: two at a time
    batches, source = _made(corpus, 28)
    monkeypatch.setattr(RowSource, "read", counted)
    list(batches.epoch_batches(0))
    assert max(read) == 28 and sum(read) == source.count("train")
    last = Position(0, len(batches.windows) - 1, 0)
    read.clear()
    list(batches.epoch_batches(0, last))
    assert len(read) == 1  # nothing of what was before
    kept, source = _made(corpus, 1000)
    list(kept.epoch_batches(0))
    read.clear()
    list(kept.epoch_batches(1))
    assert read == []
