"""Values to about one and back, exactly as far as float32 goes."""

from __future__ import annotations

import json

import numpy as np
import pytest

from qmgen.constants import BOHR_TO_ANGSTROM
from qmgen.errors import UsageError
from qmgen.learning.data.packed import Normalization, Packed, fit
from qmgen.learning.targets import targets_of

SHARES = {1: -16.0, 6: -1037.0, 8: -2043.0}


def _packed(molecules: int = 200, elements: tuple[int, ...] = (1, 6, 8), noise: float = 0.5) -> Packed:
    random = np.random.default_rng(0)
    sizes = random.integers(2, 10, molecules)
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    numbers = random.choice(elements, offsets[-1]).astype(np.uint8)
    energy = np.add.reduceat(np.array([SHARES[int(z)] for z in numbers]), offsets[:-1])
    values = {
        "energy": (energy + noise * random.normal(size=molecules))[:, None],
        "y": random.normal(5.0, 2.0, (molecules, 1)),
        "dipole": random.normal(0.0, 3.0, (molecules, 3)),
        "forces": random.normal(size=(len(numbers), 3)),
    }
    ids = np.arange(molecules)
    positions = np.zeros((len(numbers), 3), np.float32)
    return Packed(numbers, positions, offsets, values, ids, ids.astype(np.int32), np.array([], object))


def test_round_trip_in_the_units_of_the_columns() -> None:
    packed, targets = _packed(), targets_of(["energy", "y", "dipole", "forces"])
    made = fit(targets, packed)
    assert Normalization.from_json(json.loads(json.dumps(made.to_json()))) == made
    padded = np.zeros((len(packed), 9), np.uint8)
    padded[np.arange(9) < packed.sizes[:, None]] = packed.numbers
    for name, values in packed.values.items():
        learned = made.normalize(name, values, packed)
        assert learned.dtype == np.float32
        assert 0.9 < np.sqrt(np.mean(learned**2)) < 1.1 or name == "forces"
        # float32 keeps 2^-24 of what is left, at most about 5 scales, after the atoms' share was taken off
        limit = 5 * made.scale[name] * 2.0**-24
        assert np.abs(made.restore(name, learned, packed) - values).max() < limit
        if name != "forces":
            assert np.array_equal(made.normalize(name, values, padded), learned)
    # 200 equations for 3 unknowns, noise 0.5: errors of some hundredths
    assert all(abs(made.references["energy"][z] - share) < 0.2 for z, share in SHARES.items())


def test_forces_stay_the_gradient() -> None:
    packed, targets = _packed(), targets_of(["energy", "forces"])
    made = fit(targets, packed)
    expected = packed.values["forces"] * BOHR_TO_ANGSTROM / made.scale["energy"]
    assert np.allclose(made.normalize("forces", packed.values["forces"], packed), expected, rtol=1e-6, atol=0)


def test_elements_that_always_come_together_share_the_norm() -> None:
    numbers = np.array([1, 8, 1, 8, 1, 8], np.uint8)  # OH, and OH twice
    ids = np.arange(2)
    packed = Packed(
        numbers, np.zeros((6, 3), np.float32), np.array([0, 2, 6]), {"energy": np.array([[-10.0], [-20.0]])},
        ids, ids.astype(np.int32), np.array([], object),
    )  # fmt: skip
    made = fit(targets_of(["energy"]), packed)
    assert made.references["energy"] == pytest.approx({1: -5.0, 8: -5.0}, rel=1e-12)  # float64, condition number 1
    assert made.scale["energy"] == 1.0  # what is left is rounding


def test_unseen_elements_are_named() -> None:
    made = fit(targets_of(["y"]), _packed(elements=(1, 6)))
    with pytest.raises(UsageError, match=r"^N, O was not in the rows .* hold H, C: leave"):
        made.restore("y", np.zeros((1, 1)), np.array([[7, 8, 1, 0]]))
