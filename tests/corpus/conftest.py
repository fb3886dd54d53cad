"""Rows for the tests of files: three atoms each, numbers from a seed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest


def make_row(molecule: int, conformer: int = 0, **changes: Any) -> dict[str, Any]:
    random = np.random.default_rng(1000 * molecule + conformer)
    row = {
        "smile": f"C{molecule}", "atoms": "OHH", "z": np.array([8, 1, 1], np.uint8),
        "energy": -2000.0 + random.normal(), "homo": -7.0, "lumo": 3.5, "N": 7, "std": 1e-9, "y": 10.5,
        "pos": random.normal(size=9).astype(np.float32),
        "molecule_id": molecule, "conformer_id": conformer, "name": f"mol{molecule}", "converged": True, "cycles": 9,
        "orbital_gradient": 1e-7, "dipole": random.normal(size=3), "charges": random.normal(size=3),
        "precision": "float64",
    }  # fmt: skip
    return {**row, **changes}


@pytest.fixture
def row() -> Callable[..., dict[str, Any]]:
    """``row(molecule, conformer, **changes)``."""
    return make_row
