"""Rows by number are those of the corpus, and what must not be learned from is refused in one line."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from qmgen.corpus import load
from qmgen.errors import QmgenError, UsageError
from qmgen.learning.data.source import open_rows
from qmgen.learning.data.splits import check_splits, leakage
from qmgen.learning.targets import targets_of

FILE = "data/train-00001-of-00005.parquet"


def test_rows_are_those_of_the_corpus(with_forces: Path) -> None:
    source = open_rows(with_forces, targets_of(["y", "energy", "dipole", "forces"]))
    table = load(with_forces, "train").to_pylist()
    wanted = np.array([30, 2, 7, 41, 2])
    for indices, rows in ((None, table), (wanted, [table[i] for i in wanted])):
        packed = source.read("train", indices)
        assert len(packed) == len(rows)
        assert packed.numbers.tolist() == [z for row in rows for z in row["z"]]
        assert packed.sizes.tolist() == [len(row["z"]) for row in rows]
        assert packed.positions.reshape(-1).tolist() == [x for row in rows for x in row["pos"]]
        assert packed.values["energy"].tolist() == [[row["energy"]] for row in rows]
        assert packed.values["dipole"].tolist() == [row["dipole"] for row in rows]
        assert packed.values["forces"].reshape(-1).tolist() == [x for row in rows for x in row["forces"]]
        assert packed.smiles.tolist() == [row["smile"] for row in rows]
        assert packed.molecule_id.tolist() == [row["molecule_id"] for row in rows]
    assert len(source.read("train", np.array([], np.int64))) == 0
    with pytest.raises(IndexError):
        source.read("train", np.array([len(table)]))


def test_digest_follows_the_files(corpus: Path, with_forces: Path, tmp_path: Path, make: Callable[..., Path]) -> None:
    targets = targets_of(["y"])
    assert open_rows(corpus, targets).digest == open_rows(corpus, targets).digest
    assert open_rows(make(tmp_path, molecules=61), targets).digest != open_rows(corpus, targets).digest


def test_what_cannot_be_opened(corpus: Path, tmp_path: Path, make: Callable[..., Path]) -> None:
    with pytest.raises(UsageError, match="no column forces: choose --target from y, homo, lumo, energy, dipole"):
        open_rows(corpus, targets_of(["energy", "forces"]))
    mixed = make(tmp_path / "mixed", levels={3: {"xc": "pbe", "basis": "sto-3g"}})
    with pytest.raises(UsageError, match=r"train-00000-of-00005.parquet and .*00003-of.*\(xc: b3lyp5 -> pbe\)"):
        open_rows(mixed, targets_of(["y"]))
    unsplit = make(tmp_path / "unsplit", fractions=(0.0, 0.0))
    with pytest.raises(UsageError, match=r"no rows in validation \(120 in train, .* validation_fraction = 0.0"):
        open_rows(unsplit, targets_of(["y"]))
    assert open_rows(unsplit, targets_of(["y"]), splits=["train"]).count("train") == 120
    (tmp_path / "none").mkdir()
    with pytest.raises(UsageError, match="is not a qmgen corpus"):
        open_rows(tmp_path / "none", targets_of(["y"]))


def _set(value: Any) -> Callable[[list[Any]], None]:
    def change(values: list[Any]) -> None:
        values[1] = value

    return change


def _first(value: float) -> Callable[[list[Any]], None]:
    def change(values: list[Any]) -> None:
        values[1] = [value, *values[1][1:]]

    return change


@pytest.mark.parametrize(
    ("column", "change", "said"),
    [
        ("y", _set(math.nan), "not finite"),
        ("dipole", _first(math.inf), "not finite"),
        ("forces", _first(math.nan), "not finite"),
        ("pos", _first(math.nan), "not finite"),
        ("pos", _set([0.0] * 3), "holds 3 numbers where"),
        ("dipole", _set([0.0]), "holds 1 numbers where 3 belong"),
        ("forces", _set([]), "holds 0 numbers where"),
        ("z", _first(0), "an atom of number 0"),
        ("z", _first(100), "above 99"),
        ("converged", _set(False), "is false"),
    ],
)
def test_a_bad_row_is_named(
    tmp_path: Path,
    make: Callable[..., Path],
    spoil: Callable[..., tuple[int, int]],
    column: str,
    change: Callable[[list[Any]], None],
    said: str,
) -> None:
    make(tmp_path, forces=True)
    ids = spoil(tmp_path, FILE, column, change)
    source = open_rows(tmp_path, targets_of(["y", "energy", "dipole", "forces"]))
    with pytest.raises(QmgenError) as caught:
        source.read("train")
    line = str(caught.value)
    assert f"{FILE}: column {column} " in line and said in line and "\n" not in line
    assert f"(molecule_id {ids[0]}, conformer_id {ids[1]})" in line


def test_splits_share_no_molecule(corpus: Path, tmp_path: Path, make: Callable[..., Path], spoil: Any) -> None:
    source = open_rows(corpus, targets_of(["y"]))
    assert leakage(source) == []
    held = [source.read(split) for split in ("train", "validation", "test")]
    for what in ("molecule_id", "smiles"):
        sets = [set(getattr(packed, what).tolist()) for packed in held]
        assert sum(map(len, sets)) == len(set.union(*sets)) == 60
    # a conformer moved into training by hand is found by both
    make(tmp_path)
    other = open_rows(tmp_path, targets_of(["y"])).read("test", np.array([0]))
    spoil(tmp_path, FILE, "smile", _set(str(other.smiles[0])))
    spoil(tmp_path, FILE, "molecule_id", _set(int(other.molecule_id[0])))
    found = leakage(open_rows(tmp_path, targets_of(["y"])))
    assert {leak.what for leak in found} == {"molecule_id", "smile"} and found[0].splits == ("train", "test")
    check_splits(source)
    with pytest.raises(UsageError, match="is in train and in test, so that errors would"):
        check_splits(open_rows(tmp_path, targets_of(["y"])))


def test_pieces_and_row_groups_change_nothing(
    corpus: Path, tmp_path: Path, make: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = np.array([0, 1, 5, 17, 18, 19, 40, 70])
    plain = open_rows(corpus, targets_of(["y"])).read("train", wanted)
    make(tmp_path)
    for path in (tmp_path / "data").glob("*.parquet"):
        pq.write_table(pq.read_table(path), path, row_group_size=5)
    monkeypatch.setattr("qmgen.learning.data.source._STEP", 3)
    source = open_rows(tmp_path, targets_of(["y"]))
    assert len(source.groups("train").number) > 15  # more than the five files
    packed = source.read("train", wanted)
    assert np.array_equal(packed.positions, plain.positions) and np.array_equal(packed.values["y"], plain.values["y"])
    assert packed.molecule_id.tolist() == plain.molecule_id.tolist()
