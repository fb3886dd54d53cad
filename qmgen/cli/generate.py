"""``qmgen enumerate``, ``qmgen generate``, ``qmgen retry``: molecules in, labeled corpus out."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qmgen.cli.console import print_json, say
from qmgen.cli.options import AsJson, Quiet
from qmgen.errors import UsageError
from qmgen.machine import memory_needed

if TYPE_CHECKING:
    from qmgen.config import EnumerateConfig, GenerateConfig, RetryConfig

#: the process ended well, but left more molecules without a label than the person allows
TOO_MANY_FAILURES = 3


def enumerate_molecules(settings: EnumerateConfig, as_json: AsJson = False) -> int:
    """Enumerate all molecules of a number of heavy atoms or of a formula.

    Each molecule is written once, always in the same order. The rule set gdb11 keeps the molecules that meet the
    criteria of GDB-11; with --rules none, all constitutional isomers of C, N, O and F with the valences 4, 3, 2 and 1.
    If the command is stopped while it writes a file, the same command continues.
    """
    from qmgen.pipeline.enumeration import run as runner
    from qmgen.pipeline.enumeration.run import EnumerationProgress

    if settings.check is not None:
        from qmgen.pipeline.enumeration.run import check_file

        for smiles, verdict in check_file(settings.check, settings.rules, settings.tautomers or ""):
            sys.stdout.write(f"{smiles}\t{verdict}\n")
        return 0
    if as_json and not settings.count and settings.out == "-":
        raise UsageError("--json and the molecules cannot both go to standard output: give --out FILE")
    if settings.limit is not None:
        say(f"qmgen: --limit {settings.limit} takes the first molecules in order, which are no sample: see --sample")
    outcome = runner.run(settings, EnumerationProgress())
    if as_json:
        print_json(runner.as_json(settings, outcome))
    elif outcome.counts is not None:
        from qmgen.pipeline.enumeration.run import counts_table

        print(counts_table(outcome.counts))
    for line in runner.report(settings, outcome):
        say(f"qmgen: {line}")
    return 0


@memory_needed()
def generate(
    settings: GenerateConfig,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Label a few molecules (for 30 s at most) and estimate time, memory and disk space."
        ),
    ] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> int:
    """Label molecules with batched Kohn-Sham DFT and write a corpus.

    If the command is stopped, the same command continues.
    """
    if dry_run:
        from qmgen.pipeline.estimate import estimate

        expected = estimate(settings)
        if as_json:
            print_json(expected)
        else:
            say(expected.text())
        return 0

    from qmgen.pipeline.run import generate as run

    summary = run(settings, quiet=quiet)
    nothing = summary.nothing_made
    if as_json:
        print_json(summary)
    elif not quiet:
        say(summary.text())
        for line in next_steps(summary.directory) if summary.complete and summary.rows and nothing is None else ():
            say(line)
    if summary.too_many_failures:
        return TOO_MANY_FAILURES
    if nothing is not None:
        raise nothing
    return 0


@memory_needed()
def retry(
    settings: RetryConfig,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print which failures would be labeled again, and with which settings.")
    ] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> int:
    """Label the failures of a finished corpus again, with more generous settings.

    Failures of these kinds are labeled again: SCF not converged, out of time, out of memory, crashed. If the command
    is stopped, the same command continues; after its end, the same command uses still more generous settings.
    """
    from qmgen.pipeline.retry import retry as run

    outcome = run(settings, quiet=quiet, dry_run=dry_run)
    if as_json:
        print_json(outcome)
    elif not quiet:
        say(outcome.text())
    return TOO_MANY_FAILURES if outcome.too_many_failures else 0


def next_steps(directory: str) -> list[str]:
    """What to try when the run is over, as lines to paste into a shell."""
    place = shlex.quote(directory) if "://" in directory else _typed(Path(directory))
    program = _typed(Path(sys.argv[0])) if Path(sys.argv[0]).name == "qmgen" else "qmgen"
    return [
        "",
        "try next",
        f"  {program} validate {place} --sample 20    # the same molecules with PySCF",
        f"  less {place}/README.md    # what the columns mean, and how to load them",
        f"  {program} generate --molecules YOUR.smi --out your-corpus    # molecules of your own",
    ]


def _typed(path: Path) -> str:
    """``path`` as one would type it here: relative where that is shorter, quoted where the shell wants it."""
    return shlex.quote(min(os.path.relpath(path), str(path), key=len))
