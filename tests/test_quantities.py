"""Times and sizes as they are shown."""

from __future__ import annotations

import pytest

from qmgen.quantities import duration, size


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.0, "0 s"),
        (-3.0, "0 s"),
        (0.000123, "0.00012 s"),
        (0.32, "0.32 s"),
        (4.25, "4.2 s"),
        (9.96, "10 s"),
        (0.0089 * 3600, "32 s"),
        (119.4, "119 s"),
        (120.0, "2 min"),
        (7100.0, "118 min"),
        (5 * 3600.0, "5 h"),
        (3 * 86400.0, "3 d"),
        (None, "?"),
        (float("nan"), "?"),
        (float("inf"), "?"),
    ],
)
def test_durations(seconds: float | None, shown: str) -> None:
    assert duration(seconds) == shown


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 B"),
        (512, "512 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (4.5e-05 * 1e9, "45 kB"),
        (144_321, "144 kB"),
        (999_600, "1 MB"),
        (1_234_567, "1.23 MB"),
        (15_300_000, "15.3 MB"),
        (2.5e9, "2.5 GB"),
        (7e13, "70 TB"),
        (None, "?"),
    ],
)
def test_sizes(count: float | None, shown: str) -> None:
    assert size(count) == shown
