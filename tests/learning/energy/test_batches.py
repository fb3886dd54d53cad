"""Batches of different molecules: each geometry once an epoch, in an order that can be continued anywhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from typing import Any

import jax
import numpy as np
import pytest
from few_molecules import store_of

from qmgen.errors import QmgenError
from qmgen.learning.energy.problems import CaseFeed, ConvergedLabels, EnergyBatch, GeometryStore

NAMES = ["water", "ammonia", "fluoride", "peroxide", "water", "peroxide", "ammonia", "water", "peroxide", "fluoride"]


@pytest.fixture(scope="module")
def store() -> GeometryStore:
    return store_of(NAMES)


def feed_of(
    store: GeometryStore, size: int = 3, seed: int = 0, labels: dict[int, ConvergedLabels] | None = None
) -> CaseFeed:
    return CaseFeed(store, range(len(store)), size, seed, lambda case: case.problem.positions[0, 0], labels)


def members(store: GeometryStore, batch: EnergyBatch) -> list[int]:
    """Which geometries a batch holds: each has a place of its own."""
    places = [np.asarray(ready.case.problem.positions)[0, 0] for k in range(len(store)) if (ready := store.get(k))]
    there = np.asarray(batch.weights) > 0
    return [places.index(x) for x in np.asarray(batch.cases.problem.positions)[there, 0, 0]]


def taken(feed: CaseFeed, many: int, place: Any = None) -> list[tuple[EnergyBatch, Any, int]]:
    with closing(feed.batches(place)) as source:
        return list(islice(source, many))


def test_every_geometry_once_an_epoch_and_batches_of_one_shape(store: GeometryStore) -> None:
    feed = feed_of(store)
    plans = [feed.plan(epoch) for epoch in (0, 1)]
    for plan in plans:
        assert sorted(index for batch in plan for index in batch) == list(range(len(NAMES)))
        assert all(len({store.shapes[index] for index in batch}) == 1 and len(batch) <= 3 for batch in plan)
    assert plans[0] != plans[1] and plans == [feed_of(store).plan(epoch) for epoch in (0, 1)]
    assert feed_of(store, seed=1).plan(0) != plans[0]
    mixed = [{NAMES[index] for index in batch} for plan in plans for batch in plan]
    assert any(len(names) > 1 for names in mixed)


def test_what_comes_is_what_was_planned(store: GeometryStore) -> None:
    feed = feed_of(store)
    plan = feed.plan(0) + feed.plan(1)
    found = taken(feed, len(plan))
    assert [members(store, batch) for batch, _, _ in found] == plan
    assert [rows for _, _, rows in found] == [len(batch) for batch in plan]
    for batch, _, rows in found:
        weights = np.asarray(batch.weights)
        assert weights.tolist() == [1.0] * rows + [0.0] * (3 - rows) and weights.dtype == np.float32
        # what fills a batch is a molecule like any other, or its energy would not be finite
        assert all(np.asarray(leaf).shape[0] == 3 for leaf in jax.tree.leaves((batch.cases, batch.seen)))
        assert np.array_equal(np.asarray(batch.baseline), np.asarray(batch.cases.problem.positions)[:, 0, 0])
        assert batch.targets is None and batch.energies is None
    assert any(rows < 3 for _, _, rows in found)


@pytest.mark.parametrize("at", [0, 2, 4, 7])
def test_from_any_place_it_goes_on_with_the_very_next(store: GeometryStore, at: int) -> None:
    whole = taken(feed_of(store), 12)
    rest = taken(feed_of(store), 11 - at, whole[at][1])
    assert [members(store, batch) for batch, _, _ in rest] == [members(store, batch) for batch, _, _ in whole[at + 1 :]]
    assert [place for _, place, _ in rest] == [place for _, place, _ in whole[at + 1 :]]


def test_labels_go_with_their_geometries(store: GeometryStore) -> None:
    labels = {
        k: ConvergedLabels(float(k), np.full((shape.n_orbitals, shape.n_orbitals), k))
        for k, shape in enumerate(store.shapes)
    }
    for batch, _, rows in taken(feed_of(store, labels=labels), 5):
        held = members(store, batch)
        assert np.asarray(batch.energies)[:rows].tolist() == held
        assert np.asarray(batch.targets)[:rows, 1, 2].tolist() == held


class Scarce(GeometryStore):
    """As a store, but some cannot be had."""

    lost: frozenset[int] = frozenset()

    def get(self, index: int) -> Any:
        return None if index in self.lost else super().get(index)


@pytest.fixture
def scarce(store: GeometryStore) -> Iterator[Scarce]:
    made = Scarce(store.systems, store.level, store.network, 1e9)
    made._kept = store._kept
    yield made


def test_what_cannot_be_prepared_is_left_out(store: GeometryStore, scarce: Scarce) -> None:
    scarce.lost = frozenset({0, 3, 5, 8})  # all of one shape, and one of the other
    found = taken(feed_of(scarce), 4)
    first = [members(store, batch) for batch, place, _ in found if place["epoch"] == 0]
    assert sorted(index for held in first for index in held) == [1, 2, 4, 6, 7, 9]
    scarce.lost = frozenset(range(len(NAMES)))
    with pytest.raises(QmgenError, match="no training geometry could be prepared"):
        taken(feed_of(scarce), 1)
