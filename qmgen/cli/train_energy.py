"""``qmgen train energy`` and ``qmgen train labels``: the same network, without labels and with them."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from qmgen.cli.talk import print_json, say

Config = Annotated[Path | None, typer.Argument(help="TOML file with any of the settings below.", show_default=False)]
Molecules = Annotated[
    list[str] | None,
    typer.Option(help="File of molecules (.smi .csv .sdf .xyz .parquet); several allowed.", metavar="FILE"),
]
Data = Annotated[
    str | None, typer.Option(help="Or a corpus, whose geometries are taken; its labels are not read.", metavar="DIR")
]
Limit = Annotated[int | None, typer.Option(help="The first so many entries. [default: all]")]
Conformers = Annotated[int | None, typer.Option(help="Conformers of each SMILES. [default: 1]")]
Xc = Annotated[str | None, typer.Option(help="Functional. [default: b3lyp5]")]
Basis = Annotated[str | None, typer.Option(help="Basis set. [default: sto-3g]")]
GridLevel = Annotated[int | None, typer.Option(help="Integration grid, 0 to 5. [default: 0]")]
Model = Annotated[
    str | None, typer.Option(help="Network: blocks-tiny, -small, -base; qpt-tiny, -small, -base, -medium, -large.")
]
Published = Annotated[
    bool | None, typer.Option("--published-form", help="qpt as it was published, with what is mended here unmended.")
]
Refine = Annotated[int | None, typer.Option(help="Fock rebuilds after the prediction, 0 to 3. [default: 0]")]
HeldOut = Annotated[
    str | None, typer.Option(help="Hold out molecules or geometries. [default: molecules if there are ten]")
]
Fraction = Annotated[float | None, typer.Option(help="Share held out. [default: 0.1]")]
Monitor = Annotated[int | None, typer.Option(help="Of these, so many get converged references. [default: 32]")]
Init = Annotated[str | None, typer.Option(help="Begin with this trained network: an --out of these commands.")]
Augment = Annotated[
    int | None, typer.Option(help="So many more geometries, moved along the forces of --init. [default: 0]")
]
AugmentSteps = Annotated[int | None, typer.Option(help="Steps of Langevin dynamics of each of these. [default: 5]")]
Temperature = Annotated[float | None, typer.Option(help="And their temperature in K. [default: 400]")]
Steps = Annotated[int | None, typer.Option(help="Length in batches. [default: 4000]")]
BatchSize = Annotated[int | None, typer.Option(help="Molecules in a batch. [default: 8]")]
LearningRate = Annotated[
    float | None, typer.Option(help="Highest learning rate; half with --init. [default: by model]")
]
Schedule = Annotated[str | None, typer.Option(help="Learning rate over time: cosine or constant. [default: cosine]")]
Warmup = Annotated[int | None, typer.Option(help="Steps of warm-up. [default: a tenth, at most 100]")]
Decay = Annotated[float | None, typer.Option(help="Weight decay of AdamW. [default: 0.0001]")]
Clip = Annotated[float | None, typer.Option(help="Largest norm of the gradients. [default: 1.0]")]
Precision = Annotated[str | None, typer.Option(help="Of the network: float32 or fp8-amax. [default: float32]")]
ValidateEvery = Annotated[int | None, typer.Option(help="Steps between validations. [default: a 40th of the length]")]
Patience = Annotated[
    int | None, typer.Option(help="Stop after so many validations without a better one. [default: never]")
]
LogEvery = Annotated[int | None, typer.Option(help="Steps between lines of metrics.jsonl. [default: 20]")]
Seed = Annotated[int | None, typer.Option(help="Of weights, order, what is held out, conformers. [default: 0]")]
Memory = Annotated[float | None, typer.Option(help="GB of prepared geometries to keep. [default: 4]")]
CheckpointEvery = Annotated[float | None, typer.Option(help="Seconds between checkpoints. [default: 60]")]
Out = Annotated[Path | None, typer.Option(help="Directory of the training.", metavar="RUN")]
Overwrite = Annotated[bool | None, typer.Option("--overwrite", help="Remove the training that is there.")]
TimeLimit = Annotated[float | None, typer.Option(help="Stop after this many seconds, with exit code 75.")]
AsJson = Annotated[bool, typer.Option("--json", help="The result as JSON on standard output.")]
IsQuiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no summary.")]
Loss = Annotated[str | None, typer.Option(help="Of the Hamiltonian: l1 or mse. [default: l1]")]
EnergyWeight = Annotated[float | None, typer.Option(help="Share of the energy in the loss. [default: 0]")]


def energy(
    config: Config = None,
    molecules: Molecules = None,
    data: Data = None,
    limit: Limit = None,
    conformers: Conformers = None,
    xc: Xc = None,
    basis: Basis = None,
    grid_level: GridLevel = None,
    model: Model = None,
    published_form: Published = None,
    refine: Refine = None,
    held_out: HeldOut = None,
    validation_fraction: Fraction = None,
    monitor: Monitor = None,
    init: Init = None,
    augment: Augment = None,
    augment_steps: AugmentSteps = None,
    temperature: Temperature = None,
    steps: Steps = None,
    batch_size: BatchSize = None,
    learning_rate: LearningRate = None,
    schedule: Schedule = None,
    warmup: Warmup = None,
    weight_decay: Decay = None,
    clip: Clip = None,
    precision: Precision = None,
    validate_every: ValidateEvery = None,
    patience: Patience = None,
    log_every: LogEvery = None,
    seed: Seed = None,
    memory: Memory = None,
    checkpoint_every: CheckpointEvery = None,
    out: Out = None,
    overwrite: Overwrite = None,
    time_limit: TimeLimit = None,
    as_json: AsJson = False,
    quiet: IsQuiet = False,
) -> int:
    """Train a network by the DFT energy of what it predicts: geometries in, no label read.

    The same command continues what was stopped.

    Settings come from the flags, then QMGEN_* variables, then the TOML file, then the defaults.
    """
    from qmgen.config.train import TrainEnergyConfig

    return _run(TrainEnergyConfig, dict(locals()))


def labels(
    config: Config = None,
    molecules: Molecules = None,
    data: Data = None,
    limit: Limit = None,
    conformers: Conformers = None,
    xc: Xc = None,
    basis: Basis = None,
    grid_level: GridLevel = None,
    model: Model = None,
    published_form: Published = None,
    loss: Loss = None,
    energy_weight: EnergyWeight = None,
    refine: Refine = None,
    held_out: HeldOut = None,
    validation_fraction: Fraction = None,
    monitor: Monitor = None,
    init: Init = None,
    steps: Steps = None,
    batch_size: BatchSize = None,
    learning_rate: LearningRate = None,
    schedule: Schedule = None,
    warmup: Warmup = None,
    weight_decay: Decay = None,
    clip: Clip = None,
    precision: Precision = None,
    validate_every: ValidateEvery = None,
    patience: Patience = None,
    log_every: LogEvery = None,
    seed: Seed = None,
    memory: Memory = None,
    checkpoint_every: CheckpointEvery = None,
    out: Out = None,
    overwrite: Overwrite = None,
    time_limit: TimeLimit = None,
    as_json: AsJson = False,
    quiet: IsQuiet = False,
) -> int:
    """Train the same network the ordinary way, on converged Hamiltonians, which are made first.

    The same command continues what was stopped.

    Settings come from the flags, then QMGEN_* variables, then the TOML file, then the defaults.
    """
    from qmgen.config.train import TrainLabelsConfig

    return _run(TrainLabelsConfig, dict(locals()))


def _run(kind: Any, given: dict[str, Any]) -> int:
    from qmgen.config import resolve

    flags = {name: given[name] for name in kind.model_fields if name in given}
    settings = resolve(kind, given["config"], flags)

    from qmgen.learning.energy.table import text
    from qmgen.learning.energy.train import run

    result = run(settings, quiet=given["quiet"])

    from qmgen.report.energy import draw_run

    figure = draw_run(settings.out)
    if given["as_json"]:
        print_json(result)
    elif not given["quiet"]:
        say(text(result))
        say(f"figure: {figure}")
        place = shlex.quote(str(settings.out))
        say(f"\ntry next\n  qmgen evaluate {place} --molecules FILE\n  qmgen generate --guess {place} --molecules FILE")
    return 0
