"""``qmgen evaluate`` of a language model: FP8 against 16 bit, on texts held out and on what is drawn.

A run that is not quantized is measured in its own precision, in bfloat16, and with its weights cast to FP8 afterwards;
a quantized one as it is, beside the run that it was made of, where that is still there.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import jax
import jax.numpy as jnp

from qmgen import runtime
from qmgen.corpus.plan import Splitter
from qmgen.errors import UsageError
from qmgen.learning.fp8 import AMAX, NOTE, emulated
from qmgen.learning.lm.sampling import Draw, drawn
from qmgen.learning.lm.stored import ROWS, StoredLm, load_model, own_files, parent_of, plain, quantized
from qmgen.learning.lm.task import LmTask, in_order
from qmgen.learning.lm.texts import SPLIT_SEED, Sequences, encoded, read_lines
from qmgen.molecules.smiles import canonical
from qmgen.tables import aligned

if TYPE_CHECKING:
    from qmgen.config.predict import EvaluateConfig


SIXTEEN: Final = "bf16"


def evaluate(settings: EvaluateConfig, tell: Callable[[str], None]) -> dict[str, Any]:
    """Loss (nats a token), next-token accuracy, valid fraction of ``samples`` texts, by precision; and the same as a
    share of 16 bit. ``tell`` gets lines of progress.

    Raises ``UsageError`` where there is no model or there are no texts.
    """
    runtime.prepare(double=False)
    model = load_model(settings.run)
    texts = _texts(settings, model)
    rows: dict[str, dict[str, Any]] = {}
    for name, variant in _variants(model, tell).items():
        begin = time.monotonic()
        rows[name] = {"emulated": emulated(variant.recipe)} | measured(
            variant, texts, settings.samples, settings.seed, settings.batch_size or 256
        )
        tell(f"{name}: {rows[name]['loss']:.4f} nats, {time.monotonic() - begin:.0f} s")
    base = rows.get(SIXTEEN)
    for row in rows.values():
        if base is not None:
            if base["accuracy"]:
                row["accuracy_of_16_bit"] = row["accuracy"] / base["accuracy"]
            if row["valid"] is not None and base["valid"]:
                row["valid_of_16_bit"] = row["valid"] / base["valid"]
    return {
        "kind": "lm",
        "run": str(settings.run),
        "arch": model.shape.arch,
        "parameters": model.shape.total(),
        "texts": len(texts),
        "samples": settings.samples,
        "emulated": any(row["emulated"] for row in rows.values()),
        "precisions": rows,
    }


def measured(model: StoredLm, texts: Sequences, samples: int, seed: int, batch_size: int) -> dict[str, Any]:
    """One model on ``texts``, and the valid fraction of ``samples`` drawn ones (None where none are asked for)."""
    task = LmTask(model.shape, model.arithmetic(), lambda: in_order(texts, ROWS, model.shape.context))
    score = task.validate(jax.tree.map(jnp.asarray, model.params))
    valid = None
    if samples:
        samples_drawn = [text for batch in drawn(model, samples, Draw(), seed, batch_size) for text in batch]
        valid = sum(text is not None and canonical(text) is not None for text in samples_drawn) / samples
    return {"loss": score.errors["loss"], "accuracy": score.errors["accuracy"], "valid": valid}


def text(report: dict[str, Any]) -> str:
    """The table for people."""
    note = f"; {NOTE}" if report["emulated"] else ""
    lines = [
        f"{report['arch']}, {report['parameters']:,} parameters, {report['texts']} texts, {report['samples']} drawn"
        f"{note}",
    ]
    rows = [["precision", "loss, nats", "accuracy", "of 16 bit", "valid", "of 16 bit"]]
    for name, row in report["precisions"].items():
        share = "" if "accuracy_of_16_bit" not in row else f"{100 * row['accuracy_of_16_bit']:.2f} %"
        valid = "" if row["valid"] is None else f"{100 * row['valid']:.2f} %"
        of_valid = "" if "valid_of_16_bit" not in row else f"{100 * row['valid_of_16_bit']:.2f} %"
        accuracy = f"{100 * row['accuracy']:.2f} %"
        rows.append([name, f"{row['loss']:.4f}", accuracy, share, valid, of_valid])
    return "\n".join([*lines, aligned(rows)])


def _variants(model: StoredLm, tell: Callable[[str], None]) -> dict[str, StoredLm]:
    if model.quantized:
        variants = {f"{model.about['precision']}, quantised": model}
        parent = _parent(model)
        if parent is None:
            tell("the run that it was made of is not there any more: no comparison with 16 bit")
            return variants
        return {**_plain(parent), **variants}
    return {**_plain(model), "fp8-amax, quantised": quantized(model, AMAX)}


def _plain(model: StoredLm) -> dict[str, StoredLm]:
    """As trained, and in 16 bit."""
    variants = {} if model.about["precision"] == SIXTEEN else {model.about["precision"]: model}
    sixteen = plain(model)
    return {**variants, SIXTEEN: replace(sixteen, about={**sixteen.about, "activations": "bfloat16"})}


def _parent(model: StoredLm) -> StoredLm | None:
    """The run that a quantized model says it was made of, if it still is the same."""
    place = parent_of(model)
    parent = None if place is None else load_model(place)
    return None if parent is None or parent.quantized else parent


def _texts(settings: EvaluateConfig, model: StoredLm) -> Sequences:
    files = [Path(file) for file in settings.molecules] or own_files(model)
    if not files:
        raise UsageError(f"{settings.run} does not name its molecules, or they are gone: give --molecules FILE.smi")
    lines = read_lines(files, skip=bool(model.about.get("unreadable"))).texts
    wanted = settings.split or "validation"
    if wanted != "all":
        splitter = Splitter(SPLIT_SEED, float(model.about["validation_fraction"]), 0.0)
        chosen = [line for line in lines if splitter.split(line, ()) == wanted]
        if not chosen:
            raise UsageError(f"none of the {len(lines)} molecules belongs to the split {wanted}: --split all takes all")
        lines = chosen
    if settings.limit is not None and settings.limit < len(lines):
        lines = [lines[k * len(lines) // settings.limit] for k in range(settings.limit)]
    return encoded(lines, model.vocabulary)
