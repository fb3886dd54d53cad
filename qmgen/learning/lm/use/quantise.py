"""``qmgen quantize``: a trained model with its linear weights in eight bits, cast once (post-training, no calibration).

Weights are stored with the bias of each layer; activations are scaled when they come, from the tensor at hand or by the
one constant. All else stays in 16 bit or float32 as it was.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from qmgen.errors import UsageError
from qmgen.learning.fp8 import Recipe, emulated, on_ipu, weight8
from qmgen.learning.lm.network.model import probes_of
from qmgen.learning.lm.stored import NAME, StoredLm, load_model, save_model

if TYPE_CHECKING:  # a borrowed machine has no pydantic
    from qmgen.config.train import QuantizeConfig


def quantised(model: StoredLm, recipe: Recipe) -> StoredLm:
    """``model`` with the linear weights of its blocks as ``Scaled8``. It must not be quantised yet."""
    weights = model.params["weights"]
    blocks = dict(weights["blocks"])
    for name in model.shape.linears():
        cast = weight8(jnp.asarray(blocks[name]["weight"]), recipe)
        blocks[name] = {**blocks[name], "weight": jax.tree.map(np.asarray, cast)}
    params = {"weights": {**weights, "blocks": blocks}, "probes": probes_of(model.shape, recipe)}
    precision = f"fp8-{recipe.kind}"
    about = {**model.about, "precision": precision, "trained_as": model.about["precision"]}
    return StoredLm(params, model.shape, model.vocabulary, recipe, about, True, model.path, model.checksum)


def run(settings: QuantizeConfig) -> dict[str, Any]:
    """Write the quantised model of ``settings.run``; what was done, as plain values.

    Raises ``UsageError`` where there is no model, it is quantised already, or the model's file is there.
    """
    model = load_model(settings.run)
    if model.quantised:
        raise UsageError(f"{settings.run} is quantised already: give the run that it was made of")
    recipe = Recipe(settings.recipe, bias=settings.scale_bias)
    if settings.formats == "ipu":
        recipe = on_ipu(recipe)
    out = settings.out or default_out(settings.run, settings.recipe)
    file = out / NAME if out.suffix != ".safetensors" else out
    if file.exists() and not settings.overwrite:
        raise UsageError(f"{file} is there already: choose another --out, or --overwrite")
    assert model.path is not None
    if file.resolve() == model.path.resolve():
        raise UsageError(f"{file} is the model itself: choose another --out")
    small = quantised(model, recipe)
    made_of = os.path.relpath(model.path.resolve(), file.parent.resolve())
    about = {**small.about, "made_of": made_of, "made_of_checksum": model.checksum}
    save_model(file, replace(small, about=about))
    biases = {
        name: np.asarray(small.params["weights"]["blocks"][name]["weight"].bias).tolist()
        for name in model.shape.linears()
    }
    return {
        "run": str(settings.run),
        "out": str(file),
        "recipe": settings.recipe,
        "bytes_before": model.path.stat().st_size,
        "bytes": file.stat().st_size,
        "biases": biases,
        "emulated": emulated(recipe),
    }


def default_out(run: Path, recipe: str) -> Path:
    """``RUN-fp8-amax`` beside the run."""
    folder = (run.parent if run.suffix == ".safetensors" else run).resolve()
    return folder.with_name(f"{folder.name}-fp8-{recipe}")
