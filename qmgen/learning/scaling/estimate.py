"""How many rows a target error takes by the fitted law, and how long they take to generate."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np

from qmgen.learning.scaling import published
from qmgen.learning.scaling.fit import Fit

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
    included; with the devices named. None where none has labelled anything."""
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
    labelled = rows / train_share
    return {
        "corpus_rows": labelled,
        "train_share": train_share,
        "here": None if rate is None else {**rate, "hours": labelled / float(rate["rows_per_second"]) / 3600},
        "qm1b": {
            "rows_per_second": published.ROWS_PER_SECOND,
            "device": "one IPU (QM1B, published)",
            "hours": labelled / published.ROWS_PER_SECOND / 3600,
        },
    }
