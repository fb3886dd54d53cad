"""From a configuration to the source of its molecules, and to what every unit of its run shares.

The work units of a whole enumeration are its parts (``enumeration.parts``). A share, a sample or the first few are
listed first, in a file of SMILES which is then read like any other. It lies in the corpus, under ``source/``, where one
can see what was labeled; a run that is started again goes on with it, or finds it whole.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from qmgen.corpus.identity import config_hash
from qmgen.corpus.plan import Splitter
from qmgen.corpus.store import Place, store_of
from qmgen.corpus.store.local import TEMPORARY
from qmgen.defaults import JK, PLAIN_GUESSES
from qmgen.errors import BeingWritten, Interrupted, UsageError
from qmgen.labeling.types import Settings
from qmgen.molecules.embedding import PLAIN, Procedure
from qmgen.molecules.geometry import number_of
from qmgen.molecules.types import Failure, Molecule, Reason
from qmgen.pipeline.level import NetworkGuess, network_guess_of
from qmgen.pipeline.rows import CONSTANTS
from qmgen.pipeline.source import FileSource, MoleculeSource, open_source
from qmgen.pipeline.stages import Stages
from qmgen.signals import StopWatch

if TYPE_CHECKING:
    from qmgen.config.enumerate import EnumerateConfig
    from qmgen.config.generate import GenerateConfig, LabelConfig


#: the folder of checkpoints below the directory of the corpus
PARTIALS = f"{TEMPORARY}/partial"
#: failures of ``check`` that lie in the level of theory, not in the molecule
_OF_LEVEL: Final = (Reason.UNSUPPORTED_ELEMENT, Reason.NO_VIRTUAL_ORBITAL)


@dataclass(frozen=True)
class LabelJob:
    """What every unit of a run shares. ``metadata`` goes into every file; times in seconds; ``partials`` is the folder
    of the checkpoints of unfinished units (None: there are none); ``network`` gives the first guess, if one does."""

    place: Place
    settings: Settings
    conformers: int
    seed: int
    embed_time_limit: float
    splitter: Splitter
    metadata: dict[str, Any]
    stages: Stages = field(default_factory=Stages)
    procedure: Procedure = PLAIN
    partials: Path | None = None
    network: NetworkGuess | None = None


def settings_of(config: LabelConfig, network: NetworkGuess | None = None) -> Settings:
    """The part of the configuration that labeling sees; ``network`` is what its ``guess`` names, if no plain one."""
    settings = Settings(**{name: getattr(config, name) for name in Settings.__dataclass_fields__})
    return settings if network is None else replace(settings, guess=network.guess)


def procedure_of(config: LabelConfig) -> Procedure:
    """The part of the configuration that the making of conformers sees."""
    return Procedure(**{name: getattr(config, name) for name in Procedure.__dataclass_fields__})


def canonical(
    config: GenerateConfig, stages: Stages, network: NetworkGuess | None = None
) -> tuple[GenerateConfig, dict[str, Any], NetworkGuess | None]:
    """The configuration with functional and basis under their own names, the level of theory, and the network that
    guesses, if one does (``network``, where that is known).

    An alias is the same level, and must not look like another corpus. Raises ``UsageError`` on an unknown name.
    """
    theory, network = with_guess(config, stages, network)
    return config.model_copy(update=_names(theory)), theory, network


def _names(theory: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the level of theory, by their own names. Where ``theory`` does not say how J and K are made, it
    is as before there was a choice, and must not look like another corpus."""
    return {
        "xc": theory["xc"],
        "basis": theory["basis"],
        "jk": theory.get("jk", JK),
        "auxbasis": theory.get("auxbasis"),
        "cartesian": theory.get("cartesian", False),
    }


def with_guess(
    config: LabelConfig, stages: Stages, network: NetworkGuess | None = None
) -> tuple[dict[str, Any], NetworkGuess | None]:
    """The level of theory, and what ``config.guess`` names. Raises ``UsageError`` on an unknown name."""
    if network is None and config.guess not in PLAIN_GUESSES:
        plain = stages.theory(replace(settings_of(config), guess=PLAIN_GUESSES[0]))
        network = network_guess_of(config.guess, replace(settings_of(config), **_names(plain)), stages)
    return stages.theory(settings_of(config, network)), network


def recipe_of(config: GenerateConfig, source: MoleculeSource, network: NetworkGuess | None = None) -> dict[str, Any]:
    """All that the configuration hash covers: the settings that change rows, and what source and network are."""
    return {**config.row_fields(), "guess": settings_of(config, network).guess, "source": source.identity}


