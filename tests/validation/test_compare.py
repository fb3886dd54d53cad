"""The statistics and the verdict, on numbers made up so that the answer is known by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from qmgen.validation.compare import Tolerances, check_of, compare, summarize, table


def values(rows: int = 101, **shifts: np.ndarray) -> dict[str, np.ndarray]:
    """Smooth labels with ``shifts`` (rows,) added to energy, homo or lumo, and (rows, 3) to the dipole."""
    place = np.arange(rows, dtype=np.float64)
    homo = -0.25 + 0.001 * place + shifts.get("homo", 0)
    lumo = 0.05 - 0.001 * place + shifts.get("lumo", 0)
    return {
        "energy": -300 - place + shifts.get("energy", 0),
        "homo": homo,
        "lumo": lumo,
        "gap": lumo - homo,
        "dipole": np.stack([place, -place, 0 * place], axis=-1) / 50 + shifts.get("dipole", 0),
    }


def test_identical_values_pass_with_zero_error():
    comparison = compare(values(), values())
    assert comparison.passed
    assert all(found.maximum == 0 for found in comparison.statistics.values())


def test_mean_percentiles_and_maximum_are_those_of_the_absolute_differences():
    steps = np.arange(101) * 1e-9 * (-1) ** np.arange(101)  # sizes 0 ... 100 nHa, signs alternate
    found = summarize(steps, tolerance=1e-6)
    assert found.passed and found.outside == 0
    np.testing.assert_allclose(found.mean, 50e-9)
    np.testing.assert_allclose(found.maximum, 100e-9)
    np.testing.assert_allclose([found.percentiles[at] for at in (50, 90, 99)], [50e-9, 90e-9, 99e-9])


def test_dipole_difference_is_the_norm_of_the_vector_difference():
    shift = np.tile([3e-5, 4e-5, 0], (101, 1))
    comparison = compare(values(dipole=shift), values())
    np.testing.assert_allclose(comparison.differences["dipole"], 5e-5, rtol=1e-9)


def test_gap_sees_shifts_of_opposite_sign_that_each_level_passes():
    shift = np.full(101, 0.8e-5)
    comparison = compare(values(homo=-shift, lumo=shift), values())
    passed = {name: found.passed for name, found in comparison.statistics.items()}
    assert passed == {"energy": True, "homo": True, "lumo": True, "gap": False, "dipole": True}


@pytest.mark.parametrize("size", [2e-6, -2e-6, np.nan, np.inf])
def test_one_row_out_of_tolerance_fails_the_whole(size):
    shift = np.zeros(101)
    shift[17] = size
    comparison = compare(values(energy=shift), values())
    assert not comparison.passed
    assert comparison.statistics["energy"].outside == 1
    assert np.flatnonzero(comparison.outside).tolist() == [17]
    json.dumps(comparison.to_dict(), allow_nan=False)


def test_the_same_row_passes_under_wider_tolerances():
    shift = np.zeros(101)
    shift[17] = 2e-6
    assert compare(values(energy=shift), values(), Tolerances(energy=1e-5)).passed


def test_nothing_compared_is_not_a_pass():
    empty = values(0)
    assert not compare(empty, empty).passed


def test_rows_that_do_not_belong_together_are_refused():
    with pytest.raises(ValueError, match="rows"):
        compare(values(3), values(4))


def test_table_has_a_line_per_quantity_and_names_what_is_outside():
    shift = np.zeros(101)
    shift[:3] = 1.0
    lines = table(compare(values(homo=shift), values())).splitlines()
    assert len(lines) == 1 + len(values())
    assert [line.split()[0] for line in lines[1:]] == [check_of(name).symbol for name in values()]
    assert [line.endswith("3 of 101 outside") for line in lines[1:]] == [False, True, False, True, False]
