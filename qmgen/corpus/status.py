"""How far a corpus is, and who is at it: from the names of its files, the records of its runs, and the locks of ranks.

No shard is opened where the records say what is in it, so that it costs little however large the corpus. Rates and
times left come from each run's own steady clock; calendars are only compared where nothing else can tell whether a run
is alive, and one that jumped is said to have.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

from qmgen.corpus.plan import Listing, Unit, parse
from qmgen.corpus.plan_recovery import (
    RecoveredPlan,
    plan_of,
    recorded_units,
    recovered_plans,
    sound_manifest_of,
    stated_plans,
)
from qmgen.corpus.runs import LIVE, RankState, rank_states, records
from qmgen.corpus.seal import list_of, number_of, units_of, whole_of
from qmgen.corpus.store import Place, Store, store_of
from qmgen.corpus.unit_records import DamagedUnit, unit_record_of
from qmgen.corpus.verify import refuse_other
from qmgen.errors import QmgenError

_THREADS: Final = 8


@dataclass(frozen=True)
class Status:
    """``units_done``, ``units_running`` (which live runs have still to do) and ``units_missing`` (which nobody is at)
    make up ``units``. ``rows`` and ``failures`` are those of finished units; ``rows_in_hand`` and ``failures_in_hand``
    those of live runs that no finished unit holds yet. Rates are rows per second: of all live runs together, and of the
    mean process over all that was ever run. ``eta_seconds`` is None where it cannot be told; ``unreadable`` names
    failures files of finished units and statements of what was added that are damaged: what these state is not known,
    so that the corpus does not pass for complete."""

    directory: str
    complete: bool
    units: int
    units_done: int
    units_running: int
    units_missing: int
    entries: int | None
    rows: int
    failures: int
    failures_by_reason: dict[str, int]
    rows_in_hand: int
    failures_in_hand: int
    rows_per_second: float | None
    rows_per_second_per_process: float | None
    eta_seconds: float | None
    ranks: list[RankState]
    deaths: int
    repaired: int
    unreadable: list[str]


def status(place: Place | Store) -> Status:
    """How far the corpus at ``place`` is. Nothing is written.

    Raises ``UsageError`` where there is none, ``QmgenError`` where it cannot be read.
    """
    store = store_of(place)
    try:
        listing = Listing.of(store)
        refuse_other(store, listing)
        run_records = list(records(store))
        return _status(store, listing, run_records)
    except OSError as error:
        raise QmgenError(f"cannot read {store.place}: {error.strerror or str(error).splitlines()[0]}") from error


def _status(store: Store, listing: Listing, run_records: list[dict[str, Any]]) -> Status:
    manifest = sound_manifest_of(store)
    stated, illegible = stated_plans(store)
    found = recovered_plans(listing, run_records, manifest, stated)
    done = [unit for revision in found for unit in revision.done(listing)]
    rows, reasons, unreadable, unrecorded = _held(store, listing, run_records, manifest)
    ranks = rank_states(store, run_records)
    live = [record for record, state in zip(run_records, _states_of(run_records, ranks)) if state in LIVE]
    in_hand = _without(unrecorded, [_in_hand(record, done) for record in live])
    failures = sum(reasons.values())
    units, units_done = sum(revision.size for revision in found), len(done)
    running = min(sum(max(whole_of(r.get("units_to_do")) - len(units_of(r)), 0) for r in live), units - units_done)
    return Status(
        directory=store.place,
        complete=units > 0 and units_done == units and not illegible,
        units=units,
        units_done=units_done,
        units_running=running,
        units_missing=units - units_done - running,
        entries=_entries(found),
        rows=rows,
        failures=failures,
        failures_by_reason=dict(sorted(reasons.items())),
        rows_in_hand=sum(rows for rows, _ in in_hand),
        failures_in_hand=sum(failures for _, failures in in_hand),
        rows_per_second=sum(map(_rate, live)) if live else None,
        rows_per_second_per_process=_mean_rate(run_records),
        eta_seconds=_eta(found, done, rows + failures, live, in_hand),
        ranks=ranks,
        deaths=sum(len(list_of(record.get("deaths"))) for record in run_records),
        repaired=sum(len(list_of(record.get("repaired"))) for record in run_records),
        unreadable=[*unreadable, *illegible],
    )


def _held(
    store: Store, listing: Listing, run_records: list[dict[str, Any]], manifest: Mapping[str, Any]
) -> tuple[int, Counter[str], list[str], tuple[int, int]]:
    """Rows, failures by reason, and unreadable failures files of the finished units; and rows and failures of those
    that no record tells of yet: a live run has finished them since it last wrote one."""
    names = [name for _, name in listing.units()]
    said = {name: unit for name, unit in recorded_units(run_records) if isinstance(unit.get("failures"), dict)}
    rows, reasons = 0, Counter[str]()
    rest = []
    for name in names:
        unit = said.get(name)
        named = parse(name)
        if unit is None or (
            named is not None and named.key[0]
        ):  # what a retry has decided stands in the record of its unit
            rest.append(name)
            continue
        rows += whole_of(unit.get("rows"))
        reasons.update({str(reason): whole_of(count) for reason, count in unit["failures"].items()})
    if len(rest) == len(names) and (whole := _by_manifest(names, manifest)) is not None:
        return *whole, [], (0, 0)
    unreadable = []
    since = (0, 0)

    def count(name: str) -> tuple[int, Mapping[str, int], Mapping[str, int]] | None:
        try:
            unit_record = unit_record_of(store, name)
        except (DamagedUnit, FileNotFoundError):
            return None
        return sum(record.rows for record in unit_record.data.values()), unit_record.reasons, unit_record.retried

    with ThreadPoolExecutor(_THREADS) as pool:
        for name, counted in zip(rest, pool.map(count, rest)):
            if counted is None:
                unreadable.append(name)
            else:
                rows += counted[0]
                reasons.update(counted[1])
                reasons.subtract(counted[2])
                if name not in said:
                    since = since[0] + counted[0], since[1] + sum(counted[1].values())
    return rows, +reasons, unreadable, since


def _by_manifest(names: Sequence[str], manifest: Mapping[str, Any]) -> tuple[int, Counter[str]] | None:
    """The counts of the manifest, where it is of just these units."""
    counts = manifest.get("counts")
    listed = {str(f.get("name")) for f in list_of(manifest.get("files")) if isinstance(f, dict)}
    if not isinstance(counts, dict) or not names or not {*names} <= listed or 4 * len(names) != len(listed):
        return None
    reasons = counts.get("failures_by_reason")
    if not isinstance(reasons, dict):
        return None
    return whole_of(counts.get("rows")), Counter({str(key): whole_of(value) for key, value in reasons.items()})


def _states_of(run_records: list[dict[str, Any]], ranks: list[RankState]) -> Iterable[str]:
    """The state of each record: that of its rank where it is the rank's latest word, else over."""
    states = {id(state.record): state.state for state in ranks if state.record is not None}
    return [states.get(id(record), "") for record in run_records]


