"""``run``: qmgen and PySCF on the same molecules, at one grid level after another, in one run."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qmgen.benchmark.level import measure, passes
from qmgen.benchmark.provenance import provenance, write_json
from qmgen.benchmark.sides import CONV_TOL, Setup
from qmgen.benchmark.subjects import subjects
from qmgen.labeling.types import Settings
from qmgen.pipeline.stages import Stages

if TYPE_CHECKING:
    from qmgen.config.models import BenchConfig

#: 2: ``levels``, a list, holds what was said of one level at the top; ``first_label``; no cold pass of PySCF
SCHEMA_VERSION = 2


def run(config: BenchConfig, *, stages: Stages | None = None, progress: bool = True) -> dict[str, Any]:
    """Measure, and return plain JSON values (``render.table`` prints them); written to ``config.out`` if set.

    Raises ``UsageError`` for a level or source that will not do, ``QmgenError`` when a process died.
    """
    stages = stages or Stages()
    wanted = [
        _without_aliases(Settings(xc=config.xc, basis=config.basis, grid_level=level), stages)
        for level in config.grid_levels
    ]
    chosen = subjects(config.molecules, config.count, config.conformers, config.seed, stages)
    about = provenance()
    levels = []
    tell = _teller(len(wanted) * passes(config.repeats), progress)
    for settings in wanted:
        with tempfile.TemporaryDirectory(prefix="qmgen-bench-") as folder:
            setup = Setup(settings, Path(folder) / "xla", stages)  # a level of its own is cold at its start
            levels.append(measure(setup, chosen, config, Path(folder), _prefixed(tell, settings)))
    tell("")
    result = {
        "schema_version": SCHEMA_VERSION,
        **about,
        "pyscf_settings": {"conv_tol": CONV_TOL, "threads": 1, "else": "PySCF's defaults"},
        "subjects": chosen.about() | {"seed": config.seed, "conformers_per_molecule": config.conformers},
        "levels": levels,
    }
    if config.out is not None:
        out = Path(config.out)
        write_json(result, out if out.suffix == ".json" else out / "bench.json", "--out")
    return result


def _without_aliases(settings: Settings, stages: Stages) -> Settings:
    """The level by the names that PySCF's side knows too. Raises ``UsageError`` for names that nobody knows."""
    theory = stages.load("theory")(settings)
    return replace(settings, xc=theory["xc"], basis=theory["basis"])


def _prefixed(tell: Callable[[str], None], settings: Settings) -> Callable[[str], None]:
    return lambda what: tell(f"level {settings.grid_level}: {what}")


def _teller(total: int, progress: bool) -> Callable[[str], None]:
    """Says on standard error, if that is a terminal, which pass is running."""
    from tqdm import tqdm

    bar = tqdm(total=total, unit="pass", file=sys.stderr, disable=None if progress else True)
    started = False

    def tell(what: str) -> None:
        nonlocal started
        bar.update(int(started))
        started = True
        if what:
            bar.set_description(what)
        else:
            bar.close()

    return tell
