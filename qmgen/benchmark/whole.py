"""The whole of ``qmgen generate``, timed: starting processes, reading, embedding, labelling, writing files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

from qmgen.benchmark.sides import Setup
from qmgen.molecules.types import Molecule
from qmgen.runtime import environment


def whole(
    folder: Path, setup: Setup, molecules: Sequence[Molecule], conformers: int, seed: int, workers: int | None
) -> dict[str, Any] | None:
    """Seconds and conformers per second of one ``generate`` with a filled compilation cache, into ``folder``.

    ``seconds_to_first_row`` is what a user waits on a second run. None where a molecule has no SMILES: its geometry
    cannot be embedded again. Raises as ``generate`` does.
    """
    from qmgen.config import GenerateConfig
    from qmgen.pipeline.run import generate

    if not all(molecule.smiles and molecule.positions is None for molecule in molecules):
        return None
    source = folder / "molecules.smi"
    source.write_text("".join(f"{molecule.smiles}\n" for molecule in molecules), encoding="utf-8")
    level = setup.settings
    config = GenerateConfig(
        molecules=[str(source)],
        out=folder / "corpus",
        conformers=conformers,
        seed=seed,
        workers=workers,
        xc=level.xc,
        basis=level.basis,
        grid_level=level.grid_level,
    )
    begin = perf_counter()
    with environment({"JAX_COMPILATION_CACHE_DIR": str(setup.cache)}):
        summary = generate(config, stages=setup.stages, quiet=True)
    seconds = perf_counter() - begin
    return {
        "seconds": round(seconds, 3),
        "rows": summary.rows,
        "conformers_per_second": summary.rows / seconds,
        "seconds_to_first_row": summary.seconds_to_first_row,
        "compile_seconds": summary.compile_seconds,
        "workers": summary.workers,
        "units": summary.units,
    }
