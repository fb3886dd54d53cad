"""Labels by the loops of accelerators, on whatever is here: the same numbers, failures of one alone, and retries."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
import pytest

from qmgen.dft.backend import ACCELERATOR, using
from qmgen.dft.prepare import System
from qmgen.labeling import Label, Settings, label
from qmgen.molecules.types import Conformer, Failure, Reason
from tests.labeling.test_batches import ETHANE, METHANOL, METHYLAMINE, conformer, same_bits

#: the module, which its function hides in the package
label_module = sys.modules["qmgen.labeling.stream"]

BATCH = [conformer(METHANOL, 0), conformer(METHYLAMINE, 1), conformer(ETHANE, 2)]
SETTINGS = Settings(grid_level=0, batch_size=3)


def by_id(conformers: list[Conformer], settings: Settings = SETTINGS) -> dict[int, Label | Failure]:
    found: dict[int, Label | Failure] = {}
    for one in label(conformers, settings):
        if isinstance(one, Failure):
            found[one.molecule_id] = one
        else:
            found[one[0].molecule_id] = one[1]
    assert len(found) == len(conformers)
    return found


@pytest.fixture(scope="module")
def in_turn() -> dict[int, Label | Failure]:
    """By the loops of CPUs."""
    return by_id(BATCH)


@pytest.fixture(autouse=True)
def as_on_an_accelerator(in_turn: dict[int, Label | Failure]) -> Iterator[None]:
    with using(ACCELERATOR):
        yield


def agrees(found: Label | Failure, expected: Label | Failure) -> None:
    assert isinstance(found, Label) and isinstance(expected, Label)
    assert abs(found.energy - expected.energy) < 1e-9
    # of first order in the density, which either path converges to a gradient of 1e-6 on its own way
    for name in ("homo", "lumo"):
        assert abs(getattr(found, name) - getattr(expected, name)) < 1e-6
    for name in ("dipole", "charges"):
        assert np.abs(found.properties[name] - expected.properties[name]).max() < 1e-5
    assert found.n_orbitals == expected.n_orbitals


def test_the_same_labels(in_turn: dict[int, Label | Failure]) -> None:
    found = by_id(BATCH)
    for molecule in found:
        agrees(found[molecule], in_turn[molecule])


def test_a_defect_of_one_costs_no_neighbor_its_label(
    in_turn: dict[int, Label | Failure], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = label_module.batch_lists

    def fails_with_nitrogen(systems: Sequence[System], *rest: Any) -> Any:
        if any(7 in system.numbers for system in systems):
            raise ValueError("no nitrogen today")
        return real(systems, *rest)

    monkeypatch.setattr(label_module, "batch_lists", fails_with_nitrogen)
    # a molecule alone in a batch has a program of its own: the same one for both methanols
    found = by_id([*BATCH[:2], conformer(METHANOL, 2)])
    failure = found[1]
    assert isinstance(failure, Failure)
    assert failure.reason is Reason.INTERNAL_ERROR and "no nitrogen today" in failure.detail
    agrees(found[0], in_turn[0])
    agrees(found[2], in_turn[0])


def test_neighbors_and_places_change_no_bit() -> None:
    alone = by_id(BATCH[:1])[0]
    assert isinstance(alone, Label)
    for batch in (BATCH, BATCH[::-1], [BATCH[1], BATCH[0], BATCH[2]]):
        found = by_id(batch)[0]
        assert isinstance(found, Label) and same_bits(found, alone)


@pytest.mark.slow
def test_what_does_not_fit_together_is_labeled_alone(
    in_turn: dict[int, Label | Failure], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = label_module.prepare_lists

    def full(functional: Any, lists: Any, *rest: Any) -> Any:
        if len(lists.facts.numbers) > 1 or 7 in lists.facts.numbers:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")
        return real(functional, lists, *rest)

    monkeypatch.setattr(label_module, "prepare_lists", full)
    found = by_id(BATCH)
    agrees(found[0], in_turn[0])
    assert isinstance(found[1], Failure) and found[1].reason is Reason.OUT_OF_MEMORY


def test_what_does_not_converge_is_tried_again(in_turn: dict[int, Label | Failure]) -> None:
    found = by_id(BATCH[:1], Settings(grid_level=0, batch_size=3, max_cycles=2))[0]
    agrees(found, in_turn[0])
    assert isinstance(found, Label) and found.cycles > 2
