"""Laws through made-up curves, rows for an error, hours and gains, against values known beforehand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from qmgen.learning.scaling.law import Fit, fit, generating, measured_rate, rows_for
from qmgen.learning.scaling.report import compare_seeds, points, transfer

SIZES = [100, 300, 1000, 3000, 10000]


def noisy(floor: float, noise: float, seeds: int = 3) -> tuple[list[int], list[float]]:
    random = np.random.default_rng(5)
    rows = [size for size in SIZES for _ in range(seeds)]
    clean = 2900 * np.array(rows, float) ** -0.4 + floor
    return rows, list(clean * np.exp(noise * random.standard_normal(len(rows))))


def cell(rows: int, seed: int, error: float, test: float | None = None) -> dict[str, Any]:
    target = {"unit": "meV", "validation_mae": error, "test_mae": test, "validation_rows": 9, "test_rows": 0}
    return {"rows": rows, "seed": seed, "steps": 10, "best_step": 7, "seconds": 2.0, "targets": {"y": target}}


def test_the_exponent_of_an_exact_law() -> None:
    law = fit(*noisy(0, 0))
    assert law is not None and law.floor == 0 and law.kind == "power law"
    # least squares of exact data: rounding only
    assert law.exponent == pytest.approx(0.4, abs=1e-9) and law.factor == pytest.approx(2900, rel=1e-9)


def test_the_exponent_within_its_error() -> None:
    law = fit(*noisy(0, 0.05))
    assert law is not None and law.exponent_error is not None and law.floor == 0
    # 0.05 / sqrt(sum of squared deviations of log rows, 15 points) = 0.008: three of these
    assert abs(law.exponent - 0.4) < 0.024
    assert 0.003 < law.exponent_error < 0.03


def test_a_floor_is_found_where_there_is_one() -> None:
    law = fit(*noisy(60, 0))
    assert law is not None and law.kind == "power law with a floor"
    # the optimizer stops at relative changes of 1e-12 of the cost, whose square root the parameters follow
    assert law.floor == pytest.approx(60, rel=1e-3) and law.exponent == pytest.approx(0.4, rel=1e-3)


def test_no_floor_from_three_sizes() -> None:
    rows = SIZES[:3] * 3
    law = fit(rows, [2900 * size**-0.4 + 60 for size in rows])
    assert law is not None and law.floor == 0


def test_few_points() -> None:
    assert fit([100, 100, 100], [5.0, 6.0, 7.0]) is None
    two = fit([100, 10000], [100.0, 10.0])
    assert two is not None and two.exponent == pytest.approx(0.5) and two.exponent_error is None


def test_lack_of_fit_counts_though_seeds_agree() -> None:
    rows = [size for size in SIZES for _ in range(30)]
    bent = {100: 1.0, 300: 1.3, 1000: 0.8, 3000: 1.2, 10000: 0.9}
    law = fit(rows, [bent[size] * size**-0.4 for size in rows])
    few = fit(SIZES, [bent[size] * size**-0.4 for size in SIZES])
    assert law is not None and few is not None and law.exponent_error == pytest.approx(few.exponent_error, rel=1e-6)


def test_rows_for_an_error_by_hand() -> None:
    law = Fit(1000.0, 0.5, 0.0, 0.1, np.array([[0.0, 0.0], [0.0, 0.01]]), 10**6)
    found = rows_for(law, 10.0, 1000)
    # (1000 / 10)^(1 / 0.5) = 10^4: ten times the largest, no guess yet
    assert (
        found["rows"] == pytest.approx(1e4)
        and found["extrapolated"] == pytest.approx(10)
        and "extrapolated" in found["note"]
    )
    # the exponent alone uncertain: width of log rows = 1.96 * log(10^4) * 0.1 / 0.5
    width = 1.959964 * math.log(1e4) * 0.2
    assert found["interval"] == pytest.approx([1e4 / math.exp(width), 1e4 * math.exp(width)], rel=1e-4)
    assert rows_for(law, 1.0, 1000)["guess"] and "guess" in rows_for(law, 1.0, 1000)["note"]
    assert rows_for(law, 100.0, 1000)["note"].startswith("within") and not rows_for(law, 100.0, 1000)["guess"]


def test_rows_that_do_not_exist() -> None:
    assert rows_for(Fit(1000.0, 0.5, 20.0, None, None, 0), 10.0, 1000)["rows"] is None
    assert rows_for(Fit(1000.0, -0.1, 0.0, None, None, 0), 10.0, 1000)["rows"] is None
    assert rows_for(Fit(1000.0, 0.001, 0.0, None, None, 0), 10.0, 1000)["rows"] is None


def test_hours_by_hand() -> None:
    worker = {"devices": ["cpu"]}
    record = {"rows": 3600, "seconds": 1800.0, "workers": [worker, worker], "platform": "Linux"}
    rate = measured_rate([record, {**record, "rows": 0}, {}])
    assert rate is not None and rate["rows_per_second"] == 2.0 and rate["device"] == "2 workers on cpu, Linux"
    made = generating(85_000, 0.85, rate)
    assert made["corpus_rows"] == pytest.approx(100_000)
    assert made["here"]["hours"] == pytest.approx(100_000 / 2 / 3600)
    assert made["qm1b"]["hours"] == pytest.approx(100_000 / 7.4 / 3600)
    assert measured_rate([]) is None and generating(1.0, 1.0, None)["here"] is None


def test_points_by_hand() -> None:
    found = points([cell(1000, 0, 50), cell(100, 1, 110, 120), cell(100, 0, 90, 100)], "y")
    assert [point["rows"] for point in found] == [100, 1000]
    assert (
        found[0]["mean"] == 100 and found[0]["spread"] == pytest.approx(math.sqrt(200)) and found[0]["test_mean"] == 110
    )
    assert [one["seed"] for one in found[0]["seeds"]] == [0, 1]
    assert found[1]["spread"] is None and found[1]["test_mean"] is None


def test_the_gain_by_hand_in_pairs() -> None:
    tuned = [cell(100, 0, 40), cell(100, 1, 60), cell(300, 0, 1)]
    scratch = [cell(100, 0, 80), cell(100, 1, 100), cell(100, 2, 1)]
    (found,) = compare_seeds(tuned, scratch, "y")
    assert (found["init"], found["scratch"], found["gain"]) == (50, 90, 40)
    assert found["ratio"] == pytest.approx(50 / 90) and found["ratio_spread"] == pytest.approx(0.1 / math.sqrt(2))
    assert transfer(tuned, []) is None and transfer([cell(5, 0, 1)], [cell(6, 0, 1)]) is None
