"""Enumerated molecules as the source of a run.

The work units of a whole enumeration are its parts (``parts``). A share, a sample or the first few are listed first,
in a file of SMILES which is then read like any other. It lies in the corpus, under ``source/``: there one can see what
was labelled; a run that is started again goes on with it, or finds it whole.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

from qmgen.corpus.store import store_of
from qmgen.errors import BeingWritten, Interrupted
from qmgen.pipeline.source import MoleculeSource, open_source
from qmgen.pipeline.stages import Stages
from qmgen.signals import StopWatch

if TYPE_CHECKING:
    from qmgen.config.generate import EnumerateConfig, GenerateConfig

NAME: Final = "source/enumerated.smi"


def is_listed(config: GenerateConfig) -> bool:
    """Whether the molecules are enumerated into a list before any is labelled."""
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
        path = (local if keep and local is not None else Path(folder)) / NAME
        with open_source(_enumerated(config, path, quiet, stopping), None, stages, stopping) as source:
            yield source


def _set(config: GenerateConfig, **more: Any) -> EnumerateConfig:
    """The settings of the enumeration."""
    from qmgen.config.generate import EnumerateConfig

    return EnumerateConfig(
        heavy_atoms=config.enumerate,
        elements=config.elements,
        rules=config.rules,
        max_hydrogens=config.max_hydrogens,
        **more,
    )


def _enumerated(config: GenerateConfig, path: Path, quiet: bool, stopping: Callable[[], bool]) -> Sequence[str]:
    from qmgen.pipeline.enumeration.progress import EnumerationProgress
    from qmgen.pipeline.enumeration.run import run

    some = {"sample": config.sample, "sample_parts": config.sample_parts, "seed": config.seed}
    wanted = _set(config, **some, time_limit=config.time_limit, out=str(path))
    while True:
        try:
            run(wanted, EnumerationProgress(quiet))
            return [str(path)]
        except BeingWritten:  # another rank enumerates: its file is ours
            if stopping():
                raise Interrupted("stopped while another rank was enumerating; the same command continues") from None
            time.sleep(1.0)
