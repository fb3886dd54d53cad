"""Prepared geometries: kept or made anew they are the same, and what cannot be prepared is counted."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
from few_molecules import LEVEL, SMALL, store_of

from qmgen.dft.prepare import shape_of
from qmgen.learning.energy import problems as module
from qmgen.learning.energy.problems import case_of, shapes_of

NAMES = ["water", "ammonia", "fluoride"]


def size_of(ready: Any) -> int:
    return sum(leaf.nbytes for leaf in jax.tree.leaves((ready.case, ready.seen)))


def test_molecules_of_like_size_share_a_shape_that_holds_each() -> None:
    numbers = [one.numbers for one in store_of([*NAMES, "peroxide"]).systems]
    shapes = shapes_of(numbers, LEVEL)
    assert shapes[0] == shapes[1] == shapes[2] != shapes[3]
    assert (shapes[0].n_orbitals, shapes[0].n_atoms, shapes[3].n_orbitals) == (8, 4, 16)
    for one, shape in zip(numbers, shapes, strict=True):
        own = shape_of(one, LEVEL.basis_set, LEVEL.functional, LEVEL.grid_level)
        assert shape.n_blocks >= own.n_blocks and shape.n_coarse >= own.n_coarse


@pytest.mark.parametrize("room", [0, 1, 3])
def test_kept_or_made_anew_it_is_the_same(room: int) -> None:
    """With memory for so many; the first come are those that stay."""
    whole = store_of(NAMES, SMALL)
    expected = [whole.get(index) for index in range(3)]
    scarce = store_of(NAMES, SMALL, memory=(room + 0.5) * size_of(expected[0]))
    first, again = ([scarce.get(index) for index in range(3)] for _ in range(2))
    assert [a is b for a, b in zip(first, again, strict=True)] == [index < room for index in range(3)]
    for one, other in zip(again, expected, strict=True):
        assert one is not None and other is not None
        pairs = zip(jax.tree.leaves((one.case, one.seen)), jax.tree.leaves((other.case, other.seen)), strict=True)
        assert all(isinstance(a, np.ndarray) and np.array_equal(a, b) for a, b in pairs)


def test_what_fails_is_counted_and_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def spoiled(system: Any, shape: Any, level: Any) -> Any:
        tried.append(len(system.numbers))
        if len(system.numbers) == 4:
            raise np.linalg.LinAlgError("no\neigenvalues")
        case = case_of(system, shape, level)
        if len(system.numbers) == 2:
            return case._replace(inputs=case.inputs._replace(initial=case.inputs.initial * np.nan))
        return case

    monkeypatch.setattr(module, "case_of", spoiled)
    store = store_of(NAMES)
    for _ in range(2):
        assert store.get(0) is not None
        assert store.get(1) is None and store.get(2) is None
    assert tried == [3, 4, 2]
    assert store.failed[1] == "LinAlgError: no"
    assert store.reasons() == {"LinAlgError": 1, "the Fock matrix of spherical atoms is not finite": 1}
