"""Which work units a corpus should have, learned from what lies in it: the source of molecules is not asked.

The records of its runs say it; else its manifest; else the names of its files, which tell how many units there are but
not how many entries. A revision has units of its own.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from qmgen.corpus.identity import MANIFEST
from qmgen.corpus.plan import MOST_ADDITIONS, MOST_UNITS, REVISIONS_FOLDER, Listing, Plan, Unit, UnitKey, parse
from qmgen.corpus.seal import is_count, sound_table, units_of
from qmgen.corpus.store import Store, read_small
from qmgen.documents import table_of


@dataclass(frozen=True)
class RecoveredPlan:
    """The units of one revision that should exist: ``size`` of ``count``. ``plan`` where it is known, else ``cuts``: of
    a unit of which only the first entries are wanted, how many. ``revision`` is 0 for the corpus as first planned. The
    units are made on request: a plan may state a million of which none exists."""

    revision: int
    count: int
    size: int
    plan: Plan | None = None
    cuts: Mapping[int, int] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """For tables and messages."""
        return "base" if self.revision == 0 else f"more-{self.revision}"

    def unit(self, key: UnitKey) -> Unit | None:
        """The unit of a key; None where this revision has no such unit."""
        more, count, index = key
        if more != self.revision or count != self.count or not 0 <= index < self.size:
            return None
        return self._at(index)

    def __iter__(self) -> Iterator[Unit]:
        """The units, in order."""
        return filter(None, map(self._at, range(self.size)))

    def _at(self, index: int) -> Unit | None:
        if self.plan is not None:
            return self.plan.unit(index)
        return Unit(index, self.count, 0, 0, self.cuts.get(index), self.revision)

    def done(self, listing: Listing) -> set[Unit]:
        """The units of which all files are there."""
        committed = (self.unit(key) for key, _ in listing.units())
        return {unit for unit in committed if unit is not None and listing.done(unit)}


def recovered_plans(
    listing: Listing,
    records: Iterable[Mapping[str, Any]],
    manifest: Mapping[str, Any],
    stated: Iterable[Plan] = (),
) -> list[RecoveredPlan]:
    """The plans of all revisions of a corpus, revision 0 first; [] where nothing states any.

    ``stated`` are the plans that its statements hold (``statements``). Where runs with and without a limit wrote to it,
    the one that wanted most counts.
    """
    told: dict[int, list[Plan]] = {}
    for plan in _recorded(records):
        told.setdefault(plan.revision, []).append(plan)
    for written in (plan_of(manifest.get("plan")), *_added(manifest), *stated):
        if written is not None and written.revision not in told:
            told[written.revision] = [written]
    named: dict[int, list[UnitKey]] = {}
    for key, _ in _named(listing):
        named.setdefault(key[0], []).append(key)
    found = []
    for more in sorted(told.keys() | named.keys()):
        plans = told.get(more)
        if plans:
            best = max(plans, key=lambda plan: plan.wanted)
            found.append(RecoveredPlan(more, best.count, best.size, best))
        else:
            found.append(_by_names(more, listing))
    return found


def stated_plans(store: Store) -> tuple[list[Plan], list[str]]:
    """The plans that ``generations/`` states, also those of which nothing else tells yet; and the names of the
    statements that cannot be read, or were changed since."""
    plans, unreadable = [], []
    for name in sorted(store.names(REVISIONS_FOLDER)):
        if not name.endswith(".json"):
            continue
        plan = None
        with contextlib.suppress(OSError, ValueError, AttributeError, TypeError, KeyError):
            stated = sound_table(read_small(store, name))
            planned = stated["plan"]
            plan = plan_of({**planned, "wanted": planned.get("entries"), "more": stated.get("number")})
        if plan is None or not plan.revision:
            unreadable.append(name)
        else:
            plans.append(plan)
    return plans, unreadable


def _recorded(records: Iterable[Mapping[str, Any]]) -> Iterator[Plan]:
    """The plans of the runs that count: a run that finished no unit may have been begun with other settings, and have
    been given up; it counts only where its settings are those of one that did, or there is none."""
    found = [(record, plan) for record in records if (plan := plan_of(record.get("plan"))) is not None]
    for more in {plan.revision for _, plan in found}:
        mine = [(record, plan) for record, plan in found if plan.revision == more]
        made = {str(record.get("config_hash")) for record, _ in mine if record.get("units")}
        kept = [plan for record, plan in mine if str(record.get("config_hash")) in made]
        yield from kept or [mine[-1][1]]


def _added(manifest: Mapping[str, Any]) -> Iterator[Plan | None]:
    """The plans of what was added, as the manifest states them when it is begun."""
    more = manifest.get("more")
    for one in more if isinstance(more, list) else []:
        if isinstance(one, dict) and isinstance(planned := one.get("plan"), dict):
            yield plan_of({**planned, "wanted": planned.get("entries"), "more": one.get("number")})


def plan_of(value: Any) -> Plan | None:
    """The plan that a record or a manifest holds; None where it is none, or beyond what a corpus can have."""
    with contextlib.suppress(KeyError, TypeError, AttributeError):
        entries, units, wanted = value["entries"], value["units"], value["wanted"]
        more, begin = value.get("more", 0), value.get("begin", 0)
        known = is_count(entries, 1) and is_count(units, 1, min(entries, MOST_UNITS)) and is_count(wanted, 1, entries)
        if known and is_count(more, 0, MOST_ADDITIONS) and is_count(begin):
            parts = value.get("enumeration") is True
            return Plan(entries, units, wanted if wanted < entries else None, more, begin, parts=parts)
    return None


def recorded_units(records: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The finished units in the records of runs: name of the failures file, and what the record says of the unit."""
    for record in records:
        plan = plan_of(record.get("plan"))
        for told in units_of(record) if plan is not None else ():
            if plan is not None and is_count(index := told.get("index")) and (unit := plan.unit(index)) is not None:
                yield unit.files()["failures"], told


