"""What a run is about to do in a directory: a new corpus, one that is there already, or an addition to it."""

from __future__ import annotations

from collections.abc import Callable, Container, Generator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from qmgen.corpus.identity import config_hash
from qmgen.corpus.listing import Listing
from qmgen.corpus.manifest import write_manifest
from qmgen.corpus.plan import Plan, Unit
from qmgen.corpus.revisions import CorpusHistory, Revision, is_whole
from qmgen.corpus.store import Store
from qmgen.machine import versions
from qmgen.pipeline.learned import recorded
from qmgen.pipeline.source import Origin, Work
from qmgen.pipeline.unit import Job

if TYPE_CHECKING:
    from qmgen.config.generate import GenerateConfig


@dataclass(frozen=True)
class Aim:
    """``job`` over ``plan``, whose units come with their entries from ``works(wanted)``, each of ``expected(unit)``
    geometries or about so; ``config`` describes the corpus as it will be. Generation 0 where ``generation`` is None."""

    config: GenerateConfig
    job: Job
    plan: Plan
    works: Callable[[Container[int]], Generator[Work | None, None, None]]
    expected: Callable[[Unit], int]
    history: CorpusHistory
    generation: Revision | None = None

    def manifest(self, store: Store) -> dict[str, Any]:
        """Write what describes the corpus as a whole; ``history`` says of generation 0 what this run may not know."""
        metadata = {**self.job.metadata, "recipe": dict(self.history.recipe)}
        if (learned := recorded(self.history.recipe, self.config.guess)) is not None:
            metadata["guess"] = learned.about()
        return write_manifest(store, self.history.plan, metadata, licence=self.config.licence, versions=versions())

    def describes(self, listing: Listing) -> bool:
        """Whether config.toml should say what ``config`` says, now that this run is over or about to begin."""
        last = self.history.extensions()
        if self.generation is None:
            return not any(is_whole(one.plan, listing) for one in last)
        return bool(last) and last[-1] == self.generation and is_whole(self.plan, listing)


def first_aim(config: GenerateConfig, job: Job, plan: Plan, source: Origin, history: CorpusHistory | None) -> Aim:
    """Generation 0: a new corpus, or one that is there."""
    known = history.revisions if history is not None else ()

    def expected(unit: Unit) -> int:
        return source.expected(unit) * job.conformers

    return Aim(
        config,
        job,
        plan,
        lambda wanted: source.works(plan, wanted),
        expected,
        CorpusHistory(job.metadata["recipe"], plan, known),
    )


def as_generation(job: Job, generation: Revision, theory: Mapping[str, Any]) -> Job:
    """``job`` with the metadata of ``generation``; the level of theory is that of the corpus."""
    recipe = dict(generation.recipe)
    metadata = {
        **job.metadata,
        "config_hash": config_hash(recipe),
        "recipe": recipe,
        "level_of_theory": dict(theory),
        "more": generation.mark,
    }
    return replace(job, metadata=metadata)


def with_generation(history: CorpusHistory, generation: Revision) -> CorpusHistory:
    """``history`` with ``generation`` among it."""
    others = tuple(one for one in history.revisions if one.number != generation.number)
    return replace(history, revisions=tuple(sorted((*others, generation), key=lambda one: one.number)))
