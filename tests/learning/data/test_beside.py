"""What stands in ``data/`` and is no row to learn from is refused in one line, and not passed over."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from qmgen.errors import UsageError
from qmgen.learning.data.source import open_rows
from qmgen.learning.targets import targets_of

FILE = "data/train-00001-of-00005.parquet"


def test_a_file_of_no_unit(tmp_path: Path, make: Callable[..., Path]) -> None:
    make(tmp_path)
    shutil.copy(tmp_path / FILE, tmp_path / "data" / "extra.parquet")
    with pytest.raises(UsageError, match=r"data/extra.parquet belongs to no work unit and would not be read"):
        open_rows(tmp_path, targets_of(["y"]))


def test_a_file_without_its_level(tmp_path: Path, make: Callable[..., Path]) -> None:
    make(tmp_path)
    pq.write_table(pq.read_table(tmp_path / FILE).replace_schema_metadata(None), tmp_path / FILE)
    with pytest.raises(UsageError, match=rf"{FILE} does not say its level of theory"):
        open_rows(tmp_path, targets_of(["y"]))


def test_a_column_that_is_no_target(tmp_path: Path, make: Callable[..., Path]) -> None:
    make(tmp_path)
    table = pq.read_table(tmp_path / FILE)
    pq.write_table(table.drop_columns(["converged"]), tmp_path / FILE)
    with pytest.raises(UsageError, match=rf"{FILE} has no column converged, which every corpus"):
        open_rows(tmp_path, targets_of(["y"]))
