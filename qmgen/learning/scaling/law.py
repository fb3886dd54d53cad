"""The law of a scaling curve, from every seed of every size; the rows that an error takes; and the published curve.

    MAE = a n^(-b)          a straight line in the logarithms
    MAE = a n^(-b) + c      with a floor c, tried where there are four sizes or more

both by least squares in the logarithms. The floor is kept only where it fits better than chance would (F test, 5 %).

The published curve is drawn beside a curve of one's own for its shape: Mathiasen et al., "Generating QM1B with PySCF
IPU", arXiv 2311.01135: SchNet 9M on the HOMO-LUMO gap, B3LYP/STO-3G. Other molecules, many conformers of each, another
validation set and other lengths of training: no level to compare one's errors with.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from qmgen.power_law import power_law

SOURCE: Final = "Mathiasen et al., arXiv 2311.01135 (QM1B), read off the figure: about two digits"
#: training rows (of many conformers a molecule), validation MAE of the gap in meV
CURVE: Final = (
    (100_000, 290.0),
    (500_000, 114.0),
    (1_000_000, 85.0),
    (5_000_000, 51.0),
    (10_000_000, 42.0),
    (50_000_000, 35.0),
    (100_000_000, 33.0),
    (1_000_000_000, 32.4),
)
#: the target that the curve is of
TARGET: Final = "y"
#: MAE of the gap on QM9 in meV, trained from scratch and after QM1B
FROM_SCRATCH, PRE_TRAINED = 54.1, 27.6
#: conformers labeled per second by one IPU: over 10^9 in under 40 000 IPU-hours
ROWS_PER_SECOND: Final = 7.4


def published_curve() -> dict[str, Any]:
    """The published curve as plain values."""
    return {
        "source": SOURCE,
        "target": TARGET,
        "unit": "meV",
        "approximate": True,
        "points": [{"rows": rows, "validation_mae": error} for rows, error in CURVE],
    }


def published_transfer() -> dict[str, Any]:
    """The published gain of pre-training as plain values."""
    return {
        "source": "Mathiasen et al., arXiv 2311.01135 (QM1B): gap on QM9",
        "unit": "meV",
        "scratch": FROM_SCRATCH,
        "init": PRE_TRAINED,
        "ratio": round(PRE_TRAINED / FROM_SCRATCH, 3),
    }


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
        fit = least_squares(_residuals, start, bounds=bounds, x_scale=scale, args=(x, y), xtol=1e-12, ftol=1e-12)
        if best is None or fit.cost < best.cost:
            best = fit
    return None if best is None or best.x[2] <= 1e-3 * lowest else np.asarray(best.x)


def _better(x: np.ndarray, y: np.ndarray, plain: np.ndarray, floored: np.ndarray) -> bool:
    from scipy.stats import f

    freedom = len(x) - 3
    without, having = (float(np.sum(_residuals(one, x, y) ** 2)) for one in (plain, floored))
    return (without - having) * freedom > float(f.ppf(1 - CHANCE, 1, freedom)) * having and having < without


def _covariance(x: np.ndarray, y: np.ndarray, parameters: np.ndarray) -> tuple[np.ndarray | None, int]:
    """The larger (by the exponent) of the covariances from all points and from the means of sizes."""
    sizes = np.unique(x)
    means = np.exp([np.log(y[x == size]).mean() for size in sizes])
    made = [_one_covariance(x, y, parameters), _one_covariance(sizes, means, parameters)]
    usable = [(matrix, freedom) for matrix, freedom in made if matrix is not None]
    return max(usable, key=lambda one: float(one[0][1, 1])) if usable else (None, 0)


def _one_covariance(x: np.ndarray, y: np.ndarray, parameters: np.ndarray) -> tuple[np.ndarray | None, int]:
    freedom = len(x) - len(parameters)
    if freedom < 1:
        return None, 0
    model = _model(parameters, x)
    above = model - (parameters[2] if len(parameters) == 3 else 0.0)
    columns = [above / model, -np.log(x) * above / model]
    if len(parameters) == 3:
        columns.append(1 / model)
    jacobian = np.stack(columns, 1)
    variance = float(np.sum(_residuals(parameters, x, y) ** 2)) / freedom
    return variance * np.linalg.pinv(jacobian.T @ jacobian, rcond=1e-14), freedom


#: beyond this multiple of the largest size that was trained, a law is a guess
REACH: Final = 10
#: of the interval
CONFIDENCE: Final = 0.95
#: beyond 10^30 rows no number means anything
_MOST: Final = 30.0


def rows_for(law: Fit, error: float, largest: int, smallest: int = 1) -> dict[str, Any]:
    """Training rows at which ``law`` comes down to ``error`` (in the law's unit): ``rows``, ``interval`` (95 %, by the
    delta method in log rows; None where the fit has no error), ``reached``, ``extrapolated`` (rows over the
    ``largest`` trained), ``guess`` (over ten times that), ``note``. ``rows`` is None where the law never gets there,
    or is there before the ``smallest``."""
    made: dict[str, Any] = {"target_error": error, "rows": None, "interval": None, "extrapolated": None}
    made |= {"guess": True, "confidence": CONFIDENCE}
    if law.exponent <= 0:
        return {**made, "note": "the error does not fall with rows: no number of rows follows"}
    if error <= law.floor:
        note = f"below the fitted floor of {law.floor:.3g}: more rows alone do not reach it"
        if (least := _least_floor(law)) < error:
            note = f"not told: the fitted floor of {law.floor:.3g} may be as low as {max(least, 0.0):.3g}"
        return {**made, "note": note}
    log_rows = float((np.log(law.factor) - np.log(error - law.floor)) / law.exponent)
    if log_rows > _MOST * np.log(10):
        return {**made, "note": "more rows than could ever be made"}
    if np.exp(log_rows) < smallest:
        return {**made, "guess": False, "note": f"the smallest training, {smallest} rows, is better than that already"}
    times = float(np.exp(log_rows)) / largest
    made |= {"rows": float(np.exp(log_rows)), "extrapolated": times, "guess": times > REACH}
    if law.covariance is not None:
        made["interval"] = _interval(law, error, log_rows)
    notes = []
    if times <= 1:
        notes.append("within the sizes that were trained")
    elif times <= REACH:
        notes.append(f"extrapolated {times:.2g} times beyond the largest training")
    else:
        notes.append(f"{times:.2g} times beyond the largest training: a guess, as the law may bend (QM1B's does)")
    if law.covariance is None:
        notes.append("no interval: too few points to tell an error")
    return {**made, "note": "; ".join(notes)}


def _least_floor(law: Fit) -> float:
    """The lower end of the floor's interval."""
    from scipy.stats import t

    if law.covariance is None or len(law.covariance) < 3:
        return law.floor
    return law.floor - float(t.ppf(0.5 + CONFIDENCE / 2, law.freedom) * np.sqrt(law.covariance[2, 2]))


