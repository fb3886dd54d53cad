"""Memory: what the count says against what JAX keeps, against XLA's own count, and by hand."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import pytest
from small_models import settings_of

from qmgen.learning.fp8 import AMAX, BLOCK, NONE, ScalingRecipe
from qmgen.learning.lm import memory
from qmgen.learning.lm.memory import SIZES, Sizes
from qmgen.learning.lm.model import PRESETS, SMALL, Arithmetic, LmShape, forward, init, probes_of
from qmgen.learning.lm.stored import unrolled
from qmgen.learning.lm.task import LmTask, TokenBatch

ROWS, CONTEXT = 2, 512
FP8_WIDE = Sizes(1, 1, 4, True)


def shape_of(arch: str, layers: int) -> LmShape:
    inner, kv = (4 * 128, 4) if arch == "gpt" else (352, 2)
    return LmShape(arch, 128, layers, 4, kv, inner, 23, CONTEXT)


def kept(shape: LmShape, recipe: ScalingRecipe, dtype: Any, remat: bool) -> int:
    """Bytes of what the backward pass needs of the forward one, weights among them."""
    tokens = jax.ShapeDtypeStruct((ROWS, CONTEXT), jnp.int32)

    def backward(weights: Any, probes: Any, tokens: Any) -> Any:
        run = lambda w, p: forward(w, shape, Arithmetic(recipe, dtype, remat), tokens, tokens, tokens, p)
        return jax.vjp(run, weights, probes)[1]

    weights = jax.eval_shape(lambda: init(jax.random.key(0), shape))
    probes = jax.eval_shape(lambda: probes_of(shape, recipe))
    leaves = jax.tree.leaves(jax.eval_shape(backward, weights, probes, tokens))
    return sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)


@pytest.mark.parametrize("arch", ["gpt", "llama"])
@pytest.mark.parametrize(
    ("recipe", "dtype", "sizes"),
    [
        (NONE, jnp.float32, SIZES["f32"]),
        (NONE, jnp.bfloat16, SIZES["bf16"]),
        (AMAX, jnp.bfloat16, SIZES["fp8"]),
        (AMAX, jnp.float32, FP8_WIDE),
        (BLOCK, jnp.bfloat16, SIZES["fp8-block"]),
    ],
    ids=["f32", "bf16", "fp8", "fp8-wide", "fp8-block"],
)
def test_activations_are_what_the_backward_pass_keeps(
    arch: str, recipe: ScalingRecipe, dtype: Any, sizes: Sizes
) -> None:
    """One block more, on arrays' shapes alone."""
    tokens = ROWS * CONTEXT
    for remat in (False, True):
        more = kept(shape_of(arch, 3), recipe, dtype, remat) - kept(shape_of(arch, 2), recipe, dtype, remat)
        one, two = (memory.training_memory(shape_of(arch, n), sizes, ROWS, remat)["activations"] for n in (2, 3))
        linear = shape_of(arch, 1).parameters()["linear"]
        # of a product without FP8 in float32, and where all is computed again, the weights themselves are kept
        weights = linear * (4 if remat or sizes.copy == 0 else sizes.copy)
        # the rest: scales and biases of norms and layers, at most 16 numbers a feature of the widest layer
        assert 0 <= more - weights - (two - one) <= 4 * 16 * 512, (remat, tokens)


def test_what_is_written_out_block_by_block() -> None:
    tiny = SMALL["tiny"]["gpt"].of(23, 64)
    assert unrolled(tiny, 32) and not unrolled(tiny, 32, remat=True)  # or there would be nothing to save
    assert not unrolled(tiny, 256) and not unrolled(PRESETS["gpt-111m"].of(23, 64), 32)


@pytest.mark.parametrize(
    ("arch", "way", "low", "high"),
    [
        # 0.99 to 1.02 measured; what XLA needs to work in (a block's weights and gradients) differs by version
        ("gpt", "scan", 0.9, 1.1),
        ("llama", "scan", 0.9, 1.1),
        ("gpt", "remat", 0.9, 1.1),
        # a bound, from above
        ("gpt", "unrolled", 0.6, 1.05),
        ("llama", "unrolled", 0.6, 1.05),
    ],
)
def test_the_compiler_allots_as_much(arch: str, way: str, low: float, high: float) -> None:
    """In float32; 16 and 8 bits are widened on a CPU."""
    remat = way == "remat"
    shape = shape_of(arch, 4)
    words, numbers = (jax.ShapeDtypeStruct((ROWS, CONTEXT), t) for t in (jnp.int32, jnp.float32))
    task = LmTask(shape, Arithmetic(NONE, jnp.float32, remat, unroll=way == "unrolled"), list)
    params = jax.eval_shape(lambda: {"weights": init(jax.random.key(0), shape), "probes": probes_of(shape, NONE)})
    batch = TokenBatch(words, words, words, words, numbers)
    found = jax.jit(jax.grad(task.loss)).lower(params, batch).compile().memory_analysis()
    parts = memory.training_memory(shape, SIZES["f32"], ROWS, remat, way == "unrolled")
    counted = parts["activations"] + parts["attention"] + parts["logits"]
    assert low <= found.temp_size_in_bytes / counted <= high