def job_of(
    config: GenerateConfig,
    theory: dict[str, Any],
    source: MoleculeSource,
    stages: Stages,
    network: NetworkGuess | None = None,
) -> LabelJob:
    """What every unit shares; ``config``, ``theory`` and ``network`` from ``canonical``."""
    recipe = recipe_of(config, source, network)
    local = store_of(config.out).local
    return LabelJob(
        place=config.out,
        settings=settings_of(config, network),
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
        network=network,
    )


def refuse_elements(config: GenerateConfig, settings: Settings, stages: Stages) -> None:
    """Raise ``UsageError`` where the basis set has none of the elements that ``config`` enumerates: before anything is
    enumerated."""
    if config.enumerate is None:
        return
    numbers = [number for symbol in config.elements if (number := number_of(symbol)) is not None]
    atoms = (Molecule(0, "", "", np.array([number], np.uint8), np.zeros((1, 3))) for number in numbers)
    _refuse(atoms, settings, stages, (Reason.UNSUPPORTED_ELEMENT,), "elements that are enumerated")


def refuse_molecules(source: FileSource, limit: int | None, job: LabelJob) -> None:
    """Raise ``UsageError`` where the level of theory can label none of the molecules of ``source`` (of the first
    ``limit``). Reads it as far as the first molecule that can be labeled."""
    _refuse(islice(iter(source), limit), job.settings, job.stages, _OF_LEVEL, "molecules")


def _refuse(
    entries: Iterable[Molecule | Failure], settings: Settings, stages: Stages, reasons: tuple[Reason, ...], what: str
) -> None:
    count, first, others = 0, "", False
    for entry in entries:
        if isinstance(entry, Failure):
            continue
        checked = stages.check(entry, settings)
        if not isinstance(checked, Failure):
            return
        if checked.reason in reasons:
            count, first = count + 1, first or checked.detail
            others |= checked.detail != first
    if count:
        raise UsageError(
            f"{settings.xc}/{settings.basis} can label none of the {count} {what} ({first}"
            f"{', and the like' if others else ''}): choose another --basis, or other molecules"
        )


#: the list of enumerated molecules within the corpus
ENUMERATED_FILE: Final = "source/enumerated.smi"


def is_listed(config: GenerateConfig) -> bool:
    """Whether the molecules are enumerated into a list before any is labeled."""
    some = (config.sample, config.sample_parts, config.limit)
    return config.enumerate is not None and any(setting is not None for setting in some)


@contextmanager
def source_of(
    config: GenerateConfig, stages: Stages, keep: bool, quiet: bool = True, watch: StopWatch | None = None
) -> Iterator[MoleculeSource]:
    """The source that ``config`` asks for; what is listed goes into the corpus if ``keep``, else nowhere.

    Raises ``UsageError`` as ``open_source`` and ``enumeration.run.run`` do, ``Interrupted`` as these do.
    """
    stopping = watch.stopping if watch is not None else lambda: False
    if config.enumerate is None:
        with open_source(config.molecules, config.smiles_column, stages, stopping, config.keep) as source:
            yield source
        return
    if not is_listed(config):
        from qmgen.pipeline.enumeration.parts import EnumerationParts

        yield EnumerationParts.of(_set(config), config.conformers, config.units, stages, stopping)
        return
    with TemporaryDirectory(prefix="qmgen-") as folder:
        local = store_of(config.out).local  # beside an object store, every process enumerates for itself
        path = (local if keep and local is not None else Path(folder)) / ENUMERATED_FILE
        with open_source(_enumerated(config, path, quiet, stopping), None, stages, stopping) as source:
            yield source


def _set(config: GenerateConfig, **more: Any) -> EnumerateConfig:
    """The settings of the enumeration."""
    from qmgen.config.enumerate import EnumerateConfig

    return EnumerateConfig(
        heavy_atoms=config.enumerate,
        elements=config.elements,
        rules=config.rules,
        max_hydrogens=config.max_hydrogens,
        **more,
    )


def _enumerated(config: GenerateConfig, path: Path, quiet: bool, stopping: Callable[[], bool]) -> Sequence[str]:
    from qmgen.pipeline.enumeration.run import EnumerationProgress, run

    some = {"sample": config.sample, "sample_parts": config.sample_parts, "seed": config.seed}
    wanted = _set(config, **some, time_limit=config.time_limit, out=str(path))
    while True:
        try:
            run(wanted, EnumerationProgress(quiet))
            return [str(path)]
        except BeingWritten:  # another rank enumerates: its file is read then
            if stopping():
                raise Interrupted("stopped while another rank was enumerating; the same command continues") from None
            time.sleep(1.0)
