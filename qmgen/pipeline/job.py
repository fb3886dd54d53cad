"""From a configuration to what every unit of its run shares."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from qmgen.corpus.identity import config_hash
from qmgen.corpus.splits import Splitter
from qmgen.corpus.store import store_of
from qmgen.corpus.store.local import TEMPORARY
from qmgen.labeling.types import PLAIN_GUESSES, Settings
from qmgen.molecules.embedding import Procedure
from qmgen.pipeline.learned import Learned, learned_of
from qmgen.pipeline.rows import CONSTANTS
from qmgen.pipeline.source import MoleculeSource
from qmgen.pipeline.stages import Stages
from qmgen.pipeline.unit import Job

if TYPE_CHECKING:
    from qmgen.config.generate import GenerateConfig, LabelConfig

#: where units in hand are kept in part, below the directory of the corpus
PARTIALS = f"{TEMPORARY}/partial"


def settings_of(config: LabelConfig, learned: Learned | None = None) -> Settings:
    """The part of the configuration that labelling sees; ``learned`` is what its ``guess`` names, if no plain one."""
    return Settings(
        xc=config.xc,
        basis=config.basis,
        grid_level=config.grid_level,
        precision=config.precision,
        guess=config.guess if learned is None else learned.guess,
        conv_energy=config.conv_energy,
        conv_gradient=config.conv_gradient,
        max_cycles=config.max_cycles,
        batch_size=config.batch_size,
    )


def procedure_of(config: LabelConfig) -> Procedure:
    """The part of the configuration that the making of conformers sees."""
    return Procedure(
        embed=config.embed,
        relax=config.relax,
        relax_steps=config.relax_steps,
        prune_rms=config.prune_rms,
        energy_window=config.energy_window,
        stereo=config.stereo,
        max_stereo_isomers=config.max_stereo_isomers,
    )


def canonical(
    config: GenerateConfig, stages: Stages, learned: Learned | None = None
) -> tuple[GenerateConfig, dict[str, Any], Learned | None]:
    """The configuration with functional and basis under their own names, the level of theory, and the network that
    guesses, if one does (``learned``, where that is known).

    An alias is the same level, and must not look like another corpus. Raises ``UsageError`` on an unknown name.
    """
    theory, learned = with_guess(config, stages, learned)
    return config.model_copy(update={name: theory[name] for name in ("xc", "basis")}), theory, learned


def with_guess(
    config: LabelConfig, stages: Stages, learned: Learned | None = None
) -> tuple[dict[str, Any], Learned | None]:
    """The level of theory, and what ``config.guess`` names. Raises ``UsageError`` on an unknown name."""
    theory_of = stages.load("theory")
    if learned is None and config.guess not in PLAIN_GUESSES:
        plain = theory_of(replace(settings_of(config), guess=PLAIN_GUESSES[0]))
        names = {name: plain[name] for name in ("xc", "basis")}
        learned = learned_of(config.guess, replace(settings_of(config), **names), stages)
    return theory_of(settings_of(config, learned)), learned


def recipe_of(config: GenerateConfig, source: MoleculeSource, learned: Learned | None = None) -> dict[str, Any]:
    """All that the configuration hash covers: the settings that change rows, and what source and network are."""
    return {**config.row_fields(), "guess": settings_of(config, learned).guess, "source": source.identity}


def job_of(
    config: GenerateConfig,
    theory: dict[str, Any],
    source: MoleculeSource,
    stages: Stages,
    learned: Learned | None = None,
) -> Job:
    """What every unit shares; ``config``, ``theory`` and ``learned`` from ``canonical``."""
    recipe = recipe_of(config, source, learned)
    local = store_of(config.out).local
    return Job(
        place=config.out,
        settings=settings_of(config, learned),
        conformers=config.conformers,
        seed=config.seed,
        embed_time_limit=config.embed_time_limit,
        splitter=Splitter(config.seed, config.validation_fraction, config.test_fraction),
        metadata={
            "config_hash": config_hash(recipe),
            "recipe": recipe,
            "level_of_theory": theory,
            "constants": CONSTANTS,
        },
        stages=stages,
        procedure=procedure_of(config),
        partials=None if local is None else local / PARTIALS,
        learned=learned,
    )
