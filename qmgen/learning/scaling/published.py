"""What the QM1B paper shows, to be drawn beside a curve of one's own for its shape.

Mathiasen et al., "Generating QM1B with PySCF IPU", arXiv 2311.01135: SchNet 9M on the HOMO-LUMO gap, B3LYP/STO-3G.
Other molecules, many conformers of each, another validation set and other lengths of training: no level to compare
one's errors with.
"""

from __future__ import annotations

from typing import Any, Final

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
#: conformers labelled per second by one IPU: over 10^9 in under 40 000 IPU-hours
ROWS_PER_SECOND: Final = 7.4


def curve() -> dict[str, Any]:
    """The published curve as plain values."""
    return {
        "source": SOURCE,
        "target": TARGET,
        "unit": "meV",
        "approximate": True,
        "points": [{"rows": rows, "validation_mae": error} for rows, error in CURVE],
    }


def transfer() -> dict[str, Any]:
    """The published gain of pre-training as plain values."""
    return {
        "source": "Mathiasen et al., arXiv 2311.01135 (QM1B): gap on QM9",
        "unit": "meV",
        "scratch": FROM_SCRATCH,
        "init": PRE_TRAINED,
        "ratio": round(PRE_TRAINED / FROM_SCRATCH, 3),
    }
