"""Padded sizes: a network does n^2 pairs for a molecule in an array for n atoms, and every n is compiled once."""

from __future__ import annotations

from itertools import pairwise

import numpy as np


def edges(histogram: np.ndarray, most: int = 4, step: int = 1) -> tuple[int, ...]:
    """At most ``most`` sizes, ascending multiples of ``step``, that hold all molecules with the fewest padded pairs.

    ``histogram[n]`` is the number of molecules of n atoms (``np.bincount(packed.sizes)``). The last edge holds the
    largest. Raises ``ValueError`` where there is no molecule.
    """
    counts = np.asarray(histogram, dtype=np.int64)
    sizes = np.flatnonzero(counts)
    if not len(sizes) or sizes[0] == 0 or most < 1 or step < 1:
        raise ValueError("buckets need molecules of at least one atom, and a number and a step of at least 1")
    rounded = -(-sizes // step) * step
    choices = np.unique(rounded)
    held = np.array([int(counts[sizes[rounded == edge]].sum()) for edge in choices])
    return tuple(int(edge) for edge in _best(choices, held, most))


def pairs(histogram: np.ndarray, chosen: tuple[int, ...]) -> int:
    """Padded pairs of all molecules with these edges: what ``edges`` makes smallest."""
    counts = np.asarray(histogram, dtype=np.int64)
    bounds = (0, *chosen)
    return sum(int(counts[low + 1 : high + 1].sum()) * high * high for low, high in pairwise(bounds))


def _best(choices: np.ndarray, held: np.ndarray, most: int) -> list[int]:
    """Dynamic programme: cost[j] of the first j sizes with k edges is the least, over the i sizes that k - 1 edges
    hold, of cost[i] and of all others in one array as large as the last."""
    count, total = len(choices), np.concatenate([[0], np.cumsum(held)])
    cost = [0.0] + [float("inf")] * count
    back: list[list[int]] = []
    best: tuple[float, int] = (float("inf"), 0)
    for used in range(1, min(most, count) + 1):
        found, origin = [float("inf")] * (count + 1), [0] * (count + 1)
        for last in range(1, count + 1):
            square = int(choices[last - 1]) ** 2
            for first in range(last):
                price = cost[first] + int(total[last] - total[first]) * square
                if price < found[last]:
                    found[last], origin[last] = price, first
        back.append(origin)
        cost = found
        if found[count] < best[0]:
            best = (found[count], used)
    chosen, last = [], count
    for used in range(best[1], 0, -1):
        chosen.append(int(choices[last - 1]))
        last = back[used - 1][last]
    return chosen[::-1]
