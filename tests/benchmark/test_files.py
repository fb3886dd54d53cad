"""The measurement of files, at toy size: that it runs, and that what it writes is sound."""

from __future__ import annotations

from pathlib import Path

from benchmarks.files import measure


def test_a_toy_measurement(tmp_path: Path) -> None:
    found = measure(rows_per_unit=20, units=2, listed=40, folder=tmp_path)
    assert (found.units, found.rows_per_unit, found.listed) == (2, 20, 40)
    # 25 atoms: 300 bytes of positions and 200 of charges at least 18 times, whatever the compression
    assert found.bytes_per_row > 300 and found.check_seconds > 0 and found.peak_memory > 1e6
    assert not list(tmp_path.iterdir())
