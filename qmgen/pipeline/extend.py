"""``--extend``: more molecules, or more conformers of all, as a new generation of a finished corpus.

The rows are those that one run of the whole new configuration would give: molecules keep the places and the seeds that
they would have there, and duplicates are merged as they would be.
"""

from __future__ import annotations

from collections.abc import Container, Generator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from qmgen.corpus.identity import check_same, config_hash, difference, only_adds
from qmgen.corpus.listing import Listing
from qmgen.corpus.plan import Plan, Unit, plan
from qmgen.corpus.revisions import EXTEND, CorpusHistory, Revision, StoredMolecules, history_of, is_whole
from qmgen.corpus.store import Store
from qmgen.errors import UsageError
from qmgen.molecules.types import Failure
from qmgen.pipeline.aim import Aim, as_generation, first_aim, with_generation
from qmgen.pipeline.already import Already
from qmgen.pipeline.behind import whole_source
from qmgen.pipeline.source import Origin, Source, Work
from qmgen.pipeline.unit import Job

if TYPE_CHECKING:
    from qmgen.config.generate import GenerateConfig


def aim_at(config: GenerateConfig, job: Job, source: Origin, store: Store, stack: ExitStack) -> Aim:
    """What a run of ``config`` is to do in ``store``; ``stack`` closes what it opens for that. Writes nothing.

    ``job`` and ``source`` are those that ``config`` alone makes. Raises ``UsageError`` where another corpus is there,
    and where ``--extend`` meets none, an unfinished one, or one that cannot be extended in this way.
    """
    listing = Listing.of(store)
    the_plan = source.plan(config.conformers, config.units, config.limit)
    recipe = job.metadata["recipe"]
    history = None if config.overwrite else history_of(store, listing)
    other = history is not None and config_hash(recipe) != config_hash(history.recipe)
    if other and config.extend and not _of_files(source, history):
        raise UsageError(
            f"{store.place}: --extend adds to corpora of files, of lists and of samples, not to the parts of a whole "
            "enumeration: choose another --out"
        )
    if history is not None and other and isinstance(source, Source) and _of_files(source, history):
        wanted = _extended(history, recipe) if config.extend else recipe
        begun = {one.hash: one for one in history.extensions()}.get(config_hash(wanted))
        if begun is not None or config.extend:
            generation = begun or _next(store, history, wanted)
            return _add(config, job, source, store, listing, history, generation, stack)
    elif history is None and config.extend:
        raise UsageError(f"{store.place} holds no finished corpus: --extend adds to one; leave it out to make one")
    check_same(store, recipe, config.overwrite)
    return first_aim(config, job, the_plan, source, history)


def _of_files(source: Origin, history: CorpusHistory | None) -> bool:
    """Whether neither the corpus nor what is asked for consists of the parts of an enumeration."""
    return isinstance(source, Source) and (history is None or not isinstance(history.current["source"], Mapping))


def works(
    source: Source, generation: Revision, before: CorpusHistory, store: Store, wanted: Container[int]
) -> Generator[Work | None, None, None]:
    """The ``wanted`` units of an extension, each with what is to be done in it; ``before`` is what there was before.

    Of molecules that were there only the conformers that are new, and none of one that failed as a whole, which is a
    failure already, or came with its geometry.
    """
    earlier = StoredMolecules(store, Listing.of(store), before)
    first = int(before.current["conformers"])
    for unit, mine, duplicates in source.places(generation.plan):
        if unit.index not in wanted:
            continue
        new = [entry for place, entry in mine if place >= before.entries]
        old = [entry for place, entry in mine if place < before.entries]
        rows, failed = earlier.of(unit.start, min(unit.stop, before.entries)) if old else (frozenset(), frozenset())
        grown = [
            one
            for one in old
            if not isinstance(one, Failure) and one.positions is None and one.molecule_id not in failed
        ]
        ids = [one.molecule_id for one in grown]
        yield Work(
            unit,
            [*grown, *new],
            max(unit.end - max(unit.start, before.entries), 0) - len(new),
            Already(known=len(grown), first=dict.fromkeys(ids, first), labelled=rows.intersection(ids)),
            tuple(one for one in duplicates if one[0] >= before.entries),
        )


