"""The law of a scaling curve, from every seed of every size.

    MAE = a n^(-b)          a straight line in the logarithms
    MAE = a n^(-b) + c      with a floor c, tried where there are four sizes or more

both by least squares in the logarithms. The floor is kept only where it fits better than chance would (F test, 5 %).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from qmgen.power_law import power_law

#: sizes from which a floor can be told from a power law
FLOOR_SIZES: Final = 4
#: probability of keeping a floor that is none
CHANCE: Final = 0.05


@dataclass(frozen=True)
class Fit:
    """``factor`` n^(-``exponent``) + ``floor`` (0 without). ``covariance`` is that of (log factor, exponent[, floor]),
    with ``freedom`` degrees; None where there are no deviations to tell it from."""

    factor: float
    exponent: float
    floor: float
    exponent_error: float | None
    covariance: np.ndarray | None
    freedom: int

    @property
    def kind(self) -> str:
        """Which law it is."""
        return "power law with a floor" if self.floor else "power law"

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """The law's errors at ``rows``."""
        return np.asarray(self.factor * np.asarray(rows, float) ** -self.exponent + self.floor)

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "law": self.kind,
            "factor": self.factor,
            "exponent": self.exponent,
            "exponent_error": self.exponent_error,
            "floor": self.floor or None,
        }


def fit(rows: Sequence[float], errors: Sequence[float]) -> Fit | None:
    """The law through ``errors`` at ``rows``, one entry for each seed of each size; None with fewer than two sizes.

    The standard error is the larger of two: from all points, which counts the scatter of seeds; and from the mean of
    each size, which counts how far the curve is from the law.
    """
    x, y = np.asarray(rows, float), np.asarray(errors, float)
    sizes = np.unique(x)
    if len(sizes) < 2:
        return None
    law = power_law(x.tolist(), y.tolist())
    plain = np.array([np.log(law.factor), -law.exponent])
    best = plain
    if len(sizes) >= FLOOR_SIZES:
        floored = _with_floor(x, y, plain)
        if floored is not None and _better(x, y, plain, floored):
            best = floored
    covariance, freedom = _covariance(x, y, best)
    error = None if covariance is None else float(np.sqrt(covariance[1, 1]))
    floor = float(best[2]) if len(best) == 3 else 0.0
    return Fit(float(np.exp(best[0])), float(best[1]), floor, error, covariance, freedom)


def _model(parameters: np.ndarray, x: np.ndarray) -> np.ndarray:
    floor = parameters[2] if len(parameters) == 3 else 0.0
    return np.asarray(np.exp(parameters[0] - parameters[1] * np.log(x)) + floor)


def _residuals(parameters: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.asarray(np.log(_model(parameters, x)) - np.log(y))


def _with_floor(x: np.ndarray, y: np.ndarray, plain: np.ndarray) -> np.ndarray | None:
    """(log factor, exponent, floor) of the best of a few starts; None where no floor above zero is best."""
    from scipy.optimize import least_squares

    lowest = float(y.min())
    bounds = ([-np.inf, 0.0, 0.0], [np.inf, np.inf, lowest])
    best = None
    for share in (0.2, 0.6, 0.95):
        floor = share * lowest
        # the slope of what is above the floor is steeper than that of the whole
        above = power_law(x.tolist(), np.maximum(y - floor, 1e-3 * lowest).tolist())
        start = [np.log(above.factor), max(-above.exponent, 1e-3), floor]
        scale = [1.0, 1.0, lowest]
        found = least_squares(_residuals, start, bounds=bounds, x_scale=scale, args=(x, y), xtol=1e-12, ftol=1e-12)
        if best is None or found.cost < best.cost:
            best = found
    return None if best is None or best.x[2] <= 1e-3 * lowest else np.asarray(best.x)


def _better(x: np.ndarray, y: np.ndarray, plain: np.ndarray, floored: np.ndarray) -> bool:
    from scipy.stats import f

    freedom = len(x) - 3
    without, having = (float(np.sum(_residuals(one, x, y) ** 2)) for one in (plain, floored))
    return (without - having) * freedom > float(f.ppf(1 - CHANCE, 1, freedom)) * having and having < without


def _covariance(x: np.ndarray, y: np.ndarray, found: np.ndarray) -> tuple[np.ndarray | None, int]:
    """The larger (by the exponent) of the covariances from all points and from the means of sizes."""
    sizes = np.unique(x)
    means = np.exp([np.log(y[x == size]).mean() for size in sizes])
    made = [_one_covariance(x, y, found), _one_covariance(sizes, means, found)]
    usable = [(matrix, freedom) for matrix, freedom in made if matrix is not None]
    return max(usable, key=lambda one: float(one[0][1, 1])) if usable else (None, 0)


def _one_covariance(x: np.ndarray, y: np.ndarray, found: np.ndarray) -> tuple[np.ndarray | None, int]:
    freedom = len(x) - len(found)
    if freedom < 1:
        return None, 0
    model = _model(found, x)
    above = model - (found[2] if len(found) == 3 else 0.0)
    columns = [above / model, -np.log(x) * above / model]
    if len(found) == 3:
        columns.append(1 / model)
    jacobian = np.stack(columns, 1)
    variance = float(np.sum(_residuals(found, x, y) ** 2)) / freedom
    return variance * np.linalg.pinv(jacobian.T @ jacobian, rcond=1e-14), freedom
