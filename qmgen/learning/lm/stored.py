"""Trained language models as files: weights, vocabulary, and how they compute."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import jax
import jax.numpy as jnp

from qmgen import files
from qmgen.corpus.record_values import list_of
from qmgen.errors import UsageError
from qmgen.learning.fp8 import NONE, Recipe, Scaled8
from qmgen.learning.lm.network.model import Arithmetic, init, probes_of
from qmgen.learning.lm.network.shape import LmShape
from qmgen.learning.lm.precision import PLAIN, recipe_from_json, recipe_to_json, unrolled
from qmgen.learning.lm.texts.tokens import Vocabulary
from qmgen.learning.training import checkpoint
from qmgen.learning.training.folder import CONFIG
from qmgen.learning.training.model_file import LARGEST_SIZE, NAME, of_this_version, read_model, require, shape_of

KIND: Final = "lm"
#: rows of a batch, where a model is used
ROWS: Final = 32


@dataclass(frozen=True)
class StoredLm:
    """A language model. ``params`` are {"weights", "probes"}, the weights of linear layers ``Scaled8`` where
    ``quantised``; ``about`` are plain values: arch, preset, precision, activations, data, digest, seed."""

    params: Any
    shape: LmShape
    vocabulary: Vocabulary
    recipe: Recipe
    about: dict[str, Any]
    quantised: bool = False
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
        "quantised": model.quantised,
    }
    checkpoint.save(path, model.params, metadata)


def load_model(path: Path) -> StoredLm:
    """The model at ``path``: a ``model.safetensors``, or the folder of a ``qmgen train lm`` or ``qmgen quantize``.

    Raises ``UsageError`` with one line where there is none, it is damaged, or is something else.
    """
    file = path / NAME if path.is_dir() else path
    if not file.exists():
        state = "its training is not finished" if (path / checkpoint.NAME).exists() else "nothing there"
        raise UsageError(f"no language model in {path} ({state}): give the --out of `qmgen train lm`")
    found = read_model(file, KIND, "language model", "qmgen train lm")
    arrays, about = found.arrays, found.about
    with of_this_version(file):
        shape = shape_of(LmShape, about.pop("shape"))
        recipe = recipe_from_json(about.pop("recipe"))
        require(about, vocabulary=list, precision=str, activations=str, longest=int, validation_fraction=float)
        vocabulary = Vocabulary(tuple(about.pop("vocabulary")))
        if len(vocabulary) != shape.vocabulary or about["longest"] > LARGEST_SIZE:
            raise ValueError(f"it has {len(vocabulary)} tokens and says {shape.vocabulary}, the longest text apart")
        if about["activations"] not in PLAIN.values():
            raise ValueError(f"its activations are {about['activations'][:40]}")
        quantised = bool(about.pop("quantised"))
        tree = checkpoint.unflatten(arrays, _like(shape, recipe, quantised), str(file))
    return StoredLm(tree, shape, vocabulary, recipe, about, quantised, file, found.checksum)


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
    found = read_file(TrainLmConfig, config).get("data") or []
    names = [found] if isinstance(found, str) else list_of(found)
    try:
        there = [Path(name) for name in names if isinstance(name, str) and Path(name).exists()]
    except (OSError, ValueError):
        return []
    return there if len(there) == len(names) else []


def parent_of(model: StoredLm) -> Path | None:
    """The file that a quantised model was made of, where it is still the same; None otherwise."""
    assert model.path is not None
    try:
        place = (model.path.parent / str(model.about.get("made_of", ""))).resolve()
        same = place.is_file() and sha256(files.read(place)).hexdigest() == model.about.get("made_of_checksum")
    except (OSError, ValueError, RuntimeError):  # a name that leads nowhere, or round in circles
        return None
    return place if same else None


def _like(shape: LmShape, recipe: Recipe, quantised: bool) -> Any:
    """The structure, shapes and types of the parameters."""
    weights = jax.eval_shape(lambda: init(jax.random.key(0), shape))
    if quantised:
        for name, (inputs, outputs) in shape.linears().items():
            values = jax.ShapeDtypeStruct((shape.layers, inputs, outputs), recipe.forward.dtype)
            bias = jax.ShapeDtypeStruct((shape.layers,), jnp.int32)
            weights["blocks"][name] = {**weights["blocks"][name], "weight": Scaled8(values, bias)}
    return {"weights": weights, "probes": jax.eval_shape(lambda: probes_of(shape, recipe))}


def plain(model: StoredLm) -> StoredLm:
    """The same weights without FP8: what a quantised model is compared with. It must not be quantised itself."""
    return StoredLm(
        {"weights": model.params["weights"], "probes": probes_of(model.shape, NONE)},
        model.shape, model.vocabulary, NONE, model.about, False, model.path, model.checksum,
    )  # fmt: skip
