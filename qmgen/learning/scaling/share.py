"""Trainings shared among processes: each takes those that nobody else has in hand."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from qmgen.corpus.locks import Held, Lock
from qmgen.learning.scaling.collect import RESULT
from qmgen.learning.scaling.plan import Cell


def share(planned: Sequence[Cell], train: Callable[[Cell], None], quiet: bool) -> list[str]:
    """Call ``train`` with each cell that nobody holds, under its lock; return the cells that others have in hand.

    Those are asked for again at the end: whoever had them may have been stopped since. A cell that is finished is not
    passed over but given to ``train``, which sees whether its result is that of these settings.
    """
    left = list(planned)
    while left:
        held: list[tuple[Cell, str]] = []
        done = 0
        for cell in left:
            number = planned.index(cell) + 1
            try:
                with Lock(cell.folder / ".lock"):
                    if not quiet and not (cell.folder / RESULT).exists():
                        print(f"qmgen: training {number} of {len(planned)}: {cell.name}", file=sys.stderr, flush=True)
                    train(cell)
                    done += 1
            except Held as by:
                held.append((cell, by.who))
        if not done or not held:
            return [f"{cell.name}: in the hands of {who}" for cell, who in held if not (cell.folder / RESULT).exists()]
        left = [cell for cell, _ in held]
    return []
