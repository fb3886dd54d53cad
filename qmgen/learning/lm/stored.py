"""Trained language models as files (weights, vocabulary, how they compute), and ``qmgen quantize``.

A quantized model has its linear weights in eight bits, cast once (post-training, no calibration). Weights are stored
with the bias of each layer; activations are scaled when they come, from the tensor at hand or by the one constant. All
else stays in 16 bit or float32 as it was.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import jax
import jax.numpy as jnp
import numpy as np

from qmgen import files
from qmgen.corpus.seal import list_of
from qmgen.errors import UsageError
from qmgen.learning.fp8 import NONE, Scaled8, ScalingRecipe, emulated, on_ipu, weight8
from qmgen.learning.lm.model import Arithmetic, LmShape, init, probes_of
from qmgen.learning.lm.texts import Vocabulary
from qmgen.learning.training import checkpoint
from qmgen.learning.training.checkpoint import LARGEST_SIZE, MODEL, of_this_version, read_model, require, shape_of
from qmgen.learning.training.folder import CONFIG

if TYPE_CHECKING:
    from qmgen.config.predict import QuantizeConfig
    from qmgen.config.train import TrainLmConfig


#: activations of the precisions without FP8
PLAIN: Final = {"f32": "float32", "bf16": "bfloat16", "f16": "float16"}
#: of the loss, where gradients have no scale of their own; a mean over some thousand tokens keeps clear of the largest
LOSS_SCALE: Final = 2.0**15
#: layers, and elements of activations (layers · tokens · (width + heads · positions)), up to which the scan over blocks
#: is written out on a CPU; that takes at most about a GB
UNROLLED: Final = 12
ELEMENTS: Final = 2**24


def arithmetic_of(settings: TrainLmConfig, shape: LmShape) -> Arithmetic:
    """How a training computes, on JAX's default device."""
    dtype = jnp.dtype(activations_of(settings))
    return Arithmetic(recipe_of(settings), dtype, settings.remat, unrolled(shape, settings.batch_size, settings.remat))


def unrolled(shape: LmShape, rows: int, remat: bool = False) -> bool:
    """Whether the scan over blocks is written out: for small models on a CPU, where FP8 is then emulated twice as fast.
    XLA merges what is computed again with the forward pass there: it takes the memory of all blocks at once."""
    elements = shape.layers * rows * shape.context * (shape.width + shape.heads * shape.context)
    small = shape.layers <= UNROLLED and elements <= ELEMENTS
    return small and not remat and jax.default_backend() == "cpu" and jax.device_count() == 1


def activations_of(settings: TrainLmConfig) -> str:
    """The type between the linear layers: as set, by precision, and of FP8 bfloat16 but on a CPU, where it is slow."""
    if settings.activations:
        return settings.activations
    return PLAIN.get(settings.precision, "float32" if jax.default_backend() == "cpu" else "bfloat16")


def loss_scale_of(settings: TrainLmConfig) -> float:
    """By how much gradients are larger within the model: where their scale is not their own they would be lost."""
    scaled = settings.precision in ("f16", "fp8-cscale")
    return settings.loss_scale or (LOSS_SCALE if scaled else 1.0)


def recipe_of(settings: TrainLmConfig) -> ScalingRecipe:
    """The recipe of the linear layers."""
    if settings.precision in PLAIN:
        return NONE
    kind = settings.precision.removeprefix("fp8-")
    recipe = ScalingRecipe(kind, margin=settings.margin, bias=settings.scale_bias, history=settings.history)
    return on_ipu(recipe) if settings.formats == "ipu" else recipe


def recipe_to_json(recipe: ScalingRecipe) -> dict[str, Any]:
    """Plain values, for a file."""
    return {
        "kind": recipe.kind,
        "formats": "ipu" if recipe.forward.name.endswith("fnuz") else "ocp",
        "margin": recipe.margin,
        "bias": recipe.bias,
        "history": recipe.history,
        "block": recipe.block,
    }


def recipe_from_json(plain: dict[str, Any]) -> ScalingRecipe:
    """The inverse. Raises ``KeyError``, ``TypeError`` or ``ValueError`` for anything else."""
    values = dict(plain)
    formats = values.pop("formats")
    if formats not in ("ocp", "ipu"):
        raise ValueError(f"its formats are {str(formats)[:40]}")
    numbers = [value for name, value in values.items() if name != "kind"]
    if not isinstance(values["kind"], str) or not all(type(value) is int for value in numbers):
        raise TypeError("its recipe holds other types")
    recipe = replace(NONE, **values)
    return on_ipu(recipe) if formats == "ipu" else recipe


KIND: Final = "lm"
#: rows of a batch, where a model is used
ROWS: Final = 32


@dataclass(frozen=True)
class StoredLm:
    """A language model. ``params`` are {"weights", "probes"}, the weights of linear layers ``Scaled8`` where
    ``quantized``; ``about`` are plain values: arch, preset, precision, activations, data, digest, seed."""

    params: Any
    shape: LmShape
    vocabulary: Vocabulary
    recipe: ScalingRecipe
    about: dict[str, Any]
    quantized: bool = False
    path: Path | None = None
    checksum: str = ""

    def arithmetic(self) -> Arithmetic:
        """How it computes when it is used."""
        return Arithmetic(self.recipe, jnp.dtype(self.about["activations"]), unroll=unrolled(self.shape, ROWS))


def save_model(path: Path, model: StoredLm) -> None:
    """Write it, whole or not at all. Raises ``QmgenError`` where that cannot be done."""
    metadata = {
        **model.about,
        "kind": KIND,
        "shape": asdict(model.shape),
        "vocabulary": list(model.vocabulary.tokens),
        "recipe": recipe_to_json(model.recipe),
        "quantised": model.quantized,
    }
    checkpoint.save(path, model.params, metadata)


