"""Learning rates at the places where a formula is easy to get wrong."""

from __future__ import annotations

import jax
import pytest

from qmgen.learning.training.step import schedule_of

#: float32 rounds at 6e-8; a few operations
TOLERANCE = 1e-6


@pytest.mark.parametrize(
    ("kind", "step", "expected"),
    [
        ("cosine", 0, 0.2),
        ("cosine", 50, 0.6),
        ("cosine", 100, 1.0),
        ("cosine", 550, 0.5),
        ("cosine", 1000, 0.0),
        ("cosine", 2000, 0.0),
        ("constant", 0, 0.2),
        ("constant", 900, 1.0),
        ("qm1b", 50, 0.6),
        ("qm1b", 9599, 1.0),
        ("qm1b", 9600, 0.96),
        ("qm1b", 96000, 0.96**10),
    ],
)
def test_rates(kind: str, step: int, expected: float) -> None:
    rate = schedule_of(kind, 5e-4, 100, 1000)
    assert float(rate(step)) == pytest.approx(5e-4 * expected, rel=TOLERANCE, abs=1e-10)
    assert jax.jit(rate)(step).dtype == "float32"


def test_no_warm_up_begins_at_the_peak() -> None:
    assert float(schedule_of("cosine", 1.0, 0, 10)(0)) == 1.0
