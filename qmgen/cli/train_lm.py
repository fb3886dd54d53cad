"""``qmgen train lm``: a language model over SMILES, in FP8 where wanted; or what one would take."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from qmgen.cli.talk import print_json, say


def lm(
    config: Annotated[
        Path | None, typer.Argument(help="TOML file with any of the settings below.", show_default=False)
    ] = None,
    data: Annotated[
        list[str] | None, typer.Option(help="File with one SMILES a line; several allowed.", metavar="FILE")
    ] = None,
    skip_unreadable: Annotated[
        bool | None, typer.Option("--skip-unreadable", help="Leave out lines that cannot be tokenised, and count them.")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="So many molecules at random. [default: all]")] = None,
    validation_fraction: Annotated[float | None, typer.Option(help="Share held out. [default: 0.03]")] = None,
    arch: Annotated[str | None, typer.Option(help="gpt or llama, for mini and tiny. [default: gpt]")] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            help="mini, tiny; gpt-111m, -590m, -1.3b, -6.7b, -13b; llama2-7b, -13b, -70b. [default: tiny]",
        ),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(help="f32, bf16, f16, fp8-amax, fp8-cscale, fp8-delayed or fp8-block. [default: f32]"),
    ] = None,
    scale_bias: Annotated[int | None, typer.Option(help="The one bias of fp8-cscale, -31 to 31. [default: 0]")] = None,
    margin: Annotated[int | None, typer.Option(help="Bits left free in gradients. [default: 3]")] = None,
    history: Annotated[int | None, typer.Option(help="Steps that fp8-delayed looks back. [default: 16]")] = None,
    formats: Annotated[str | None, typer.Option(help="ocp (largest E4M3 448) or ipu (240). [default: ocp]")] = None,
    loss_scale: Annotated[
        float | None,
        typer.Option(help="Factor of all gradients on their way back. [default: 32768 for f16 and fp8-cscale, else 1]"),
    ] = None,
    activations: Annotated[
        str | None,
        typer.Option(
            help="Between linear layers: float32, bfloat16, float16. [default: by precision; FP8 on a CPU float32]"
        ),
    ] = None,
    context: Annotated[int | None, typer.Option(help="Tokens in a row. [default: by the longest molecule]")] = None,
    init: Annotated[str | None, typer.Option(help="Begin with this model: an --out of this command.")] = None,
    tokens: Annotated[str | None, typer.Option(help="Length: 300k, 3M, ... [default: 3M]")] = None,
    steps: Annotated[int | None, typer.Option(help="Length in steps instead.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Rows in a step. [default: 32]")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Highest learning rate. [default: by preset]")] = None,
    schedule: Annotated[str | None, typer.Option(help="cosine or constant. [default: cosine]")] = None,
    warmup: Annotated[int | None, typer.Option(help="Steps of warm-up. [default: a tenth, at most 100]")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="Of AdamW. [default: 0.1]")] = None,
    clip: Annotated[float | None, typer.Option(help="Largest norm of the gradients. [default: 1.0]")] = None,
    validate_every: Annotated[
        int | None, typer.Option(help="Steps between validations. [default: a fifth of the length]")
    ] = None,
    validation_limit: Annotated[int | None, typer.Option(help="Most molecules in one. [default: 10000]")] = None,
    patience: Annotated[
        int | None, typer.Option(help="Stop after so many validations without a better one. [default: never]")
    ] = None,
    log_every: Annotated[int | None, typer.Option(help="Steps between lines of metrics.jsonl. [default: 50]")] = None,
    watch_every: Annotated[int | None, typer.Option(help="Steps between looks at the scales. [default: 50]")] = None,
    remat: Annotated[
        bool | None, typer.Option("--remat", help="Compute activations again instead of keeping them.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of weights, order, and which --limit takes. [default: 0]")] = None,
    data_parallel: Annotated[int | None, typer.Option(help="Devices that share the rows. [default: all]")] = None,
    tensor_parallel: Annotated[int | None, typer.Option(help="Devices that share each layer. [default: 1]")] = None,
    fully_sharded: Annotated[
        bool | None, typer.Option("--fully-sharded", help="Cut weights over the data parallel devices too.")
    ] = None,
    device_memory: Annotated[
        float | None, typer.Option(help="GB of a device. [default: as it says; for --plan 80]")
    ] = None,
    checkpoint_every: Annotated[float | None, typer.Option(help="Seconds between checkpoints. [default: 60]")] = None,
    plan: Annotated[
        bool | None, typer.Option("--plan", help="Only print parameters, memory and devices of the preset.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Directory of the training.", metavar="RUN")] = None,
    overwrite: Annotated[bool | None, typer.Option("--overwrite", help="Remove the training that is there.")] = None,
    time_limit: Annotated[float | None, typer.Option(help="Stop after this many seconds, with exit code 75.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The result as JSON on standard output.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no summary.")] = False,
) -> int:
    """Train a language model over SMILES: GPT or Llama, in f32, 16 bit, or FP8 with dynamic scaling.

    The same command continues what was stopped.

    Settings come from the flags, then QMGEN_* variables, then the TOML file, then the defaults.
    """
    given = dict(locals())
    from qmgen.config import resolve
    from qmgen.config.train import TrainLmConfig

    settings = resolve(TrainLmConfig, config, {name: given[name] for name in TrainLmConfig.model_fields})
    if settings.plan:
        return _plan(settings, as_json)

    from qmgen.learning.lm.training.table import text
    from qmgen.learning.lm.training.train import run

    result = run(settings, quiet=quiet)

    from qmgen.report.scales import draw_run

    assert settings.out is not None
    figures = draw_run(settings.out)
    if as_json:
        print_json(result)
    elif not quiet:
        say(text(result))
        for figure in figures:
            say(f"figure: {figure}")
        place = shlex.quote(str(settings.out))
        say(f"\ntry next\n  qmgen sample {place} -n 1000 --out new.smi\n  qmgen quantize {place}")
    return 0


def _plan(settings: Any, as_json: bool) -> int:
    from qmgen.learning.lm.texts.reading import our_vocabulary
    from qmgen.learning.lm.training import plan
    from qmgen.learning.lm.training.presets import published

    shape = published(settings.preset, settings.arch)
    there = [file for file in map(Path, settings.data or []) if file.exists()]  # a plan may come before the molecules
    found = plan.plan(settings, shape, settings.preset, our_vocabulary(there, settings.skip_unreadable))
    if as_json:
        print_json(found)
    else:
        print(plan.text(found))
    return 0
