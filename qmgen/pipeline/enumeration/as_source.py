"""Enumerated molecules as the source of a run: a file of SMILES, which is then read like any other.

It lies in the corpus, under ``source/``: there one can see what was labelled; a run that is started again goes on with
it, or finds it whole.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from qmgen.corpus.store import store_of
from qmgen.errors import BeingWritten, Interrupted
from qmgen.pipeline.signals import StopWatch
from qmgen.pipeline.source import Source, open_source
from qmgen.pipeline.stages import Stages

if TYPE_CHECKING:
    from qmgen.config.models import GenerateConfig

NAME: Final = "source/enumerated.smi"


@contextmanager
def source_of(
    config: GenerateConfig, stages: Stages, keep: bool, quiet: bool = True, watch: StopWatch | None = None
) -> Iterator[Source]:
    """The source that ``config`` asks for; what is enumerated goes into the corpus if ``keep``, else nowhere.

    Raises ``UsageError`` as ``open_source`` and ``enumeration.run.run`` do, ``Interrupted`` as these do.
    """
    stopping = watch.stopping if watch is not None else lambda: False
    if config.enumerate is None:
        with open_source(config.molecules, config.smiles_column, stages, stopping) as source:
            yield source
        return
    with TemporaryDirectory(prefix="qmgen-") as folder:
        local = store_of(config.out).local  # beside an object store, every process enumerates for itself
        path = (local if keep and local is not None else Path(folder)) / NAME
        with open_source(_enumerated(config, path, quiet, stopping), None, stages, stopping) as source:
            yield source


def _enumerated(config: GenerateConfig, path: Path, quiet: bool, stopping: Callable[[], bool]) -> Sequence[str]:
    from qmgen.config.enumeration import EnumerateConfig
    from qmgen.pipeline.enumeration.progress import Meter
    from qmgen.pipeline.enumeration.run import run

    wanted = EnumerateConfig(
        heavy_atoms=config.enumerate,
        elements=config.elements,
        rules=config.rules,
        max_hydrogens=config.max_hydrogens,
        sample=config.sample,
        sample_parts=config.sample_parts,
        seed=config.seed,
        time_limit=config.time_limit,
        out=str(path),
    )
    while True:
        try:
            run(wanted, Meter(quiet))
            return [str(path)]
        except BeingWritten:  # another rank enumerates: its file is ours
            if stopping():
                raise Interrupted("stopped while another rank was enumerating; the same command continues") from None
            time.sleep(1.0)
