"""Which rows of a split to learn from: the first ones of a random order that is never written down.

The order is a permutation of 0 .. total - 1 by a key: a Feistel network on the next power of four, whose values beyond
the end are sent through again until they fall within (cycle walking). Any place of it costs the same, and no memory.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from qmgen.errors import UsageError

#: four are enough for a pseudo-random permutation (Luby and Rackoff 1988); small domains need some more
_ROUNDS: Final = 12


def select(total: int, count: int, seed: int) -> np.ndarray:
    """``count`` of ``total`` rows, uniformly at random: sorted, int64.

    With the same total and seed, the rows of a smaller count are among those of a larger one. Raises ``UsageError``
    when there are fewer rows than that, or none is asked for.
    """
    if count < 1:
        raise UsageError(f"cannot learn from {count:,} rows: ask for at least one")
    if count > total:
        raise UsageError(f"{count:,} rows were asked for, and there are {total:,}: ask for fewer, or for all")
    return np.sort(permute(np.arange(count, dtype=np.int64), total, seed))


def permute(places: np.ndarray, total: int, seed: int) -> np.ndarray:
    """What stands at ``places`` of the order of 0 .. total - 1 that belongs to ``seed``: int64."""
    half = max(1, -(-max(total - 1, 1).bit_length() // 2))
    # NumPy keeps the bits of SeedSequence the same for ever
    keys = np.random.SeedSequence([seed, total]).generate_state(_ROUNDS, np.uint64)
    values = np.asarray(places).astype(np.uint64)
    beyond = np.ones(len(values), bool)
    while beyond.any():
        values[beyond] = _feistel(values[beyond], half, keys)
        beyond = values >= np.uint64(total)
    return values.astype(np.int64)


def _feistel(values: np.ndarray, half: int, keys: np.ndarray) -> np.ndarray:
    """A permutation of the numbers of 2 ``half`` bits."""
    bits, mask = np.uint64(half), np.uint64((1 << half) - 1)
    left, right = values >> bits, values & mask
    for key in keys:
        left, right = right, left ^ (_mixed(right ^ key) & mask)
    return (left << bits) | right


def _mixed(values: np.ndarray) -> np.ndarray:
    """64 bits in which each depends on all of ``values``: the finaliser of SplitMix64 (Steele et al. 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
