"""The figure of growth is a picture, for a full result and for one with two points."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.growth_figure import draw
from qmgen.errors import UsageError


def result(sizes: list[int], error: float | None = 0.04) -> dict[str, Any]:
    """A made-up result: 2e-5 n^2.6 seconds a conformer."""
    peak = {"peak_bytes": 1_200_000_000, "resting_bytes": 600_000_000}
    return {
        "date": "2026-11-25T00:00:00+00:00",
        "machine": {"cpu": "a processor"},
        "settings": {"xc": "b3lyp5", "basis": "sto-3g", "grid_level": 1},
        "by_size": {
            "points": [{"orbitals": n, "cpu_seconds": 2e-5 * n**2.6, **peak} for n in sizes],
            "fit": {"factor": 2e-5, "exponent": 2.6, "exponent_error": error},
        },
        "by_batch": {
            "smiles": "CCO",
            "points": [{"batch_size": size, "cpu_seconds": 0.9 + 0.1 / size, **peak} for size in (1, 2, 4, 8, 16)],
        },
        "by_rows": {
            "smiles": "CCO",
            "points": [{"first_row": 1 + 16 * i, "rows": 16, "cpu_seconds": 0.9, **peak} for i in range(8)],
        },
    }


@pytest.mark.parametrize("made", [result([31, 45, 59, 80, 108]), result([14, 21], error=None)])
def test_a_figure_is_drawn(tmp_path: Path, made: dict[str, Any]) -> None:
    path = draw(made, tmp_path / "new" / "growth.png")
    assert path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 20_000


def test_the_exponent_stands_on_the_figure(tmp_path: Path) -> None:
    path = draw(result([31, 108]), tmp_path / "growth.svg")
    assert "exponent 2.60 ± 0.04" in path.read_text(encoding="utf-8")  # matplotlib leaves each text as a comment


def test_a_figure_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot write"):
        draw(result([31, 108]), tmp_path / "file" / "growth.png")
    with pytest.raises(UsageError, match="cannot write"):
        draw(result([31, 108]), tmp_path / "growth.nothing")
