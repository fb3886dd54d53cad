"""Steps of training on the device: FP8 against bfloat16, and SchNet beside the products it cannot do without.

FP8: a linear layer's three products, and whole steps of language models. Entries by what is measured: seconds of the
median pass, lowest and highest, for ``bf16`` and ``fp8-amax``, the ratio, and which matrix products of 8-bit factors
the compiled module has. On a CPU, and on a GPU without FP8 units, FP8 is emulated: ``emulated`` says so, and the ratio
is then no speed of FP8's. ``fast`` lets the units sum as they like (XLA's default precision); else sums are float32
throughout, as everywhere in qmgen.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from statistics import median
from time import perf_counter
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.device.ceilings import best_seconds, matmul
from benchmarks.device.task import Entry, Task
from benchmarks.schnet import batches, epoch_of_qmgen, operations
from qmgen.learning.fp8 import AMAX, NONE, ScalingRecipe, emulated, linear
from qmgen.learning.lm.model import PRESETS, SMALL, Arithmetic, LmShape, init, probes_of
from qmgen.learning.lm.task import LmTask, TokenBatch, adamw, unwatched_applied
from qmgen.learning.schnet import model as schnet
from qmgen.learning.training.step import first, schedule_of, stepper

RECIPES: Final = {"bf16": NONE, "fp8-amax": AMAX}
#: tokens, inputs, outputs of single layers: those of gpt-111m, gpt-1.3b, llama2-7b that begin the feed-forward part
LAYERS: Final = {"gpt-111m": (16384, 768, 3072), "gpt-1.3b": (16384, 2048, 8192), "llama2-7b": (16384, 4096, 11008)}
#: rows of a step, and whether activations are computed again; of the 7 B model a single block
STEPS: Final = {"gpt-111m": (8, False), "gpt-1.3b": (4, True), "llama2-7b, one block": (4, False)}
#: how XLA writes a product, or a call of a library's, in a compiled module
_PRODUCT: Final = re.compile(r'(custom_call_target="[^"]*(?:matmul|gemm)[^"]*"|\bdot\()')
_PASSES: Final = 7


def measure_fp8(task: Task) -> None:
    """All of it, the single layers first."""
    layers = {"toy": (64, 32, 48)} if task.toy else LAYERS
    for name, sizes in layers.items():
        for fast in (False, True):
            key = f"layer of {name}, {'×'.join(map(str, sizes))}{', fast' if fast else ''}"
            task.entry(key, partial(_compared, task, partial(_layer, sizes), fast, 6.0 * np.prod(sizes)))
    steps = {"toy": (2, False)} if task.toy else STEPS
    for name, (rows, remat) in steps.items():
        shape = shape_of(name)
        work = 6.0 * shape.parameters()["linear"] * rows * shape.context * (4 / 3 if remat else 1)
        for fast in (False,) if task.toy else (False, True):
            key = f"step of {name}, {rows}×{shape.context} tokens{', fast' if fast else ''}"
            task.entry(key, partial(_compared, task, partial(_step, shape, rows, remat), fast, work))


def shape_of(name: str) -> LmShape:
    """A model by its preset; ``…, one block`` is the first block of it, with a vocabulary for SMILES."""
    if name == "toy":
        return SMALL["mini"]["llama"].of(23, 32)
    preset, _, part = name.partition(", ")
    return replace(PRESETS[preset], layers=1, vocabulary=1024) if part else PRESETS[preset]


def _compared(
    task: Task, made: Callable[[ScalingRecipe], tuple[Callable[[], Any], str]], fast: bool, work: float
) -> Entry:
    """``made`` gives for a recipe something to run and its compiled module."""
    found: Entry = {"emulated": emulated(AMAX)}
    with jax.default_matmul_precision("default" if fast else "highest"):
        for name, recipe in RECIPES.items():
            run, module = made(recipe)
            seconds = _seconds(run, 2 if task.toy else _PASSES)
            found[f"{name}_seconds"] = median(seconds)
            found[f"{name}_lowest"], found[f"{name}_highest"] = min(seconds), max(seconds)
            found[f"{name}_tflops"] = work / median(seconds) / 1e12
            found[f"{name}_products"] = products(module)
    found["ratio"] = found["bf16_seconds"] / found["fp8-amax_seconds"]
    found["fp8_product"] = any("f8" in kind for kind in found["fp8-amax_products"])
    return found


def products(module: str) -> dict[str, int]:
    """Matrix products in a compiled module: by the name of what is called, with f8 where a factor is 8-bit."""
    kinds: dict[str, str] = {}
    for line in module.splitlines():
        name, _, rest = line.strip().removeprefix("ROOT ").partition(" = ")
        if rest:
            kinds[name.removeprefix("%")] = rest.partition("[")[0]
    found: Counter[str] = Counter()
    for line in module.splitlines():
        match = _PRODUCT.search(line)
        if match is None:
            continue
        called = match[1].partition('"')[2].rstrip('"') or "dot"
        inside = line.partition(match[1])[0] if called != "dot" else line
        factors = re.findall(r"%?([\w.\-]+)", line.partition("(")[2].partition(")")[0])
        eight = "f8e" in inside.partition("(")[2] or any(kinds.get(factor, "").startswith("f8e") for factor in factors)
        found[f"{called}{' of f8' if eight and 'f8' not in called else ''}"] += 1
    return dict(found)


def _seconds(run: Callable[[], Any], passes: int) -> list[float]:
    jax.block_until_ready(run())
    found = []
    for _ in range(passes):
        begin = perf_counter()
        jax.block_until_ready(run())
        found.append(perf_counter() - begin)
    return found


def _layer(sizes: tuple[int, int, int], recipe: ScalingRecipe) -> tuple[Callable[[], Any], str]:
    """y, dx and dw of a linear layer in bfloat16, with a float32 weight."""
    tokens, inputs, outputs = sizes
    keys = jax.random.split(jax.random.key(0), 3)
    x = jax.random.normal(keys[0], (tokens, inputs), jnp.bfloat16)
    w = 0.02 * jax.random.normal(keys[1], (inputs, outputs), jnp.float32)
    g = 1e-4 * jax.random.normal(keys[2], (tokens, outputs), jnp.bfloat16)

    def three(x: Any, w: Any, g: Any) -> Any:
        y, back = jax.vjp(lambda x, w: linear(x, w, recipe), x, w)
        return y, back(g)

    compiled = jax.jit(three).lower(x, w, g).compile()
    return lambda: compiled(x, w, g), compiled.as_text() or ""


def _step(shape: LmShape, rows: int, remat: bool, recipe: ScalingRecipe) -> tuple[Callable[[], Any], str]:
    """A whole step: loss, gradients, AdamW."""
    tokens = jax.random.randint(jax.random.key(1), (rows, shape.context), 3, shape.vocabulary, jnp.int32)
    positions = jnp.broadcast_to(jnp.arange(shape.context, dtype=jnp.int32), tokens.shape)
    batch = TokenBatch(
        tokens, jnp.roll(tokens, -1, 1), positions, jnp.ones_like(tokens), jnp.ones(tokens.shape, jnp.float32)
    )
    task = LmTask(shape, Arithmetic(recipe, jnp.bfloat16, remat), list)
    optimizer = adamw(schedule_of("constant", 1e-4, 1, 100), 0.1, 1.0)
    weights = init(jax.random.key(0), shape)
    state = first({"weights": weights, "probes": probes_of(shape, recipe)}, optimizer)
    step = stepper(task.loss_unwatched, optimizer, unwatched_applied, portions=False)
    compiled = jax.jit(step, donate_argnums=0).lower(state, batch).compile()
    held = [state]

    def run() -> Any:
        held[0], loss = compiled(held[0], batch)
        return loss

    return run, compiled.as_text() or ""


#: batches in a pass: as many as there are padded sizes
PASS = 4


def measure_schnet(task: Task) -> None:
    """Entries by preset, batch size and precision of products: ``default`` (on recent GPUs TF32, 11 bits) and
    ``highest`` (float32 whole), with the seconds of the products alone at this device's best (``floor``)."""
    presets, sizes = (("tiny",), (2,)) if task.toy else (("schnet-9m", "small"), (112, 512))
    if not task.toy and not task.accelerator:
        sizes = (32,)
    for preset in presets:
        for size in sizes:
            for precision in ("default", "highest"):
                task.entry(f"{preset}, batch {size}, {precision}", partial(_schnet_rate, task, preset, size, precision))


def _schnet_rate(task: Task, preset: str, size: int, precision: str) -> Entry:
    shape, given = schnet.PRESETS[preset], batches(size, 1 if task.toy else PASS)
    with jax.default_matmul_precision(precision):
        seconds = best_seconds(epoch_of_qmgen(shape, given), 1 if task.toy else 3)
    gflops = matmul(task.accelerator, task.toy, "float32", precision)["gflops"]
    work = sum(operations(shape, given).values()) / 1e9
    molecules = size * len(given)
    return {
        "molecules_per_second": molecules / seconds,
        "seconds_per_molecule": seconds / molecules,
        "floor": work / gflops / molecules,
        "gflop_per_molecule": work / molecules,
    }
