"""What pre-training gains: trainings that began with another network beside those that began from nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from qmgen.learning.scaling import published


def compare(tuned: Sequence[dict[str, Any]], scratch: Sequence[dict[str, Any]], target: str) -> list[dict[str, Any]]:
    """For each number of rows, over the seeds that both have: mean MAE ``init`` and ``scratch`` (shown unit), ``gain``
    (scratch - init), ``ratio`` (init / scratch, of the means), ``ratio_spread`` (over seeds; None with one), each seed.

    Both are trained on the same rows for a seed, so that seeds are compared in pairs.
    """
    begun = {(cell["rows"], cell["seed"]): cell["targets"][target]["validation_mae"] for cell in tuned}
    plain = {(cell["rows"], cell["seed"]): cell["targets"][target]["validation_mae"] for cell in scratch}
    made = []
    for rows in sorted({rows for rows, _ in begun.keys() & plain.keys()}):
        seeds = sorted(seed for size, seed in begun.keys() & plain.keys() if size == rows)
        ours = np.array([begun[rows, seed] for seed in seeds], float)
        theirs = np.array([plain[rows, seed] for seed in seeds], float)
        ratios = ours / theirs
        made.append(
            {
                "rows": rows,
                "init": float(ours.mean()),
                "scratch": float(theirs.mean()),
                "gain": float(theirs.mean() - ours.mean()),
                "ratio": float(ours.mean() / theirs.mean()),
                "ratio_spread": float(ratios.std(ddof=1)) if len(seeds) > 1 else None,
                "seeds": [
                    {"seed": seed, "init": float(a), "scratch": float(b)}
                    for seed, a, b in zip(seeds, ours, theirs, strict=True)
                ],
            }
        )
    return made


def transfer(tuned: Sequence[dict[str, Any]], scratch: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The comparison for every target, with what began it and QM1B's figure; None where there is no pair."""
    if not tuned or not scratch:
        return None
    targets = {
        name: {"unit": of["unit"], "points": compare(tuned, scratch, name)} for name, of in tuned[0]["targets"].items()
    }
    if not any(of["points"] for of in targets.values()):
        return None
    return {"init": tuned[0].get("init"), "targets": targets, "published": published.transfer()}
