"""``qmgen train``: networks that learn from a corpus; ``qmgen train schnet`` is the first."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from qmgen.cli.talk import print_json, say
from qmgen.cli.train_energy import energy, labels
from qmgen.cli.train_lm import lm

train = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Train a network on a corpus.",
)


@train.callback()
def _train() -> None:
    """Train a network on a corpus."""


@train.command("schnet")
def schnet(
    config: Annotated[
        Path | None, typer.Argument(help="TOML file with any of the settings below.", show_default=False)
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="Directory of the corpus, or s3://bucket/prefix.", metavar="DIR")
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            help="What to learn: y (or gap), homo, lumo, energy, dipole, forces; several with commas. [default: y]"
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(help="Size of the network: schnet-9m, small or tiny; of --init unless given, else small."),
    ] = None,
    rows: Annotated[
        str | None, typer.Option(help="Training rows, as 1k,10k,1M: one training each. [default: all]")
    ] = None,
    seeds: Annotated[int | None, typer.Option(help="Trainings of each number of rows. [default: 1]")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the first of these. [default: 0]")] = None,
    init: Annotated[
        str | None,
        typer.Option(help="Begin with this trained network: a directory of qmgen train, or model.safetensors."),
    ] = None,
    scratch: Annotated[
        bool | None,
        typer.Option("--scratch/--no-scratch", help="With --init, train from scratch too, to show what it gains."),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Length in batches. [default: by rows and preset]")] = None,
    epochs: Annotated[int | None, typer.Option(help="Length in passes over the rows, instead.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Molecules in a batch. [default: by preset]")] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Highest learning rate; half with --init. [default: by preset]")
    ] = None,
    schedule: Annotated[
        str | None, typer.Option(help="Learning rate over time: cosine, qm1b or constant. [default: cosine]")
    ] = None,
    warmup: Annotated[int | None, typer.Option(help="Steps of warm-up. [default: by preset]")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="Of AdamW. [default: 0.01]")] = None,
    clip: Annotated[float | None, typer.Option(help="Largest norm of the gradients. [default: 1.0]")] = None,
    loss: Annotated[str | None, typer.Option(help="l1 or mse. [default: l1]")] = None,
    validate_every: Annotated[
        int | None, typer.Option(help="Steps between validations. [default: a 40th of the length]")
    ] = None,
    validation_rows: Annotated[int | None, typer.Option(help="Most validation rows. [default: 10000]")] = None,
    validation_fraction: Annotated[
        float | None,
        typer.Option(help="Share of the training molecules to validate on too. [default: none, the corpus's split]"),
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(help="Stop after so many validations without a better one. [default: never]"),
    ] = None,
    log_every: Annotated[int | None, typer.Option(help="Steps between lines of metrics.jsonl. [default: 50]")] = None,
    precision: Annotated[str | None, typer.Option(help="float32, float64 or fp8-amax. [default: float32]")] = None,
    checkpoint_every: Annotated[float | None, typer.Option(help="Seconds between checkpoints. [default: 60.0]")] = None,
    out: Annotated[Path | None, typer.Option(help="Directory of the trainings.", metavar="RUN")] = None,
    overwrite: Annotated[
        bool | None, typer.Option("--overwrite", help="Remove the trainings that are there, and start anew.")
    ] = None,
    time_limit: Annotated[float | None, typer.Option(help="Stop after this many seconds, with exit code 75.")] = None,
    target_error: Annotated[
        float | None,
        typer.Option(help="MAE of the first target, as shown, to estimate the rows for. [default: 43 meV]"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The summary as JSON on standard output.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no summary.")] = False,
) -> int:
    """Train SchNet on the rows of a corpus.

    The same command continues what was stopped.

    Settings come from the flags, then QMGEN_* variables, then the TOML file, then the defaults.
    """
    given = dict(locals())
    from qmgen.config import resolve
    from qmgen.config.train import TrainSchnetConfig

    flags: dict[str, Any] = {name: given[name] for name in TrainSchnetConfig.model_fields if name in given}
    settings = resolve(TrainSchnetConfig, config, flags)

    from qmgen.learning.scaling.run import run

    summary = run(settings, quiet=quiet)
    figures = []
    if summary.report is not None:
        from qmgen.report import scaling, transfer

        figures = [scaling.draw_run(settings.out)]
        if summary.report["transfer"] is not None:
            figures.append(transfer.draw_run(settings.out))
    if as_json:
        print_json(summary)
    elif not quiet:
        say(summary.text())
        for figure in figures:
            say(f"figure: {figure}")
        place = shlex.quote(str(settings.out))
        say(f"\ntry next\n  qmgen evaluate {place} --data {shlex.quote(str(settings.data))}")
    return 0


train.command("energy")(energy)
train.command("labels")(labels)
train.command("lm")(lm)
