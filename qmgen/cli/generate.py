"""``qmgen generate``: molecules in, labelled corpus out."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qmgen.cli.talk import print_json, say
from qmgen.machine import memory_needed

if TYPE_CHECKING:
    from qmgen.config import GenerateConfig

#: the process ended well, but left more molecules without a label than the person allows
TOO_MANY_FAILURES = 3


def generate(
    config: Annotated[
        Path | None, typer.Argument(help="TOML file with any of the settings below.", show_default=False)
    ] = None,
    molecules: Annotated[
        list[str] | None,
        typer.Option(
            help="Source: .smi .csv .tsv .sdf .mol .xyz .extxyz (also .gz), .parquet, or - for SMILES on standard "
            "input; may be repeated."
        ),
    ] = None,
    enumerate: Annotated[  # the setting's name
        str | None, typer.Option(help="Enumerate molecules instead: 9, or 9-11 atoms other than hydrogen.")
    ] = None,
    elements: Annotated[str | None, typer.Option(help="Elements of these, beside hydrogen. [default: C,N,O,F]")] = None,
    rules: Annotated[
        str | None, typer.Option(help="Rules they obey: gdb11, none, or a TOML file. [default: gdb11]")
    ] = None,
    max_hydrogens: Annotated[int | None, typer.Option(help="Most hydrogens of these.")] = None,
    sample: Annotated[int | None, typer.Option(help="So many of these at random: exact, after one whole pass.")] = None,
    sample_parts: Annotated[str | None, typer.Option(help="K parts of N of these at random, as K/N: at once.")] = None,
    out: Annotated[
        str | None, typer.Option(help="Directory of the corpus, or s3://bucket/prefix.", metavar="DIR")
    ] = None,
    overwrite: Annotated[
        bool | None, typer.Option("--overwrite", help="Remove the corpus that is there, and start anew.")
    ] = None,
    extend: Annotated[
        bool | None, typer.Option("--extend", help="Add conformers or molecules to the finished corpus that is there.")
    ] = None,
    rank: Annotated[
        int | None,
        typer.Option(help="Which of several processes this is, from 0. [default: from Slurm or Kubernetes, else 0]"),
    ] = None,
    world_size: Annotated[
        int | None, typer.Option(help="How many processes share the work units. [default: from Slurm, else 1]")
    ] = None,
    smiles_column: Annotated[str | None, typer.Option(help="Column of a .csv or .tsv that holds the SMILES.")] = None,
    keep: Annotated[
        str | None,
        typer.Option(
            help="Columns of .csv and .parquet, properties of .sdf, keys of .xyz that become columns: name,pIC50.",
            metavar="NAMES",
        ),
    ] = None,
    conformers: Annotated[
        int | None, typer.Option(help="Conformers per molecule; 1000 unless given with --embed qm1b. [default: 1]")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of conformers and splits; 43 unless given with --embed qm1b. [default: 0]")
    ] = None,
    embed: Annotated[
        str | None,
        typer.Option(help="How SMILES get geometries: etkdg3, or qm1b (as QM1B's authors did). [default: etkdg3]"),
    ] = None,
    relax: Annotated[
        str | None, typer.Option(help="Relax the conformers: none, or mmff (MMFF94). [default: none]")
    ] = None,
    relax_steps: Annotated[int | None, typer.Option(help="Most steps of a relaxation. [default: 1000]")] = None,
    prune_rms: Annotated[
        float | None,
        typer.Option(help="Leave out conformers nearer to an earlier one: Angstrom, RMSD of heavy atoms."),
    ] = None,
    energy_window: Annotated[
        float | None, typer.Option(help="Leave out conformers higher above the lowest: kcal/mol in MMFF94.")
    ] = None,
    stereo: Annotated[
        str | None,
        typer.Option(help="Open stereo centres: as-given (chance decides), or enumerate. [default: as-given]"),
    ] = None,
    max_stereo_isomers: Annotated[
        int | None, typer.Option(help="Most stereoisomers of a molecule; of more, a sample. [default: 32]")
    ] = None,
    embed_time_limit: Annotated[
        float | None, typer.Option(help="CPU seconds for all conformers of a molecule. [default: 60.0]")
    ] = None,
    xc: Annotated[str | None, typer.Option(help="Functional. [default: b3lyp5]")] = None,
    basis: Annotated[str | None, typer.Option(help="Basis set. [default: sto-3g]")] = None,
    grid_level: Annotated[int | None, typer.Option(help="Integration grid, 0 to 5. [default: 1]")] = None,
    precision: Annotated[str | None, typer.Option(help="Arithmetic. [default: float64]")] = None,
    guess: Annotated[
        str | None,
        typer.Option(
            help="First guess: atoms, core, or a run of `qmgen train energy`. [default: atoms]", metavar="RUN"
        ),
    ] = None,
    conv_energy: Annotated[float | None, typer.Option(help="Largest energy change, Ha. [default: 1e-09]")] = None,
    conv_gradient: Annotated[float | None, typer.Option(help="Largest orbital gradient, Ha. [default: 1e-06]")] = None,
    max_cycles: Annotated[int | None, typer.Option(help="SCF cycles before a retry. [default: 50]")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Conformers per batch. [default: by shape]")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes (on each GPU). [default: by the machine]")] = None,
    devices: Annotated[
        str | None, typer.Option(help="GPUs: all, or some (0,2), one process each; or cpu. [default: as jax chooses]")
    ] = None,
    units: Annotated[int | None, typer.Option(help="Work units, one shard each. [default: by size]")] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first so many molecules of the source.")] = None,
    time_limit: Annotated[float | None, typer.Option(help="Stop after this many seconds, with exit code 75.")] = None,
    max_failures: Annotated[int | None, typer.Option(help="Exit code 3 past this many failures.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Measure a few molecules for 30 s at most, say what the rest costs.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The summary as JSON on standard output.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no summary.")] = False,
) -> int:
    """Label molecules with batched Kohn-Sham DFT and write a corpus.

    Settings come from the flags, then QMGEN_* variables, then the TOML file, then the defaults.
    """
    given = dict(locals())
    with memory_needed():
        return _run(given, config, dry_run=dry_run, as_json=as_json, quiet=quiet)


def _run(given: Mapping[str, Any], config: Path | None, dry_run: bool, as_json: bool, quiet: bool) -> int:
    from qmgen.config import GenerateConfig, resolve

    flags = {name: given[name] for name in GenerateConfig.model_fields if name in given}
    settings = resolve(GenerateConfig, config, flags)
    check_source(settings, flags)

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


def check_source(settings: GenerateConfig, flags: dict[str, Any]) -> None:
    """Raises ``UsageError`` for flags that choose among enumerated molecules where none are enumerated: one would take
    the corpus for filtered. In a file, which may be of an earlier run, they are of no effect."""
    from qmgen.errors import UsageError

    given = [name for name in ("elements", "rules", "max_hydrogens") if flags.get(name) is not None]
    if given and settings.enumerate is None:
        flag = given[0].replace("_", "-")
        raise UsageError(
            f"--{flag} chooses among molecules that are enumerated, and those of a file are all taken: leave it out, "
            "or see what rules say of a file with `qmgen enumerate --check FILE`"
        )


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