def _in_hand(record: Mapping[str, Any], done: Sequence[Unit]) -> tuple[int, int, bool]:
    """Rows and failures that a run has beyond finished units; and whether its record lists them by unit, so that those
    finished since it was written are left out."""
    listed = record.get("in_hand")
    if isinstance(listed, list):
        plan = plan_of(record.get("plan"))
        more = plan.revision if plan is not None else 0
        finished = {unit.index for unit in done if unit.revision == more}
        left = [one for one in listed if isinstance(one, dict) and one.get("index") not in finished]
        return sum(whole_of(one.get("rows")) for one in left), sum(whole_of(one.get("failures")) for one in left), True
    units = units_of(record)
    rows = whole_of(record.get("rows")) - sum(whole_of(unit.get("rows")) for unit in units)
    failed = sum(
        sum(map(whole_of, unit["failures"].values())) for unit in units if isinstance(unit.get("failures"), dict)
    )
    return max(rows, 0), max(whole_of(record.get("failures")) - failed, 0), False


def _without(since: tuple[int, int], in_hand: list[tuple[int, int, bool]]) -> list[tuple[int, int]]:
    """What is in hand, less what was finished ``since`` records were written that do not tell of units one by one."""
    rows, failures = since
    left = []
    for one in in_hand:
        if one[2]:
            left.append(one[:2])
            continue
        taken = min(rows, one[0]), min(failures, one[1])
        rows, failures = rows - taken[0], failures - taken[1]
        left.append((one[0] - taken[0], one[1] - taken[1]))
    return left


def _rate(record: Mapping[str, Any], failures: bool = False) -> float:
    seconds = number_of(record.get("seconds"))
    made = whole_of(record.get("rows")) + (whole_of(record.get("failures")) if failures else 0)
    return made / seconds if seconds > 0 else 0.0


def _mean_rate(run_records: list[dict[str, Any]]) -> float | None:
    seconds = sum(number_of(record.get("seconds")) for record in run_records)
    return sum(whole_of(record.get("rows")) for record in run_records) / seconds if seconds > 0 else None


def _eta(
    found: list[RecoveredPlan],
    done: Sequence[Unit],
    held: int,
    live: list[dict[str, Any]],
    in_hand: list[tuple[int, int]],
) -> float | None:
    """Seconds until all is done, if each entry gives as many rows and failures as those done so far."""
    if done and len(done) == sum(revision.size for revision in found):
        return 0.0
    so_far = sum(unit.end - unit.start for unit in done)
    left = sum(revision.plan.wanted for revision in found if revision.plan is not None) - so_far
    rate = sum(_rate(record, failures=True) for record in live)
    if not left or not so_far or not held or rate <= 0:
        return None
    to_do = left * held / so_far - sum(map(sum, in_hand))
    return max(to_do, 0.0) / rate


def _entries(found: list[RecoveredPlan]) -> int | None:
    plans = [revision.plan for revision in found]
    known = [plan.wanted for plan in plans if plan is not None]
    return sum(known) if known and len(known) == len(plans) else None
