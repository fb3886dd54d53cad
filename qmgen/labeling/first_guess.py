"""Where the first attempt at a molecule begins, if something has learned to say so."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import overload

import jax
import numpy as np

from qmgen.dft.scf import Problem
from qmgen.labeling.types import ERRORS, Guess, Tally


class Slices(Sequence[Problem]):
    """The first ``count`` molecules of ``stacked``, a ``Problem`` with a leading axis, each cut out when it is asked
    for: a copy of every supermatrix at once would double the largest thing on the device."""

    def __init__(self, stacked: Problem, count: int) -> None:
        self.stacked, self._count = stacked, count

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, place: int) -> Problem: ...
    @overload
    def __getitem__(self, place: slice) -> list[Problem]: ...
    def __getitem__(self, place: int | slice) -> Problem | list[Problem]:
        if isinstance(place, slice):
            return [self[one] for one in range(self._count)[place]]
        index = range(self._count)[place]
        cut: Problem = jax.tree.map(lambda leaf: leaf[index], self.stacked)
        return cut

    def __iter__(self) -> Iterator[Problem]:
        return (self[place] for place in range(self._count))


def densities(
    guess: Guess, problems: Sequence[Problem], numbers: Sequence[np.ndarray], tally: Tally
) -> list[np.ndarray | None]:
    """A density (n, n) for each of ``problems``, or None where ``guess`` has none that can be begun with."""
    with tally.during("guess"):
        return _asked(guess, problems, numbers)


def beginning(
    guess: Guess, numbers: Sequence[np.ndarray], tally: Tally
) -> tuple[Callable[..., np.ndarray], list[bool]]:
    """For a batch that is prepared together: what turns its ``Problem`` into the densities (B, n, n) to begin with, and
    a list that then says for which of the molecules ``numbers``, the first of the batch, they are learned."""
    learned: list[bool] = []

    def begin(stacked: Problem) -> np.ndarray:
        jax.block_until_ready(stacked)  # what the guess takes is its own time
        found = densities(guess, Slices(stacked, len(numbers)), numbers, tally)
        learned[:] = [one is not None for one in found]
        start = np.array(stacked.guess)
        for place, density in enumerate(found):
            if density is not None:
                start[place] = density
        return start

    return begin, learned


def _asked(guess: Guess, problems: Sequence[Problem], numbers: Sequence[np.ndarray]) -> list[np.ndarray | None]:
    try:
        found = guess(problems, numbers)
        if len(found) != len(problems):
            raise ValueError(f"{len(found)} densities for {len(problems)} molecules")
    except ERRORS:
        if len(problems) == 1:
            return [None]
        # a defect that one molecule brings to light must not cost its neighbours their guess
        return [_asked(guess, [problem], [atoms])[0] for problem, atoms in zip(problems, numbers, strict=True)]
    return [_usable(density, problem) for density, problem in zip(found, _shapes(problems), strict=True)]


def _shapes(problems: Sequence[Problem]) -> list[tuple[int, ...]]:
    if isinstance(problems, Slices):  # nothing need be cut out to know
        return [np.shape(problems.stacked.overlap)[1:]] * len(problems)
    return [np.shape(problem.overlap) for problem in problems]


def _usable(density: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    density = np.asarray(density, dtype=np.float64)
    return density if density.shape == shape and np.isfinite(density).all() else None