def recorded_sums(records: Iterable[Mapping[str, Any]]) -> dict[str, frozenset[str]]:
    """Checksums of failures files by name, as the records of the runs that wrote them have them."""
    known: dict[str, set[str]] = {}
    for name, unit in recorded_units(records):
        if isinstance(unit.get("sha256"), str):
            known.setdefault(name, set()).add(unit["sha256"])
    return {name: frozenset(values) for name, values in known.items()}


def manifest_of(store: Store) -> dict[str, Any] | None:
    """What manifest.json holds; {} where there is none, None where it cannot be read."""
    try:
        return table_of(read_small(store, MANIFEST))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        return None


def sound_manifest_of(store: Store) -> dict[str, Any]:
    """What manifest.json holds; {} where there is none, where it cannot be read, and where it was changed since."""
    try:
        return sound_table(read_small(store, MANIFEST))
    except (OSError, ValueError):
        return {}


def _by_names(more: int, listing: Listing) -> RecoveredPlan:
    """As many units as most names say; a cut unit is the last one."""
    mine = [(key, first) for key, first in _named(listing) if key[0] == more]
    count = Counter(key[1] for key, _ in mine).most_common(1)[0][0]
    cuts: dict[int, int] = {}
    whole = {key[2] for key, first in mine if key[1] == count and first is None}
    for key, first in mine:
        if key[1] == count and first is not None:
            cuts[key[2]] = max(first, cuts.get(key[2], 0))
    last = max(cuts, default=count)
    if last < max(whole, default=-1) or last in whole:
        cuts, last = {}, count  # the rest was begun since
    return RecoveredPlan(more, count, min(last + 1, count), cuts=cuts)


def _named(listing: Listing) -> Iterator[tuple[UnitKey, int | None]]:
    for name in listing.sizes:
        named = parse(name)
        if named is not None:
            yield named.key, named.first
