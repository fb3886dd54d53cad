"""Units and splits: from the configuration alone."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from qmgen.corpus import SPLITS, Listing, Plan, Splitter, Unit, plan, store_of
from qmgen.corpus.plan import hill_formula


@pytest.mark.parametrize(
    ("entries", "conformers", "units", "count"),
    [(1, 1, None, 1), (5, 1, None, 5), (100, 1, None, 8), (100, 100, None, 10), (10**6, 1, None, 1000),
     (10**6, 10, 7, 7), (3, 1000, 9, 3), (8001, 1, None, 9), (10**7, 1, None, 4096), (10**9, 1, None, 40000)],
)  # fmt: skip
def test_units_cover_the_source_once(entries: int, conformers: int, units: int | None, count: int) -> None:
    found = list(plan(entries, conformers, units))
    assert len(found) == count == found[0].count
    assert found[0].start == 0 and found[-1].stop == entries
    assert all(a.stop == b.start for a, b in pairwise(found))
    sizes = {unit.stop - unit.start for unit in found}
    assert min(sizes) >= 1 and max(sizes) - min(sizes) <= 1


def test_names() -> None:
    unit = Unit(3, 64, 30, 40)
    assert unit.files()["train"] == "data/train-00003-of-00064.parquet"
    assert list(unit.files())[-1] == "failures" and unit.files()["failures"] == "failures/part-00003-of-00064.parquet"
    assert Unit(3, 64, 30, 40, 7).files()["test"] == "data/test-00003-of-00064.first-7.parquet"


@pytest.mark.parametrize(
    ("limit", "ends"), [(1, [1]), (25, [25]), (26, [25, 26]), (100, [25, 50, 75, 100]), (999, None)]
)
def test_a_limit_changes_no_unit(limit: int, ends: list[int] | None) -> None:
    found = list(plan(100, units=4, limit=limit))
    assert [unit.end for unit in found] == (ends or [25, 50, 75, 100])
    assert [(u.start, u.stop) for u in found] == [(u.start, u.stop) for u in plan(100, units=4)][: len(found)]


@pytest.mark.parametrize("arguments", [(0,), (5, 0), (5, 1, 0), (5, 1, 1, 0)])
def test_nothing_to_plan(arguments: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="at least one"):
        plan(*arguments)


def test_cut_units_are_hidden_and_then_removed(tmp_path: Path) -> None:
    def put(unit: Unit) -> None:
        for name in unit.files().values():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).touch()

    def listing() -> Listing:
        return Listing.of(store_of(tmp_path))

    put(Unit(0, 2, 0, 10, 3))
    assert listing().files("train") == ["data/train-00000-of-00002.first-3.parquet"] and not listing().superseded()
    put(Unit(0, 2, 0, 10, 5))
    assert listing().files("train") == ["data/train-00000-of-00002.first-5.parquet"]
    put(Unit(0, 2, 0, 10))
    assert listing().files("failures") == ["failures/part-00000-of-00002.parquet"]
    assert len(listing().superseded()) == 8 and all(".first-" in name for name in listing().superseded())
    put(Unit(0, 1, 10, 20, revision=1))
    assert listing().files("train")[1:] == ["data/train-00000-of-00001.more-1.parquet"]  # what was added comes last
    assert [key for key, _ in listing().units()] == [(0, 2, 0), (1, 1, 0)]


def test_splits_are_stable_across_machines_and_versions() -> None:
    """Written down once: a change here parts the conformers of every corpus made before."""
    splitter = Splitter(0, 0.25, 0.25)
    found = {s: splitter.split(s, []) for s in ("C", "CCO", "c1ccccc1", "CC(=O)O", "N#N", "O=C=O", "C1CC1", "CF")}
    assert found == EXPECTED


# by coreutils: printf '0\\0CCO' | b2sum -l 64; first hexadecimal digit 0-3 is test, 4-7 validation, the rest train
EXPECTED = {
    "C": "train",
    "CCO": "test",
    "c1ccccc1": "train",
    "CC(=O)O": "validation",
    "N#N": "test",
    "O=C=O": "validation",
    "C1CC1": "validation",
    "CF": "train",
}


def test_fractions_are_met_and_seeds_differ() -> None:
    smiles = [f"C{i}" for i in range(20000)]
    counts = Counter(Splitter(0, 0.1, 0.05).split(s, []) for s in smiles)
    assert abs(counts["validation"] - 2000) < 200 and abs(counts["test"] - 1000) < 150
    assert any(Splitter(0).split(s, []) != Splitter(1).split(s, []) for s in smiles)
    assert {Splitter(0, 0.0, 0.0).split(s, []) for s in smiles[:500]} == {"train"}
    assert counts.keys() == set(SPLITS)


def test_without_smiles_the_formula_decides() -> None:
    splitter = Splitter(0, 0.3, 0.3)
    assert splitter.split("", ["C", "H", "O"]) == splitter.split("", ["O", "C", "H"]) == splitter.split("CHO", [])
    assert hill_formula(["O", "H", "C", "H", "C", "H", "H", "H", "H"]) == "C2H6O"
    assert hill_formula(["H", "O", "H"]) == "H2O" and hill_formula(["F", "N", "F", "F"]) == "F3N"


@pytest.mark.parametrize("fractions", [(-0.1, 0.1), (0.5, 0.5)])
def test_fractions_that_leave_nothing(fractions: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="less than 1"):
        Splitter(0, *fractions)


@pytest.mark.parametrize("entries", [1, 7, 40, 41])
@pytest.mark.parametrize("count", [1, 3, 7])
def test_the_number_of_units_is_known_without_making_them(entries: int, count: int) -> None:
    for limit in (None, *range(1, entries + 2)):
        made = Plan(entries, min(count, entries), limit)
        assert made.size == len(list(made))