def test_memory_of_llama_2_70b_by_hand() -> None:
    shape = PRESETS["llama2-70b"]
    d, inner, kv, layers, vocabulary = 8192, 28672, 8 * 128, 80, 32000
    linear = layers * (2 * d * d + 2 * d * kv + 3 * d * inner)  # q and out, k and v, gate, up and down
    total = linear + 2 * vocabulary * d + (2 * layers + 1) * d
    assert total == 68_976_648_192
    rows, tokens = 4, 4 * 2048
    found = memory.training_memory(shape, SIZES["fp8"], rows)
    assert found["weights"] == found["gradients"] == 4 * total
    assert found["optimiser"] == 8 * total
    assert found["copies"] == linear  # a byte each
    # a token in a block: inputs of q, k, v, gate, up, out and down, a byte each; the stream before two norms; q, k, v;
    # gate and up
    block = (5 * d + d + inner) + 2 * (2 * d + (d + 2 * kv) + 2 * inner)
    assert found["activations"] == layers * tokens * block
    assert found["attention"] == 4 * 4 * rows * 64 * 2048**2  # 64 heads, one block at a time
    assert found["logits"] == 8 * tokens * vocabulary
    again = memory.training_memory(shape, SIZES["fp8"], rows, remat=True)
    assert again["activations"] == tokens * (layers * 2 * d + block)
    plain = memory.training_memory(shape, SIZES["f32"], rows)
    assert plain["copies"] == 0
    # q, k and v share their input, gate and up theirs
    assert plain["activations"] == 4 * layers * tokens * ((2 * d + d + inner) + 2 * d + (d + 2 * kv) + 2 * inner)
    serving = memory.serving_memory(shape, "fp8", 1)
    assert serving["weights"] == linear + 2 * (total - linear)
    assert serving["keys and values"] == 2 * 2 * layers * kv * 2048
    assert memory.serving_memory(shape, "bf16", 1)["weights"] == 2 * total


def test_devices_hold_what_is_counted() -> None:
    shape = PRESETS["llama2-70b"]
    needed = memory.devices_needed(shape, SIZES["fp8"], 32, True, 80e9)
    assert needed is not None
    assert needed.bytes_each <= 0.9 * 80e9
    # 16 bytes of all parameters do not fit on fewer
    assert needed.total >= 16 * shape.total() / (0.9 * 80e9)
    whole = sum(memory.training_memory(shape, SIZES["fp8"], 32, True).values())
    assert memory.each_device(shape, SIZES["fp8"], 32, True, 1, 1, False) == pytest.approx(whole)
    assert memory.devices_needed(shape, SIZES["f32"], 1, True, 1e9) is None
    one = memory.devices_needed(SMALL["tiny"]["gpt"].of(23, 64), SIZES["f32"], 32, False, 80e9)
    assert one is not None and one.total == 1


def test_weights_are_cut_by_what_divides_the_width() -> None:
    shape = LmShape("gpt", 4096, 32, 32, 1, 4096 * 4, 23, 64)  # one head of keys and values: not cut by layers
    for rows in (24, 32):
        needed = memory.devices_needed(shape, SIZES["f32"], rows, False, 50e9)
        assert needed is not None and needed.sharded and shape.width % needed.data == 0


@pytest.mark.parametrize(
    ("given", "on_cpu", "sizes"),
    [
        ({"precision": "f32"}, False, SIZES["f32"]),
        ({"precision": "f32"}, True, SIZES["f32"]),
        ({"precision": "f16"}, False, SIZES["bf16"]),
        ({"precision": "bf16"}, True, SIZES["f32"]),
        ({"precision": "f32", "activations": "bfloat16"}, False, SIZES["bf16"]),
        ({"precision": "fp8-delayed", "activations": "bfloat16"}, False, SIZES["fp8"]),
        ({"precision": "fp8-amax", "activations": "float32"}, False, FP8_WIDE),
        ({"precision": "fp8-amax"}, True, Sizes(2, 2, 4, True)),
        ({"precision": "fp8-block"}, True, Sizes(4, 4, 4, True)),
    ],
)
def test_sizes_follow_the_settings(given: dict[str, Any], on_cpu: bool, sizes: Sizes, tmp_path: Any) -> None:
    assert memory.sizes_of(settings_of(tmp_path / "a.smi", tmp_path / "run", **given), on_cpu) == sizes