def _extended(history: CorpusHistory, recipe: Mapping[str, Any]) -> dict[str, Any]:
    """``recipe`` with the molecules that are there first: it may name all of them, or only those to be added."""
    given, there = list(recipe["source"]), list(history.current["source"])
    if given[: len(there)] != there:
        given = there + [name for name in dict.fromkeys(given) if name not in there]
    return {**recipe, "source": given}


def _next(store: Store, history: CorpusHistory, recipe: Mapping[str, Any]) -> Revision:
    """The generation that makes ``recipe`` out of what is there. Raises ``UsageError`` where that cannot be."""
    current = history.current
    if not only_adds(current, recipe):
        changes = difference(current, recipe)
        raise UsageError(
            f"--extend adds molecules and conformers to {store.place}, and changes nothing else ({changes}): give the "
            "settings of its config.toml, or choose another --out"
        )
    more = int(recipe["conformers"]) - int(current["conformers"])
    if more and (why := _why_not(recipe)):
        raise UsageError(f"{store.place} cannot get more conformers of its molecules: {why}; choose another --out")
    unplanned = Plan(0, 0)  # how many entries there are is not known before the source is opened
    return Revision(len(history.revisions) + 1, EXTEND, config_hash(history.recipe), recipe, unplanned)


def refuse_unfinished(store: Store, listing: Listing, history: CorpusHistory) -> None:
    """Raise ``UsageError`` unless all that was ever begun in ``store`` is whole, and all of its source was wanted."""
    if history.plan.wanted < history.plan.entries:
        raise UsageError(
            f"{store.place} holds only the first {history.plan.wanted} of {history.plan.entries} molecules: run its "
            "command without --limit first"
        )
    left = history.unfinished(listing)
    if left is None:
        return
    command = f"qmgen generate {store.place}/config.toml --out {store.place}"
    if isinstance(left, Revision):
        command = f"qmgen retry {store.place}" if left.kind != EXTEND else "the same --extend command again"
    raise UsageError(f"{store.place} is not finished: {command} goes on with it; after that it can be added to")


def _why_not(recipe: Mapping[str, Any]) -> str | None:
    """Why a molecule's first conformers would be others if more were asked for; None where they are the same."""
    if recipe.get("energy_window") is not None or recipe.get("prune_rms") is not None:
        return "pruning judges all conformers of a molecule together"
    if recipe.get("stereo", "as-given") != "as-given":
        return "the numbers of a stereoisomer's conformers depend on how many there are of each"
    if recipe.get("embed", "etkdg3") == "qm1b":
        return "embed = 'qm1b' numbers only the geometries that come out, among all that are asked for"
    return None


def _add(
    config: GenerateConfig,
    job: Job,
    source: Source,
    store: Store,
    listing: Listing,
    history: CorpusHistory,
    generation: Revision,
    stack: ExitStack,
) -> Aim:
    before = history.below(generation.number)
    if not generation.plan.count or not is_whole(generation.plan, listing):
        refuse_unfinished(store, listing, before)
    grows = int(generation.recipe["conformers"]) > int(before.current["conformers"])
    config, all_of_it = whole_source(config, source, store, before, generation.recipe["source"], grows, stack)
    if not generation.plan.count:
        generation = replace(generation, plan=_plan_of(generation, before, all_of_it.entries, grows, config.units))
    new, old = int(generation.recipe["conformers"]), int(before.current["conformers"])

    def expected(unit: Unit) -> int:
        there = max(min(unit.end, before.entries) - unit.start, 0)
        return there * (new - old) + (unit.end - unit.start - there) * new

    job = as_generation(job, generation, job.metadata["level_of_theory"])
    return Aim(
        config,
        job,
        generation.plan,
        lambda wanted: works(all_of_it, generation, before, store, wanted),
        expected,
        with_generation(history, generation),
        generation,
    )


def _plan_of(generation: Revision, before: CorpusHistory, entries: int, grows: bool, units: int | None) -> Plan:
    """Over the whole source where old molecules get more conformers, else over its new part."""
    count, first = int(generation.recipe["conformers"]), int(before.current["conformers"])
    begin = 0 if grows else before.entries
    rows = (entries - before.entries) * count + (before.entries * (count - first) if grows else 0)
    planned = plan(entries - begin, -(-rows // (entries - begin)), units)
    return replace(planned, begin=begin, revision=generation.number)
