"""The molecules both sides are timed on: real geometries that ship, in batches of neighbouring sizes as in training."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qmgen.benchmark.device import geometries
from qmgen.learning.data.buckets import edges


@dataclass(frozen=True)
class Given:
    """One batch: ``numbers`` (B, n) and ``positions`` (B, n, 3) float32 in Bohr, padded; ``values`` (B, 1)."""

    numbers: np.ndarray
    positions: np.ndarray
    values: np.ndarray

    @property
    def atoms(self) -> int:
        """Real atoms."""
        return int(np.count_nonzero(self.numbers))


def batches(size: int, count: int, seed: int = 0) -> list[Given]:
    """``count`` batches of ``size`` molecules out of the 256 of 9 to 11 heavy atoms that ship, drawn by ``seed``, in at
    most four padded sizes. Batches of all sizes come as often as training on these molecules would have them."""
    conformers = geometries.load(geometries.SHIPPED).conformers
    rng = np.random.default_rng(seed)
    drawn = [conformers[i] for i in rng.integers(0, len(conformers), size * count)]
    drawn.sort(key=lambda conformer: len(conformer.numbers))  # stable: the order drawn, within a size
    bounds = edges(np.bincount([len(c.numbers) for c in drawn]))
    made = []
    for start in range(0, len(drawn), size):
        chosen = drawn[start : start + size]
        atoms = next(bound for bound in bounds if bound >= len(chosen[-1].numbers))
        numbers = np.zeros((size, atoms), np.int32)
        positions = np.zeros((size, atoms, 3), np.float32)
        for row, conformer in enumerate(chosen):
            there = len(conformer.numbers)
            numbers[row, :there], positions[row, :there] = conformer.numbers, conformer.positions
        made.append(Given(numbers, positions, rng.normal(size=(size, 1)).astype(np.float32)))
    return made
