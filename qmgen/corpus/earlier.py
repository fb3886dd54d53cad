"""Which molecules of a corpus have rows already, and which failed as a whole, asked range by range of the source."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow.parquet as pq

from qmgen.corpus.generations import RETRY
from qmgen.corpus.history import History
from qmgen.corpus.listing import Listing, siblings
from qmgen.corpus.plan import FAILURES, Plan, Unit
from qmgen.corpus.store import Store
from qmgen.corpus.undecided import decided

Ids = frozenset[int]


class Earlier:
    """The molecules of ``history`` in ``store``. Asked in the order of the source, it reads each file once."""

    def __init__(self, store: Store, listing: Listing, history: History) -> None:
        self._store, self._listing, self._history = store, listing, history
        self._plans = [history.plan, *(one.plan for one in history.extensions())]
        self._kept: dict[Unit, tuple[Ids, Ids]] = {}
        retries = [one for one in history.generations if one.kind == RETRY]
        self._decided = set().union(*(decided(store, listing, one.number) for one in retries))
        found = [self._read(unit) for one in retries for unit in one.plan]
        self._of_retries: tuple[Ids, Ids] = (
            frozenset().union(*(rows for rows, _ in found)),
            frozenset().union(*(failed for _, failed in found)),
        )

    def of(self, start: int, stop: int) -> tuple[Ids, Ids]:
        """Molecules with rows, and those that failed as a whole: at least of entries ``start`` to ``stop``."""
        needed = [unit for plan in self._plans for unit in _overlapping(plan, start, stop)]
        self._kept = {unit: self._kept.get(unit) or self._read(unit) for unit in needed}
        found = [*self._kept.values(), self._of_retries]
        return frozenset().union(*(rows for rows, _ in found)), frozenset().union(*(failed for _, failed in found))

    def _read(self, unit: Unit) -> tuple[Ids, Ids]:
        rows: set[int] = set()
        failed: set[int] = set()
        for kind, name in unit.files().items():
            file = pq.ParquetFile(self._store.open(name))
            if kind != FAILURES:
                rows.update(np.unique(file.read(columns=["molecule_id"])["molecule_id"].to_numpy()).tolist())
                continue
            columns = file.read(columns=["molecule_id", "conformer_id", "reason"]).to_pydict()
            for m, c, reason in zip(*columns.values(), strict=True):
                if c == -1 and (m, c, reason) not in self._decided:
                    failed.add(m)
        return frozenset(rows), frozenset(failed)


def present(store: Store, listing: Listing, ids: np.ndarray, below: int) -> dict[int, set[int]]:
    """Which conformers of ``ids`` have rows in generations before ``below``. Reads two columns of the corpus."""
    found: dict[int, set[int]] = {}
    for key, failures in listing.units():
        for kind, name in siblings(failures).items() if key[0] < below else ():
            if kind == FAILURES:
                continue
            table = pq.ParquetFile(store.open(name)).read(columns=["molecule_id", "conformer_id"])
            molecules, conformers = table["molecule_id"].to_numpy(), table["conformer_id"].to_numpy()
            among = np.isin(molecules, ids)
            for molecule, conformer in zip(molecules[among].tolist(), conformers[among].tolist(), strict=True):
                found.setdefault(molecule, set()).add(conformer)
    return found


def _overlapping(plan: Plan, start: int, stop: int) -> Iterator[Unit]:
    """The units of ``plan`` that hold entries from ``start`` to ``stop``, found without going through all of them."""
    first, last = (max((place - plan.begin) * plan.count // plan.entries, 0) for place in (start, stop))
    for index in range(max(first - 1, 0), min(last + 2, plan.count)):
        begin, end = (plan.begin + number * plan.entries // plan.count for number in (index, index + 1))
        unit = Unit(index, plan.count, begin, end, more=plan.more)
        if unit.start < stop and start < unit.stop:
            yield unit
