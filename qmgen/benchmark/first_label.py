"""What a user waits for: from starting a process to its first label, with nothing compiled and with all compiled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from qmgen.benchmark.crew import Crew
from qmgen.benchmark.sides import Setup
from qmgen.molecules.types import Conformer

#: seconds, of a shape that was compiled nowhere yet and of one that was
TARGETS: Final = {"empty_cache": 60.0, "filled_cache": 10.0}


def first_label(
    setup: Setup, conformer: Conformer, cores: tuple[int, ...], cache: Path, tell: Callable[[str], None]
) -> dict[str, Any]:
    """Seconds from starting one process to its first label of ``conformer``, as plain values.

    First with ``cache`` as a folder that is empty, then by another process with what the first one left there.
    ``start_seconds`` is the process and its imports, ``label_seconds`` all the rest: compilation or loading what was
    compiled, and the label. ``seconds`` is their sum, None where no label came of it.
    """
    setup = replace(setup, cache=cache)
    found: dict[str, Any] = {
        "conformer": [conformer.molecule_id, conformer.conformer_id],
        "atoms": len(conformer.numbers),
        "heavy_atoms": int(np.sum(conformer.numbers > 1)),
        "targets_seconds": TARGETS,
    }
    for state in TARGETS:
        tell(f"first label, {state.replace('_', ' ')}")
        with Crew("qmgen.benchmark.sides:Qmgen", setup, 1, cores[:1]) as crew:
            done = crew.work([[conformer]])
        labelled = bool(done.results[0])
        found[state] = {
            "seconds": round(crew.start_seconds + done.seconds, 3) if labelled else None,
            "start_seconds": round(crew.start_seconds, 3),
            "label_seconds": round(done.seconds, 3),
        }
    return found