def load_model(path: Path) -> StoredLm:
    """The model at ``path``: a ``model.safetensors``, or the folder of a ``qmgen train lm`` or ``qmgen quantize``.

    Raises ``UsageError`` with one line where there is none, it is damaged, or is something else.
    """
    file = path / MODEL if path.is_dir() else path
    if not file.exists():
        state = "its training is not finished" if (path / checkpoint.NAME).exists() else "nothing there"
        raise UsageError(f"no language model in {path} ({state}): give the --out of `qmgen train lm`")
    stored = read_model(file, KIND, "language model", "qmgen train lm")
    arrays, about = stored.arrays, stored.about
    with of_this_version(file):
        shape = shape_of(LmShape, about.pop("shape"))
        recipe = recipe_from_json(about.pop("recipe"))
        require(about, vocabulary=list, precision=str, activations=str, longest=int, validation_fraction=float)
        vocabulary = Vocabulary(tuple(about.pop("vocabulary")))
        if len(vocabulary) != shape.vocabulary or about["longest"] > LARGEST_SIZE:
            raise ValueError(f"it has {len(vocabulary)} tokens and states {shape.vocabulary}, the longest text apart")
        if about["activations"] not in PLAIN.values():
            raise ValueError(f"its activations are {about['activations'][:40]}")
        quantized = bool(about.pop("quantised"))
        tree = checkpoint.unflatten(arrays, _like(shape, recipe, quantized), str(file))
    return StoredLm(tree, shape, vocabulary, recipe, about, quantized, file, stored.checksum)


def own_files(model: StoredLm) -> list[Path]:
    """The files of the training of a stored model, where the config.toml beside it, or of what it was made of, names
    them and all are there."""
    from qmgen.config.sources import read_file
    from qmgen.config.train import TrainLmConfig

    assert model.path is not None
    config = model.path.parent / CONFIG
    if not config.exists() and (made_of := parent_of(model)) is not None:
        config = made_of.parent / CONFIG
    if not config.exists():
        return []
    given = read_file(TrainLmConfig, config).get("data") or []
    names = [given] if isinstance(given, str) else list_of(given)
    try:
        there = [Path(name) for name in names if isinstance(name, str) and Path(name).exists()]
    except (OSError, ValueError):
        return []
    return there if len(there) == len(names) else []


def parent_of(model: StoredLm) -> Path | None:
    """The file that a quantized model was made of, where it is still the same; None otherwise."""
    assert model.path is not None
    try:
        place = (model.path.parent / str(model.about.get("made_of", ""))).resolve()
        same = place.is_file() and sha256(files.read(place)).hexdigest() == model.about.get("made_of_checksum")
    except (OSError, ValueError, RuntimeError):  # a name that leads nowhere, or round in circles
        return None
    return place if same else None


def _like(shape: LmShape, recipe: ScalingRecipe, quantized: bool) -> Any:
    """The structure, shapes and types of the parameters."""
    weights = jax.eval_shape(lambda: init(jax.random.key(0), shape))
    if quantized:
        for name, (inputs, outputs) in shape.linears().items():
            values = jax.ShapeDtypeStruct((shape.layers, inputs, outputs), recipe.forward.dtype)
            bias = jax.ShapeDtypeStruct((shape.layers,), jnp.int32)
            weights["blocks"][name] = {**weights["blocks"][name], "weight": Scaled8(values, bias)}
    return {"weights": weights, "probes": jax.eval_shape(lambda: probes_of(shape, recipe))}


def plain(model: StoredLm) -> StoredLm:
    """The same weights without FP8: what a quantized model is compared with. It must not be quantized itself."""
    return StoredLm(
        {"weights": model.params["weights"], "probes": probes_of(model.shape, NONE)},
        model.shape, model.vocabulary, NONE, model.about, False, model.path, model.checksum,
    )  # fmt: skip


def quantized(model: StoredLm, recipe: ScalingRecipe) -> StoredLm:
    """``model`` with the linear weights of its blocks as ``Scaled8``. It must not be quantized yet."""
    weights = model.params["weights"]
    blocks = dict(weights["blocks"])
    for name in model.shape.linears():
        cast = weight8(jnp.asarray(blocks[name]["weight"]), recipe)
        blocks[name] = {**blocks[name], "weight": jax.tree.map(np.asarray, cast)}
    params = {"weights": {**weights, "blocks": blocks}, "probes": probes_of(model.shape, recipe)}
    precision = f"fp8-{recipe.kind}"
    about = {**model.about, "precision": precision, "trained_as": model.about["precision"]}
    return StoredLm(params, model.shape, model.vocabulary, recipe, about, True, model.path, model.checksum)


def quantize_run(settings: QuantizeConfig) -> dict[str, Any]:
    """Write the quantized model of ``settings.run``; what was done, as plain values.

    Raises ``UsageError`` where there is no model, it is quantized already, or the model's file is there.
    """
    model = load_model(settings.run)
    if model.quantized:
        raise UsageError(f"{settings.run} is quantized already: give the run that it was made of")
    recipe = ScalingRecipe(settings.recipe, bias=settings.scale_bias)
    if settings.formats == "ipu":
        recipe = on_ipu(recipe)
    out = settings.out or default_out(settings.run, settings.recipe)
    file = out / MODEL if out.suffix != ".safetensors" else out
    if file.exists() and not settings.overwrite:
        raise UsageError(f"{file} is there already: choose another --out, or --overwrite")
    assert model.path is not None
    if file.resolve() == model.path.resolve():
        raise UsageError(f"{file} is the model itself: choose another --out")
    small = quantized(model, recipe)
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
