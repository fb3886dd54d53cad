"""``qmgen quantize``: the weights of a trained language model in FP8."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

from qmgen.cli.talk import print_json, say
from qmgen.quantities import size


def quantize(
    run: Annotated[str, typer.Argument(metavar="RUN", help="What qmgen train lm wrote.", show_default=False)],
    recipe: Annotated[str | None, typer.Option(help="amax or cscale. [default: amax]")] = None,
    scale_bias: Annotated[int | None, typer.Option(help="The one bias of cscale, -31 to 31. [default: 0]")] = None,
    formats: Annotated[str | None, typer.Option(help="ocp (largest E4M3 448) or ipu (240). [default: ocp]")] = None,
    out: Annotated[str | None, typer.Option(help="Folder. [default: RUN-fp8-RECIPE]")] = None,
    overwrite: Annotated[bool | None, typer.Option("--overwrite", help="Replace the one that is there.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="What was done as JSON on standard output.")] = False,
) -> int:
    """Cast the weights of a trained language model to FP8, once; activations are scaled when the model is used."""
    given = dict(locals())
    from qmgen.config import resolve
    from qmgen.config.train import QuantizeConfig

    settings = resolve(QuantizeConfig, None, {name: given[name] for name in QuantizeConfig.model_fields})

    from qmgen.learning.fp8 import NOTE
    from qmgen.learning.lm.use.quantise import run as work

    done = work(settings)
    if as_json:
        print_json(done)
    else:
        say(f"{done['out']}: {size(done['bytes'])}, of {size(done['bytes_before'])}")
        if done["emulated"]:
            say(f"qmgen: {NOTE}")
        place = shlex.quote(done["out"])
        say(f"\ntry next\n  qmgen evaluate {place} --molecules FILE.smi\n  qmgen sample {place} -n 1000 --out new.smi")
    return 0
