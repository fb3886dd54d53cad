"""``qmgen enumerate``: all molecules of a size or a formula, a share of them, a sample, or how many there are."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from qmgen.cli.talk import print_json, say


def enumerate_molecules(
    heavy_atoms: Annotated[str | None, typer.Option(help="How many atoms other than hydrogen: 9, or 9-11.")] = None,
    formula: Annotated[str | None, typer.Option(help="One formula instead, such as C7H10O2.")] = None,
    elements: Annotated[str | None, typer.Option(help="Elements beside hydrogen. [default: C,N,O,F]")] = None,
    rules: Annotated[
        str | None, typer.Option(help="Rule set: gdb11, none (valence only), or a TOML file. [default: gdb11]")
    ] = None,
    tautomers: Annotated[
        str | None, typer.Option(help="merge (one form of each class) or keep. [default: the rule set's own]")
    ] = None,
    min_hydrogens: Annotated[int | None, typer.Option(help="Fewest hydrogens. [default: 0]")] = None,
    max_hydrogens: Annotated[int | None, typer.Option(help="Most hydrogens.")] = None,
    max_bond_order: Annotated[int | None, typer.Option(help="Highest bond order, 1 to 3. [default: 3]")] = None,
    max_rings: Annotated[int | None, typer.Option(help="Most rings.")] = None,
    part: Annotated[
        str | None, typer.Option(help="Share K of N, as K/N: disjoint, complete, even; for N machines.")
    ] = None,
    sample: Annotated[int | None, typer.Option(help="So many at random: one whole pass, exact.")] = None,
    sample_parts: Annotated[
        str | None, typer.Option(help="K parts of N at random, as K/N, each whole: a quick sample.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of either sample. [default: 0]")] = None,
    limit: Annotated[int | None, typer.Option(help="Stop after so many: the first in order, no sample.")] = None,
    time_limit: Annotated[
        float | None, typer.Option(help="Seconds after which to stop; the same command continues.")
    ] = None,
    out: Annotated[str | None, typer.Option(help="File of SMILES, or - for standard output. [default: -]")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Begin anew where the file exists.")] = False,
    count: Annotated[
        bool, typer.Option("--count", help="A table of how many there are by heavy atoms and formula, no molecules.")
    ] = False,
    check: Annotated[
        str | None, typer.Option(help="A file of SMILES: for each, ok or the first rule that removes it.")
    ] = None,
    merge: Annotated[
        list[str] | None, typer.Option(help="Samples of parts to join to one of --sample N; may be repeated.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Counts, or what was done, as JSON on standard output.")
    ] = False,
) -> int:
    """Enumerate every molecule of a size or a formula, each once.

    These are the molecules that GDB-11's criteria keep; with --rules none all constitutional isomers that C 4, N 3,
    O 2, F 1 allow. The order is the same everywhere. Writing to a file survives a stop: the same command goes on.
    """
    given = dict(locals())
    from qmgen.config import resolve
    from qmgen.config.generate import EnumerateConfig

    # a switch is given or not: without it the file or the environment has the word
    flags = {name: given[name] for name in EnumerateConfig.model_fields if given[name] is not False}
    config = resolve(EnumerateConfig, None, flags)

    from qmgen.pipeline.enumeration import run as runner
    from qmgen.pipeline.enumeration.progress import Meter

    if config.check is not None:
        return _check(config.check, config.rules, config.tautomers or "")
    if as_json and not config.count and config.out == "-":
        from qmgen.errors import UsageError

        raise UsageError("--json and the molecules cannot both go to standard output: give --out FILE")
    if config.limit is not None:
        say(f"qmgen: --limit {config.limit} takes the first molecules in order, which are no sample: see --sample")
    outcome = runner.run(config, Meter())
    if outcome.counts is not None:
        from qmgen.pipeline.enumeration.count import table

        if as_json:
            print_json(runner.as_json(config, outcome))
        else:
            print(table(outcome.counts))
    elif as_json:
        print_json(runner.as_json(config, outcome))
    for line in runner.report(config, outcome):
        say(f"qmgen: {line}")
    return 0


def _check(file: str, rules: str, tautomers: str) -> int:
    from qmgen.pipeline.enumeration.check import check

    for smiles, verdict in check(file, rules, tautomers):
        sys.stdout.write(f"{smiles}\t{verdict}\n")
    return 0
