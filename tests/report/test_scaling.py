"""The figures of scaling and transfer are pictures, for one, two and many numbers of rows."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.fp8_comparison import result_of
from benchmarks.label_free import curve_of
from qmgen.errors import QmgenError, UsageError
from qmgen.learning.scaling.law import fit, published_curve
from qmgen.learning.scaling.report import points, read_cells
from qmgen.learning.scaling.report import transfer as compared
from qmgen.report import scaling


def cells(
    sizes: list[int], seeds: int, factor: float = 2900.0, targets: tuple[str, ...] = ("y",)
) -> list[dict[str, Any]]:
    """Made-up results: factor n^-0.35 meV, the seeds 4 % apart."""
    return [
        {
            "rows": rows,
            "seed": seed,
            "steps": 100,
            "best_step": 90,
            "seconds": 1.0,
            "init": None,
            "targets": {
                name: {
                    "unit": "meV",
                    "validation_mae": factor * rows**-0.35 * (1 + 0.04 * (seed - 1)),
                    "test_mae": 1.03 * factor * rows**-0.35,
                }
                for name in targets
            },
        }
        for rows in sizes
        for seed in range(seeds)
    ]


def result(sizes: list[int], seeds: int, targets: tuple[str, ...] = ("y",)) -> dict[str, Any]:
    made = {}
    for name in targets:
        curve = points(cells(sizes, seeds, targets=targets), name)
        law = fit(
            [p["rows"] for p in curve for _ in p["seeds"]], [s["validation_mae"] for p in curve for s in p["seeds"]]
        )
        made[name] = {"unit": "meV", "trivial_mae": 760.0, "points": curve, "fit": law.to_json() if law else None}
    return {
        "preset": "small",
        "parameters": 123456,
        "level_of_theory": {"xc": "b3lyp5", "basis": "sto-3g"},
        "date": "2026-11-25T00:00:00+00:00",
        "targets": made,
        "published": published_curve(),
    }


@pytest.mark.parametrize(
    "made",
    [
        result([1000], 1),
        result([100, 1000], 1),
        result([100, 300, 1000, 3000, 10000], 3),
        result([100, 1000], 2, ("y", "homo")),
    ],
)
def test_a_scaling_figure_is_drawn(tmp_path: Path, made: dict[str, Any]) -> None:
    path = scaling.draw(made, tmp_path / "new" / "scaling.png")
    assert path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 20_000


def test_law_and_source_stand_on_the_figure(tmp_path: Path) -> None:
    text = scaling.draw(result([100, 300, 1000], 3), tmp_path / "scaling.svg").read_text(encoding="utf-8")
    assert "exponent −0.35 ± " in text and "QM1B, published" in text and "b3lyp5/sto-3g" in text


def test_no_law_is_drawn_through_one_point(tmp_path: Path) -> None:
    assert "exponent" not in scaling.draw(result([100], 3), tmp_path / "s.svg").read_text(encoding="utf-8")


def test_the_published_curve_is_beside_the_gap_only(tmp_path: Path) -> None:
    text = scaling.draw(result([100, 1000], 1, ("homo",)), tmp_path / "s.svg").read_text(encoding="utf-8")
    assert "QM1B" not in text


@pytest.mark.parametrize(("sizes", "seeds"), [([100], 1), ([100, 300, 1000], 3)])
def test_a_transfer_figure_is_drawn(tmp_path: Path, sizes: list[int], seeds: int) -> None:
    made = compared(cells(sizes, seeds, 1700.0), cells(sizes, seeds))
    assert made is not None
    path = scaling.draw_transfer(made, tmp_path / "transfer.png")
    assert path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 20_000


def test_what_cannot_be_read_or_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot write"):
        scaling.draw(result([100], 1), tmp_path / "file" / "scaling.png")
    with pytest.raises(QmgenError, match="cannot read"):
        scaling.draw_run(tmp_path)


@pytest.mark.parametrize(
    "make",
    [
        os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/dev/zero"), lambda path: path.write_text("[" * 100_000),
        lambda path: path.write_text("[1]"), lambda path: path.write_bytes(b'{"a": "\xff"}'),
        lambda path: os.truncate(os.open(path, os.O_CREAT | os.O_RDWR), 2**40),
    ],
    ids=["pipe", "folder", "device", "deep", "list", "no text", "long"],
)  # fmt: skip
def test_results_that_are_no_table_are_refused_in_one_line(tmp_path: Path, make: Callable[[Path], Any]) -> None:
    for name in ("scaling.json", "result.json", "metrics.jsonl"):
        make(tmp_path / name)
    job: Any = SimpleNamespace(name=".")
    for read in (
        lambda: scaling.draw_run(tmp_path),
        lambda: scaling.read_lines(tmp_path / "metrics.jsonl"),
        lambda: read_cells([tmp_path]),
        lambda: result_of(tmp_path, job),
        lambda: curve_of(tmp_path),
    ):
        with pytest.raises(QmgenError) as caught:
            read()
        assert len(caught.value.lines) == 1


def test_results_with_numbers_that_are_none_are_read(tmp_path: Path) -> None:
    """A training that diverged has such losses."""
    (tmp_path / "result.json").write_text('{"loss": NaN, "best": Infinity}')
    (found,) = read_cells([tmp_path])
    assert found["best"] == float("inf") and found["loss"] != found["loss"]
    assert read_cells([tmp_path / "none"]) == []
