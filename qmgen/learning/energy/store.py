"""Prepared geometries, kept while they fit in memory and made anew where they do not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from qmgen.dft.prepare import Shape, System
from qmgen.labeling.level import Level
from qmgen.labeling.types import ERRORS
from qmgen.learning.energy.problems import Case, case_of, shapes_of
from qmgen.learning.hamiltonian.network import Network


@dataclass(frozen=True)
class Ready:
    """A geometry as the network and the loss take it; numpy arrays."""

    case: Case
    seen: Any


class Store:
    """Geometries ``systems`` at one level, for one network. ``shapes`` has the shape of each; ``failed`` those that
    could not be prepared, with the reason. ``memory`` bytes at most are kept."""

    def __init__(self, systems: Sequence[System], level: Level, network: Network, memory: float) -> None:
        self.systems, self.level, self.network = list(systems), level, network
        self.shapes: list[Shape] = shapes_of([one.numbers for one in self.systems], level)
        self.failed: dict[int, str] = {}
        self._memory, self._kept, self._bytes = memory, dict[int, Ready](), 0
        self._describe = jax.jit(network.describe)

    def __len__(self) -> int:
        return len(self.systems)

    def get(self, index: int) -> Ready | None:
        """The prepared geometry; None where it cannot be had (``failed`` then says why)."""
        if index in self._kept:
            return self._kept[index]
        if index in self.failed:
            return None
        try:
            case = case_of(self.systems[index], self.shapes[index], self.level)
            ready = jax.tree.map(np.asarray, (case, self._describe(case.inputs)))
        except ERRORS as error:
            self.failed[index] = f"{type(error).__name__}: {error}".splitlines()[0]
            return None
        found = Ready(*ready)
        if not np.all(np.isfinite(found.case.inputs.initial)):
            self.failed[index] = "the Fock matrix of spherical atoms is not finite"
            return None
        size = sum(leaf.nbytes for leaf in jax.tree.leaves(ready))
        if self._bytes + size <= self._memory:
            self._kept[index], self._bytes = found, self._bytes + size
        return found

    def reasons(self) -> Counter[str]:
        """How many could not be prepared, by reason."""
        return Counter(reason.partition(":")[0] for reason in self.failed.values())
