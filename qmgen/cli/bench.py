"""``qmgen bench``: throughput on this machine, next to PySCF's."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qmgen.cli.talk import print_json, say


def bench(
    molecules: Annotated[
        list[str] | None, typer.Option(help="Source of molecules. [default: the list that ships]")
    ] = None,
    count: Annotated[int | None, typer.Option(help="Molecules to draw from it. [default: 16]")] = None,
    conformers: Annotated[int | None, typer.Option(help="Conformers per molecule. [default: 1]")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the draw and the conformers. [default: 0]")] = None,
    xc: Annotated[str | None, typer.Option(help="Functional. [default: b3lyp5]")] = None,
    basis: Annotated[str | None, typer.Option(help="Basis set. [default: sto-3g]")] = None,
    grid_levels: Annotated[
        list[int] | None,
        typer.Option("--grid-level", help="Integration grid, 0 to 5; may be repeated. [default: 0 1 3]"),
    ] = None,
    repeats: Annotated[int | None, typer.Option(help="Warm passes a level; the median counts. [default: 3]")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes. [default: one per core]")] = None,
    out: Annotated[Path | None, typer.Option(help="JSON file to write.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The result as JSON on standard output.")] = False,
) -> int:
    """Measure conformers per second, next to PySCF's.

    The same molecules on both sides in one run, at one grid level after another: warm passes in turns, the first pass
    with its compilation, the wait for a first label, and peak memory.
    """
    given = dict(locals())
    from qmgen.config import BenchConfig, resolve

    flags = {name: given[name] for name in BenchConfig.model_fields if name in given}
    settings = resolve(BenchConfig, None, flags)

    from qmgen.benchmark.measure import run
    from qmgen.benchmark.tables import table

    result = run(settings)
    if as_json:
        print_json(result)
    else:
        say(table(result))
    return 0
