"""Keys that stand in more than one unit.

Of each unit only the range of its molecules is kept. Where no ranges overlap, as in any corpus made from a list of
molecules, no key can be doubled and nothing is read; else the keys of those that overlap are compared in windows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

import numpy as np

from qmgen.corpus.findings import DAMAGE, VerificationIssue
from qmgen.corpus.store import Store
from qmgen.corpus.unit_check import UnitCheck, read_keys

#: keys that are compared at once: some 100 bytes each
WINDOW: Final = 2_000_000


def doubled_keys(store: Store, units: Sequence[UnitCheck], window: int = WINDOW) -> Iterator[VerificationIssue]:
    """One finding for each pair of units that share keys of rows, or a row of one and a failure of the other.

    A row of a later generation may stand beside the failure of an earlier one, which it makes good.
    """
    for cluster in clusters(units):
        total = sum(unit.keys for unit in cluster)
        low, high = min(_low(unit) for unit in cluster), max(_high(unit) for unit in cluster)
        pieces = min(-(-total // window), high - low + 1)
        bounds = [low + (high - low + 1) * piece // pieces for piece in range(pieces + 1)]
        pairs: dict[tuple[str, str, str], list[tuple[int, int]]] = {}
        for begin, end in pairwise(bounds):
            inside = [unit for unit in cluster if _low(unit) < end and _high(unit) >= begin]
            for how, one, other, key in _shared(store, inside, begin, end):
                pairs.setdefault((how, one.failures, other.failures), []).append(key)
        for (how, first, second), keys in sorted(pairs.items()):
            molecule, conformer = min(keys)
            more = f" (and {len(keys) - 1} more)" if len(keys) > 1 else ""
            what = f"molecule {molecule}, conformer {conformer}{more} {how} {second}"
            todo = f"remove {first} and {second} and run the same `qmgen generate` again"
            yield VerificationIssue(DAMAGE, first, what, todo)


def clusters(units: Sequence[UnitCheck]) -> Iterator[list[UnitCheck]]:
    """Groups of two and more units whose ranges of molecules overlap, directly or by way of others."""
    group: list[UnitCheck] = []
    end = -1
    for unit in sorted((unit for unit in units if unit.low is not None), key=lambda unit: (_low(unit), unit.key)):
        if group and _low(unit) > end:
            if len(group) > 1:
                yield group
            group = []
        group.append(unit)
        end = max(end, _high(unit)) if len(group) > 1 else _high(unit)
    if len(group) > 1:
        yield group


def _shared(
    store: Store, units: list[UnitCheck], begin: int, end: int
) -> Iterator[tuple[str, UnitCheck, UnitCheck, tuple[int, int]]]:
    parts = []
    for number, unit in enumerate(units):
        keys = read_keys(store, unit.failures)
        here = (keys.molecules >= begin) & (keys.molecules < end)
        owner = np.full(int(here.sum()), number, np.int32)
        parts.append((keys.molecules[here], keys.conformers[here], keys.failed[here], owner))
    if not parts:
        return
    molecules, conformers, failed, owner = (np.concatenate(columns) for columns in zip(*parts))
    generation = np.array([unit.key[0] for unit in units])[owner]
    # rows of any generation: the key alone; a row and a failure: within one generation
    for how, chosen, leading in (
        ("stands also in", np.flatnonzero(~failed), np.zeros(len(owner), int)),
        ("is a row here and a failure in", np.arange(len(owner)), generation),
    ):
        columns = (owner, failed, conformers, molecules, leading)
        order = chosen[np.lexsort([column[chosen] for column in columns])]
        a, b = order[:-1], order[1:]
        equal = [column[a] == column[b] for column in (conformers, molecules, leading)]
        kinds = [~failed[a], failed[b] == (leading is generation)]  # rows come before failures
        same = np.logical_and.reduce([*equal, *kinds, owner[a] != owner[b]])
        for i, j in zip(a[same], b[same]):
            yield how, units[owner[i]], units[owner[j]], (int(molecules[i]), int(conformers[i]))


def _low(unit: UnitCheck) -> int:
    return -1 if unit.low is None else unit.low


def _high(unit: UnitCheck) -> int:
    return -1 if unit.high is None else unit.high
