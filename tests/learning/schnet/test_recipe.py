"""How long a training is by default, and numbers of rows as they are written."""

from __future__ import annotations

from pathlib import Path

import pytest

from qmgen.config.train import TrainSchnetConfig, rows_of
from qmgen.learning.schnet.train import DEFAULTS, recipe


def steps(preset: str, rows: int) -> int:
    settings = TrainSchnetConfig.model_validate({"data": "corpus", "out": Path("run")})
    return recipe(settings, preset, rows, -(-rows // min(DEFAULTS[preset].batch_size, rows)), False).steps


def test_lengths_of_tiny() -> None:
    assert [steps("tiny", rows) for rows in (100, 300, 1000, 3000, 10000, 25000)] == [
        1000,
        1000,
        3200,
        6000,
        6000,
        6000,
    ]


def test_few_rows_are_not_seen_ten_thousand_times_by_the_largest() -> None:
    assert steps("schnet-9m", 100) == 300
    assert steps("schnet-9m", 10_000) == 10_000  # 90 batches an epoch: 111 epochs


@pytest.mark.parametrize(("text", "rows"), [("16.1k", 16100), ("2.01k", 2010), ("32.2k", 32200), ("2.5M", 2500000)])
def test_rows_are_read_exactly(text: str, rows: int) -> None:
    assert rows_of(text) == (rows,)


def test_parts_of_a_row_are_refused() -> None:
    with pytest.raises(ValueError, match="is no number of rows"):
        rows_of("1.0005k")
