"""``qmgen validate``: a sample of a corpus against PySCF."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qmgen.cli.talk import print_json, say

OUT_OF_TOLERANCE = 1


def validate(
    directory: Annotated[str, typer.Argument(metavar="DIR", help="Directory of the corpus.", show_default=False)],
    sample: Annotated[int | None, typer.Option(help="Rows to recompute. [default: 50]")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the sample. [default: 0]")] = None,
    tol_energy: Annotated[float | None, typer.Option(help="Total energy, Ha. [default: 1e-06]")] = None,
    tol_orbital: Annotated[float | None, typer.Option(help="HOMO, LUMO and gap, Ha. [default: 1e-05]")] = None,
    tol_dipole: Annotated[float | None, typer.Option(help="Dipole, Debye. [default: 0.001]")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes of PySCF. [default: one per core]")] = None,
    out: Annotated[Path | None, typer.Option(help="Where the JSON and the figure go. [default: DIR]")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The table as JSON on standard output.")] = False,
) -> int:
    """Recompute a sample of a corpus with PySCF.

    Same functional, basis and grid. Exit code 1 if a difference is past its tolerance.
    """
    given = dict(locals())
    from qmgen.config import ValidateConfig, resolve

    flags = {name: given[name] for name in ValidateConfig.model_fields if name in given}
    settings = resolve(ValidateConfig, None, flags)

    from qmgen.report import parity
    from qmgen.validation import Tolerances
    from qmgen.validation import validate as run

    tolerances = Tolerances(settings.tol_energy, settings.tol_orbital, settings.tol_dipole)
    report = run(
        settings.directory,
        sample=settings.sample,
        seed=settings.seed,
        tolerances=tolerances,
        out=settings.out,
        jobs=settings.workers,
    )
    place = settings.out or (Path() if "://" in str(settings.directory) else Path(settings.directory))
    figure = parity.draw(report, place.with_suffix(".png") if place.suffix == ".json" else place / parity.FILE_NAME)
    if as_json:
        print_json(report.to_dict())
    else:
        say(report.table())
        say(f"figure in {figure}, numbers beside it")
    return 0 if report.passed else OUT_OF_TOLERANCE
