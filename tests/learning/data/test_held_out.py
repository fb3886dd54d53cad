"""Molecules of the training split that are held out for validation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qmgen.errors import UsageError
from qmgen.learning.data.source import open_rows
from qmgen.learning.data.splits import divided, select
from qmgen.learning.targets import targets_of

Y = targets_of(["y"])
FILE = "data/train-00000-of-00005.parquet"


def test_nothing_held_out_is_the_corpus_s_own_split(corpus: Path) -> None:
    source = open_rows(corpus, Y)
    division = divided(source, None)
    assert division.training_rows == source.count("train")
    assert np.array_equal(division.select(20, 3), select(source.count("train"), 20, 3))
    ((split, rows),) = division.validation(10)
    assert split == "validation" and np.array_equal(rows, select(source.count("validation"), 10, 0))
    assert len(division.validation(10**6)[0][1]) == source.count("validation")


@pytest.mark.parametrize("fraction", [0.1, 0.4])
def test_a_share_of_the_molecules_is_held_out_and_no_molecule_parts(corpus: Path, fraction: float) -> None:
    source = open_rows(corpus, Y)
    division, again = divided(source, fraction), divided(open_rows(corpus, Y), fraction)
    assert division.kept is not None and division.held_out is not None
    assert np.array_equal(division.held_out, again.held_out)
    assert sorted([*division.kept, *division.held_out]) == list(range(source.count("train")))
    ids = source.read("train").molecule_id
    kept, aside = set(ids[division.kept].tolist()), set(ids[division.held_out].tolist())
    assert not kept & aside and len(aside) == pytest.approx(fraction * len(kept | aside), abs=6)
    assert division.training_rows == len(division.kept)
    assert set(division.select(30, 1).tolist()) <= set(division.kept.tolist())
    (own, rows), (more, held) = division.validation(10**6)
    assert (own, len(rows), more) == ("validation", source.count("validation"), "train")
    assert np.array_equal(held, division.held_out)
    assert division.molecules(10**6) == len(aside) + len(set(source.read("validation").molecule_id.tolist()))
    assert sum(len(part) for _, part in division.validation(15)) == 15
    assert division.molecules(1) == 1


def test_a_smaller_share_is_part_of_a_larger_one(corpus: Path) -> None:
    few, many = (divided(open_rows(corpus, Y), fraction).held_out for fraction in (0.1, 0.5))
    assert few is not None and many is not None and set(few.tolist()) < set(many.tolist())


def test_isomers_follow_one_another_and_bare_geometries_their_formula(
    tmp_path: Path, make: Callable[..., Path], spoil: Any
) -> None:
    make(tmp_path, forces=False)

    def isomers(names: list[Any]) -> None:
        names[:] = [f"{name}/{row}" for row, name in enumerate(names)]  # each conformer an isomer of its molecule

    spoil(tmp_path, FILE, "smile", isomers)
    spoil(
        tmp_path,
        FILE.replace("00000", "00001"),
        "smile",
        lambda names: names.__setitem__(slice(None), [""] * len(names)),
    )
    source = open_rows(tmp_path, Y)
    for fraction in (0.2, 0.5, 0.8):
        division, packed = divided(source, fraction), source.read("train")
        assert division.held_out is not None
        aside = np.zeros(len(packed), bool)
        aside[division.held_out] = True
        for same in (packed.molecule_id.tolist(), [formula(packed, row) for row in range(len(packed))]):
            sides: dict[Any, set[bool]] = {}
            for row, key in enumerate(same):
                if isinstance(key, int) or not packed.smiles[row]:
                    sides.setdefault(key, set()).add(bool(aside[row]))
            assert sides and all(len(side) == 1 for side in sides.values())


def formula(packed: Any, row: int) -> tuple[int, ...]:
    return tuple(sorted(packed.take(np.array([row])).numbers.tolist()))


def test_an_empty_validation_split_is_made_up_for(tmp_path: Path, make: Callable[..., Path]) -> None:
    source = open_rows(make(tmp_path, fractions=(0.0, 0.1)), Y, ["train"])
    with pytest.raises(
        UsageError, match=r"has no rows in validation.* or hold out molecules with --validation-fraction"
    ):
        divided(source, None)
    ((split, rows),) = divided(source, 0.3).validation(10**6)
    assert split == "train" and len(rows) == divided(source, 0.3).molecules(10**6) * 2
    with pytest.raises(UsageError, match=r"none is held out with --validation-fraction 0.0001: give a larger one"):
        divided(source, 0.0001)
    with pytest.raises(
        UsageError, match=r"none is left to learn from with --validation-fraction 0.9999: give a smaller"
    ):
        divided(source, 0.9999)