def _interval(law: Fit, error: float, log_rows: float) -> list[float | None]:
    """[low, high]; high is None where it is beyond all bounds."""
    from scipy.stats import t

    slope = [1 / law.exponent, -log_rows / law.exponent]
    if law.floor:
        slope.append(1 / ((error - law.floor) * law.exponent))
    gradient = np.array(slope)
    width = float(t.ppf(0.5 + CONFIDENCE / 2, law.freedom) * np.sqrt(gradient @ law.covariance @ gradient))
    most = _MOST * np.log(10)
    high = float(np.exp(log_rows + width)) if log_rows + width < most else None
    return [float(np.exp(max(log_rows - width, 0.0))), high]


def measured_rate(records: Iterable[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Rows a second of the processes that made a corpus, by their records in runs/: all rows over all seconds, starts
    included; with the devices named. None where none has labeled anything."""
    rows, seconds, processes, names = 0, 0.0, 0, set()
    for record in records:
        # of its units: a process that was stopped counts rows of a unit that another made anew
        made = sum(int(unit.get("rows", 0)) for unit in record["units"]) if record.get("units") else record.get("rows")
        if made and record.get("seconds"):
            rows, seconds, processes = rows + int(made), seconds + float(record["seconds"]), processes + 1
            names.add(_device(record))
    if not seconds:
        return None
    return {
        "rows": rows,
        "seconds": seconds,
        "rows_per_second": rows / seconds,
        "processes": processes,
        "device": ", ".join(sorted(names)),
    }


def _device(record: Mapping[str, Any]) -> str:
    """``2 workers on cpu, Linux-6.18``: what the record of a process says of where it ran."""
    workers = record.get("workers") or []
    devices = sorted({str(name) for worker in workers for name in worker.get("devices", ())})
    count = f"{len(workers)} worker{'s' if len(workers) > 1 else ''} on " if workers else ""
    return f"{count}{', '.join(devices) or 'a device not named'}, {record.get('platform', 'unknown system')}"


def generating(rows: float, train_share: float, rate: Mapping[str, Any] | None) -> dict[str, Any]:
    """Hours of generating a corpus with ``rows`` training rows, of which those are a ``train_share``: at this corpus's
    own ``rate`` (hours of one such process) and at QM1B's (IPU-hours)."""
    labeled = rows / train_share
    return {
        "corpus_rows": labeled,
        "train_share": train_share,
        "here": None if rate is None else {**rate, "hours": labeled / float(rate["rows_per_second"]) / 3600},
        "qm1b": {
            "rows_per_second": ROWS_PER_SECOND,
            "device": "one IPU (QM1B, published)",
            "hours": labeled / ROWS_PER_SECOND / 3600,
        },
    }
