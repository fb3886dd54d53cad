"""What ``scaling`` measures and what must hold; imports nothing, so that a wrong flag is refused at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

#: what must hold: this much of ``workers``, or of PySCF's scaling in the same run; and the parent, in cores
OF_WORKERS: Final = 0.9
OF_PYSCF: Final = 0.95
PARENT: Final = 0.05


@dataclass(frozen=True)
class Scale:
    """What to measure: ``count`` molecules of ``molecules`` (none: of the list that ships) at ``grid_level``, by
    ``workers`` processes against one, each ``passes`` times a turn, in ``turns`` turns."""

    molecules: tuple[str, ...] = ()
    count: int = 8
    grid_level: int = 1
    workers: int = 2
    passes: int = 2
    turns: int = 3
    seed: int = 0
