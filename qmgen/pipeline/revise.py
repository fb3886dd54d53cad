"""What a run is to do in a directory: make a new corpus, continue one, or extend a finished one by a revision.

``--extend`` adds molecules, or conformers of all, as a new revision. The rows are those that one run of the whole new
configuration would give: molecules keep the places and the seeds that they would have there, and duplicates are merged
as they would be. Where the files of the old molecules are still at hand, they are read with the new ones; else the
SMILES in the corpus stand in for them, which is enough to number and to merge the new ones.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pyarrow.parquet as pq

from qmgen.config.generate import GenerateConfig
from qmgen.config.sources import check
from qmgen.corpus.identity import check_same, config_hash, difference, only_adds
from qmgen.corpus.manifest import write_manifest
from qmgen.corpus.plan import Listing, Plan, Unit, plan
from qmgen.corpus.revisions import EXTEND, CorpusHistory, Revision, StoredMolecules, history_of, is_whole
from qmgen.corpus.store import Store, place_of, read_small
from qmgen.corpus.unit_records import digest
from qmgen.defaults import PLAIN_GUESSES
from qmgen.documents import toml_of
from qmgen.errors import UsageError, first_line
from qmgen.machine import versions
from qmgen.molecules.readers import COMPRESSED, SMILES_SUFFIXES
from qmgen.molecules.smiles import unlabeled
from qmgen.molecules.types import Failure, Molecule, Reason
from qmgen.pipeline.job import ENUMERATED_FILE, LabelJob
from qmgen.pipeline.level import recorded_guess
from qmgen.pipeline.source import Entry, FileSource, MoleculeSource, UnitInput, UnitRevision, open_source

if TYPE_CHECKING:
    from qmgen.config.generate import GenerateConfig


@dataclass(frozen=True)
class RunSpec:
    """``job`` over ``plan``, whose units come with their entries from ``inputs(wanted)``, each of ``expected(unit)``
    geometries or about so; ``config`` describes the corpus as it will be. Revision 0 where ``revision`` is None."""

    config: GenerateConfig
    job: LabelJob
    plan: Plan
    inputs: Callable[[Container[int]], Generator[UnitInput | None, None, None]]
    expected: Callable[[Unit], int]
    history: CorpusHistory
    revision: Revision | None = None

    def manifest(self, store: Store) -> dict[str, Any]:
        """Write what describes the corpus as a whole; ``history`` says of revision 0 what this run may not know."""
        metadata = {**self.job.metadata, "recipe": dict(self.history.recipe)}
        if (network := recorded_guess(self.history.recipe, self.config.guess)) is not None:
            metadata["guess"] = network.about()
        return write_manifest(store, self.history.plan, metadata, licence=self.config.licence, versions=versions())

    def describes(self, listing: Listing) -> bool:
        """Whether config.toml should say what ``config`` says, now that this run is over or about to begin."""
        last = self.history.extensions()
        if self.revision is None:
            return not any(is_whole(one.plan, listing) for one in last)
        return bool(last) and last[-1] == self.revision and is_whole(self.plan, listing)


def first_run(
    config: GenerateConfig, job: LabelJob, plan: Plan, source: MoleculeSource, history: CorpusHistory | None
) -> RunSpec:
    """Revision 0: a new corpus, or one that is there."""
    known = history.revisions if history is not None else ()

    def expected(unit: Unit) -> int:
        return source.expected(unit) * job.conformers

    return RunSpec(
        config,
        job,
        plan,
        lambda wanted: source.works(plan, wanted),
        expected,
        CorpusHistory(job.metadata["recipe"], plan, known),
    )


def as_revision(job: LabelJob, revision: Revision, theory: Mapping[str, Any]) -> LabelJob:
    """``job`` with the metadata of ``revision``; the level of theory is that of the corpus."""
    recipe = dict(revision.recipe)
    metadata = {
        **job.metadata,
        "config_hash": config_hash(recipe),
        "recipe": recipe,
        "level_of_theory": dict(theory),
        "more": revision.mark,
    }
    return replace(job, metadata=metadata)


def with_revision(history: CorpusHistory, revision: Revision) -> CorpusHistory:
    """``history`` with ``revision`` among it."""
    others = tuple(one for one in history.revisions if one.number != revision.number)
    return replace(history, revisions=tuple(sorted((*others, revision), key=lambda one: one.number)))


CONFIG = "config.toml"


def stored_config(store: Store) -> GenerateConfig:
    """What config.toml of the corpus in ``store`` says. Raises ``UsageError`` where it is missing or damaged."""
    try:
        values = toml_of(read_small(store, CONFIG))
    except FileNotFoundError:
        raise UsageError(
            f"{store.place} has no {CONFIG}: give the directory of a corpus, or run its command again"
        ) from None
    except (OSError, ValueError) as error:
        raise UsageError(
            f"cannot read {store.place}/{CONFIG} ({first_line(error)}): run the corpus' own command again"
        ) from None
    found = {**values, "out": place_of(store)}
    if isinstance(names := values.get("molecules", []), list):  # else check says what is wrong with it
        found["molecules"] = [_beside(store.local, path) if isinstance(path, str) else path for path in names]
    guess = found.get("guess")
    if not isinstance(guess, str) or guess in PLAIN_GUESSES:
        return check(GenerateConfig, found)
    # a network is not looked for: it may be gone, and who goes on with the corpus need not have it
    plain = check(GenerateConfig, {**found, "guess": PLAIN_GUESSES[0]})
    return plain.model_copy(update={"guess": _beside(store.local, guess)})


def sources_of(config: GenerateConfig, store: Store) -> list[Path]:
    """The files that ``config`` reads its molecules from, as far as they can be read a second time and are there."""
    if config.enumerate is not None:
        kept = [] if store.local is None else [store.local / ENUMERATED_FILE]
    else:
        kept = [Path(name) for name in config.molecules if name != "-"]
    return [path for path in kept if path.is_file()]


def by_digest(paths: Iterable[Path]) -> Mapping[str, Path]:
    """Files by the SHA-256 of their contents."""
    return {digest(path): path for path in paths}


def _beside(directory: Path | None, path: str) -> str:
    if path == "-" or "://" in path or directory is None:
        return path
    return os.path.normpath(directory / path)


def run_spec(config: GenerateConfig, job: LabelJob, source: MoleculeSource, store: Store, stack: ExitStack) -> RunSpec:
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
    if history is not None and other and isinstance(source, FileSource) and _of_files(source, history):
        wanted = _extended(history, recipe) if config.extend else recipe
        begun = {one.hash: one for one in history.extensions()}.get(config_hash(wanted))
        if begun is not None or config.extend:
            revision = begun or _next(store, history, wanted)
            return _add(config, job, source, store, listing, history, revision, stack)
    elif history is None and config.extend:
        raise UsageError(f"{store.place} holds no finished corpus: --extend adds to one; leave it out to make one")
    check_same(store, recipe, config.overwrite)
    return first_run(config, job, the_plan, source, history)


def _of_files(source: MoleculeSource, history: CorpusHistory | None) -> bool:
    """Whether neither the corpus nor what is asked for consists of the parts of an enumeration."""
    return isinstance(source, FileSource) and (history is None or not isinstance(history.current["source"], Mapping))


def extension_inputs(
    source: FileSource, revision: Revision, before: CorpusHistory, store: Store, wanted: Container[int]
) -> Generator[UnitInput | None, None, None]:
    """The ``wanted`` units of an extension, each with what is to be done in it; ``before`` is what there was before.

    Of molecules that were there only the conformers that are new, and none of one that failed as a whole, which is a
    failure already, or came with its geometry.
    """
    earlier = StoredMolecules(store, Listing.of(store), before)
    first = int(before.current["conformers"])
    for unit, mine, duplicates in source.places(revision.plan):
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
        yield UnitInput(
            unit,
            [*grown, *new],
            max(unit.end - max(unit.start, before.entries), 0) - len(new),
            UnitRevision(known=len(grown), first=dict.fromkeys(ids, first), labeled=rows.intersection(ids)),
            tuple(one for one in duplicates if one[0] >= before.entries),
        )


def _extended(history: CorpusHistory, recipe: Mapping[str, Any]) -> dict[str, Any]:
    """``recipe`` with the molecules that are there first: it may name all of them, or only those to be added."""
    given, there = list(recipe["source"]), list(history.current["source"])
    if given[: len(there)] != there:
        given = there + [name for name in dict.fromkeys(given) if name not in there]
    return {**recipe, "source": given}


def _next(store: Store, history: CorpusHistory, recipe: Mapping[str, Any]) -> Revision:
    """The revision that makes ``recipe`` out of what is there. Raises ``UsageError`` where that cannot be."""
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
    job: LabelJob,
    source: FileSource,
    store: Store,
    listing: Listing,
    history: CorpusHistory,
    revision: Revision,
    stack: ExitStack,
) -> RunSpec:
    before = history.below(revision.number)
    if not revision.plan.count or not is_whole(revision.plan, listing):
        refuse_unfinished(store, listing, before)
    grows = int(revision.recipe["conformers"]) > int(before.current["conformers"])
    config, all_of_it = extended_source(config, source, store, before, revision.recipe["source"], grows, stack)
    if not revision.plan.count:
        revision = replace(revision, plan=_plan_of(revision, before, all_of_it.entries, grows, config.units))
    new, old = int(revision.recipe["conformers"]), int(before.current["conformers"])

    def expected(unit: Unit) -> int:
        there = max(min(unit.end, before.entries) - unit.start, 0)
        return there * (new - old) + (unit.end - unit.start - there) * new

    job = as_revision(job, revision, job.metadata["level_of_theory"])
    return RunSpec(
        config,
        job,
        revision.plan,
        lambda wanted: extension_inputs(all_of_it, revision, before, store, wanted),
        expected,
        with_revision(history, revision),
        revision,
    )


def _plan_of(revision: Revision, before: CorpusHistory, entries: int, grows: bool, units: int | None) -> Plan:
    """Over the whole source where old molecules get more conformers, else over its new part."""
    count, first = int(revision.recipe["conformers"]), int(before.current["conformers"])
    begin = 0 if grows else before.entries
    rows = (entries - before.entries) * count + (before.entries * (count - first) if grows else 0)
    planned = plan(entries - begin, -(-rows // (entries - begin)), units)
    return replace(planned, begin=begin, revision=revision.number)


#: sources that give SMILES alone, one a place: all of them is in the corpus. "-" is SMILES on standard input
_SMILES: Final = (*SMILES_SUFFIXES, *(suffix + COMPRESSED for suffix in SMILES_SUFFIXES), "-")


def extended_source(
    config: GenerateConfig,
    source: FileSource,
    store: Store,
    before: CorpusHistory,
    digests: Sequence[str],
    grows: bool,
    stack: ExitStack,
) -> tuple[GenerateConfig, FileSource]:
    """The source with these ``digests``, out of ``source``, the files that the corpus was made from, and what is in it;
    and the configuration that names it.

    ``stack`` closes what is opened. Raises ``UsageError`` where the old molecules are needed and not to be had.
    """
    if list(source.digests) == list(digests):
        return config, source
    stored = stored_config(store)
    there = by_digest(sources_of(stored, store))
    typed = dict(zip(source.digests, config.molecules or [str(path) for path in source.files], strict=True))
    files = {name: str(path) for name, path in there.items()} | {
        name: str(path) for name, path in zip(source.digests, source.files, strict=True)
    }
    if all(name in files for name in digests):
        names = [typed.get(name, files[name]) for name in digests]
        opened = stack.enter_context(
            open_source([files[name] for name in digests], source.smiles_column, source.stages, keep=source.keep)
        )
        return _naming(config, names), opened
    new = [name for name in digests if name in files and name not in before.current["source"]]
    old = ["-"] if stored.enumerate is not None else list(stored.molecules)
    gone = f"the molecules that {store.place} was made from are not where its config.toml says"
    if grows:
        raise UsageError(f"{gone}: more conformers of them need them, give them with --molecules too")
    if stored.enumerate is not None and store.local is None:
        raise UsageError(f"{store.place} holds an enumeration in an object store: add to it with the same --enumerate")
    if config.stereo == "enumerate" or not all(name.endswith(_SMILES) for name in old):
        raise UsageError(f"{gone}, and its rows do not say all of them: give them with --molecules, the new ones last")
    if [*before.current["source"], *new] != list(digests):
        raise UsageError(f"{gone}: give them with --molecules, the new ones last")
    added = stack.enter_context(
        open_source([files[name] for name in new], source.smiles_column, source.stages, keep=source.keep)
    )
    extended = replace(
        added,
        entries=before.entries + added.entries,
        digests=tuple(digests),
        named=None,  # a new entry may be a duplicate of one in the corpus
        stored=partial(_stored_entries, before, store),
        n_stored=before.entries,
    )
    return _naming(config, [*old, *(typed[name] for name in new)]), extended


def refuse_other_enumeration(config: GenerateConfig, store: Store) -> None:
    """Raise ``UsageError`` when ``config`` would enumerate other molecules than those of the corpus in ``store``."""
    if config.enumerate is None:
        return
    stored = stored_config(store)
    names = ("enumerate", "elements", "rules", "max_hydrogens", "sample", "sample_parts", "seed")
    same = all(getattr(stored, name) == getattr(config, name) for name in names)
    kept = stored.enumerate is None and store.local is not None and (store.local / ENUMERATED_FILE).exists()
    if not same and not kept:
        raise UsageError(
            f"{store.place} is not extended by another enumeration: write the new molecules to a file with `qmgen "
            "enumerate --out FILE.smi`, and add that with --extend --molecules FILE.smi"
        )


def _naming(config: GenerateConfig, names: list[str]) -> GenerateConfig:
    """``config`` with these files as its source."""
    return config.model_copy(update={"molecules": names, "enumerate": None, "sample": None, "sample_parts": None})


def _stored_entries(before: CorpusHistory, store: Store) -> Iterator[Entry]:
    """One entry for each that the corpus was made from: with its SMILES, where it was no duplicate."""
    done = 0
    for planned in (before.plan, *(one.plan for one in before.extensions())):
        for unit in planned:
            if unit.stop > done:
                smiles = _smiles_of(store, unit.files())
                for place in range(max(unit.start, done), unit.stop):
                    known = smiles.get(place)
                    yield (
                        Molecule(place, "", unlabeled(known))
                        if known
                        else Failure(place, -1, "", "", Reason.UNREADABLE, "")
                    )
                done = unit.stop


def _smiles_of(store: Store, files: dict[str, str]) -> dict[int, str]:
    found: dict[int, str] = {}
    for name in files.values():
        table = pq.ParquetFile(store.open(name)).read(columns=["molecule_id", "smile"])
        found.update(zip(table["molecule_id"].to_pylist(), table["smile"].to_pylist(), strict=True))
    return found
