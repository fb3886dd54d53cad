"""The three products of a linear layer, and what its probe tells."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy_reference as reference
import pytest

from qmgen.learning.fp8 import (
    AMAX,
    BLOCK,
    DELAYED,
    NONE,
    By,
    ScalingRecipe,
    cscale,
    emulated,
    linear,
    matmul,
    on_ipu,
    probe,
    weight8,
)
from qmgen.learning.fp8.scale import AMAX_FIELD, BIAS, FIELDS, OVERFLOW, UNDERFLOW

PER_TENSOR = {
    "amax": AMAX, "cscale": cscale(2), "delayed": DELAYED, "on the IPU": on_ipu(AMAX),
    "no margin": ScalingRecipe(margin=0),
}  # fmt: skip


def tensors(lead: tuple[int, ...] = (3, 7), inputs: int = 40, outputs: int = 24, seed: int = 0) -> tuple[Any, Any, Any]:
    """x, w and a gradient of y."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(*lead, inputs)).astype(np.float32)
    w = (0.05 * rng.normal(size=(inputs, outputs))).astype(np.float32)
    g = (1e-4 * rng.normal(size=(*lead, outputs))).astype(np.float32)
    return x, w, g


def products(recipe: ScalingRecipe, x: Any, w: Any, g: Any, seen: Any = None) -> tuple[Any, ...]:
    """y, dx, dw, and the next probe."""
    seen = probe(recipe) if seen is None else seen
    y, back = jax.vjp(lambda x, w, p: linear(x, w, recipe, p), jnp.asarray(x), jnp.asarray(w), seen)
    return y, *back(jnp.asarray(g, y.dtype))


def expected(recipe: ScalingRecipe, x: Any, w: Any, g: Any) -> list[tuple[Any, Any]]:
    """Value and Σ|x w| of y, dx, dw in float64, from the tensors that the reference casts."""
    given = recipe.bias if recipe.kind == "cscale" else None
    flat = [array.reshape(-1, array.shape[-1]) for array in (x, w, g)]
    x8, w8 = (reference.quantize(array, recipe.forward.name, bias=given) for array in flat[:2])
    g8 = reference.quantize(flat[2], recipe.backward.name, recipe.margin, given)

    def turned(tensor: tuple[Any, int]) -> tuple[Any, int]:
        return tensor[0].T, tensor[1]

    return [reference.product(x8, w8), reference.product(g8, turned(w8)), reference.product(turned(x8), g8)]


@pytest.mark.parametrize("recipe", PER_TENSOR.values(), ids=PER_TENSOR)
def test_small_integers_are_multiplied_bit_for_bit(recipe: ScalingRecipe) -> None:
    """Sums of products of such numbers are exact in float32, whatever their order."""
    rng = np.random.default_rng(1)
    x, w, g = (rng.integers(-7, 8, shape).astype(np.float32) for shape in ((4, 5, 48), (48, 16), (4, 5, 16)))
    found = jax.jit(lambda x, w, g: products(recipe, x, w, g))(x, w, g)
    for ours, (theirs, _) in zip(found, expected(recipe, x, w, g)):
        np.testing.assert_array_equal(np.asarray(ours).reshape(theirs.shape), theirs.astype(np.float32))


@pytest.mark.parametrize("recipe", PER_TENSOR.values(), ids=PER_TENSOR)
@pytest.mark.parametrize("inputs", [1, 40, 515])
def test_products_are_within_the_rounding_of_their_sums(recipe: ScalingRecipe, inputs: int) -> None:
    x, w, g = tensors(inputs=inputs)
    found = jax.jit(lambda x, w, g: products(recipe, x, w, g))(x, w, g)
    summed = (inputs, w.shape[1], x[..., 0].size)
    for ours, (theirs, size), terms in zip(found, expected(recipe, x, w, g), summed):
        off = np.abs(np.asarray(ours, np.float64).reshape(theirs.shape) - theirs)
        # float32 sums: each of the terms − 1 additions rounds by at most 2⁻²⁴ of what is summed
        assert np.all(off <= terms * 2.0**-24 * size)


def test_gradients_are_near_the_true_ones() -> None:
    """Of numbers with 4 (x, w) and 3 (g) significant bits, relative errors of the products are a few per cent."""
    x, w, g = tensors((64,), 256, 128)
    true = x @ w, g @ w.T, x.T @ g
    for recipe in (AMAX, BLOCK, DELAYED):
        for ours, theirs in zip(products(recipe, x, w, g), true):
            assert np.linalg.norm(ours - theirs) < 0.08 * np.linalg.norm(theirs)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_types_are_kept(dtype: str) -> None:
    x, w, g = tensors()
    for recipe in (NONE, AMAX, BLOCK, cscale(3)):
        y, dx, dw, _ = products(recipe, jnp.asarray(x, dtype), w, g)
        assert y.dtype == dx.dtype == jnp.dtype(dtype) and dw.dtype == jnp.float32


def test_without_fp8_it_is_the_plain_product() -> None:
    x, w, g = tensors()
    y, dx, dw, _ = products(NONE, x, w, g)
    np.testing.assert_allclose(y, x @ w, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(dx, g @ w.T, rtol=1e-5, atol=1e-10)
    np.testing.assert_allclose(dw, np.einsum("abk,abn->kn", x, g), rtol=1e-5, atol=1e-9)


def test_zeros_are_products_too() -> None:
    x, w, g = (np.zeros_like(array) for array in tensors())
    for recipe in (AMAX, BLOCK, DELAYED, cscale(31)):
        for found in products(recipe, x, w, g):
            assert np.all(np.isfinite(found))
        assert not np.any(products(recipe, x, w, g)[0])


def test_the_probe_tells_bias_amax_and_what_is_lost() -> None:
    x, w, g = tensors()
    x[0, 0, 0], x[0, 0, 1] = 1000.0, 1e-5  # the first sets the scale, of which the second is below the least
    seen = np.asarray(products(AMAX, x, w, g)[3])
    for row, tensor, name, margin in ((0, x, "e4m3fn", 0), (1, w, "e4m3fn", 0), (2, g, "e5m2", 3)):
        values, bias = reference.quantize(tensor, name, margin)
        assert seen[row, BIAS] == bias
        assert seen[row, AMAX_FIELD] == np.abs(tensor).max()
        lost = (values.astype(np.float32) == 0) & (tensor != 0)
        assert seen[row, UNDERFLOW] == pytest.approx(lost.mean(), abs=1e-7)
        assert seen[row, OVERFLOW] == 0
    assert seen[0, UNDERFLOW] > 0
    assert np.asarray(products(cscale(10), x, w, g)[3])[0, OVERFLOW] > 0


def test_the_margin_leaves_three_bits_to_gradients() -> None:
    x, w, g = tensors()
    with_it, without = (np.asarray(products(recipe, x, w, g)[3]) for recipe in (AMAX, ScalingRecipe(margin=0)))
    np.testing.assert_array_equal(with_it[:, BIAS] - without[:, BIAS], [0, 0, -3])


def test_delayed_scales_come_from_the_history() -> None:
    recipe = ScalingRecipe("delayed", history=3)
    x, w, g = tensors()
    first = products(recipe, x, w, g)[3]
    np.testing.assert_array_equal(first[:, FIELDS], first[:, AMAX_FIELD])  # the first step takes the tensor at hand
    np.testing.assert_array_equal(first[:, BIAS], products(AMAX, x, w, g)[3][:, BIAS])
    larger = products(recipe, 1000 * x, w, g, first)
    assert larger[3][0, BIAS] == first[0, BIAS]  # scaled as before: what is too large becomes the largest
    assert larger[3][0, OVERFLOW] > 0.5 and np.all(np.isfinite(larger[0]))
    seen = larger[3]
    for _ in range(3):  # as long as the history holds it, the large amax rules
        assert float(jnp.max(seen[0, FIELDS:])) == 1000 * np.abs(x).max()
        seen = products(recipe, x, w, g, seen)[3]
    assert float(jnp.max(seen[0, FIELDS:])) == np.abs(x).max()


def test_blocks_are_scaled_each_by_its_own() -> None:
    """As if each run of 1 × 128 and each square of 128 × 128 were a tensor of its own; sizes that are no multiples."""
    rng = np.random.default_rng(2)
    x = (rng.normal(size=(5, 300)) * np.repeat([1e-3, 1.0, 1e3], [128, 128, 44])).astype(np.float32)
    w = (0.1 * rng.normal(size=(300, 200))).astype(np.float32)
    g = (1e-3 * rng.normal(size=(5, 200))).astype(np.float32)

    def cut(array: np.ndarray, rows: int, columns: int, name: str, margin: int = 0) -> np.ndarray:
        out = np.zeros(array.shape)
        for i in range(0, array.shape[0], rows):
            for j in range(0, array.shape[1], columns):
                piece = np.s_[i : i + rows, j : j + columns]
                values, bias = reference.quantize(array[piece], name, margin)
                out[piece] = np.ldexp(values.astype(np.float64), -bias)
        return out

    x8, w8 = cut(x, 1, 128, "e4m3fn"), cut(w, 128, 128, "e4m3fn")
    y, dx, dw, seen = products(BLOCK, x, w, g)
    g8 = cut(g, 1, 128, "e5m2", 3)
    wanted = [
        (x8, w8),
        (g8, w8.T),
        (cut(x8.astype(np.float32), 128, 1, "e4m3fn").T, cut(g, 128, 1, "e5m2", 3)),  # tokens are summed over
    ]
    for ours, (left, right) in zip((y, dx, dw), wanted):
        bound = left.shape[1] * 2.0**-24 * (np.abs(left) @ np.abs(right))
        assert np.all(np.abs(np.asarray(ours, np.float64) - left @ right) <= bound)
    assert seen[0, AMAX_FIELD] == np.abs(x).max()
    # a tensor of such a range loses its small part to one scale, and nothing to many
    assert seen[0, UNDERFLOW] < products(AMAX, x, w, g)[3][0, UNDERFLOW]


@pytest.mark.parametrize("recipe", [AMAX, BLOCK, DELAYED, cscale(2)], ids=lambda recipe: recipe.kind)
def test_scan_remat_and_jit_change_nothing(recipe: ScalingRecipe) -> None:
    """Three layers, stacked: the same gradients and the same probes."""
    rng = np.random.default_rng(3)
    x = jnp.asarray(rng.normal(size=(6, 32)), jnp.float32)
    w = jnp.asarray(0.2 * rng.normal(size=(3, 32, 32)), jnp.float32)
    seen = probe(recipe, 3)

    def by_loop(w: Any, seen: Any) -> Any:
        y = x
        for k in range(3):
            y = jnp.tanh(linear(y, w[k], recipe, seen[k]))
        return jnp.sum(y**2)

    def by_scan(w: Any, seen: Any, remat: bool) -> Any:
        run = lambda y, layer: (jnp.tanh(linear(y, layer[0], recipe, layer[1])), None)
        return jnp.sum(jax.lax.scan(jax.checkpoint(run) if remat else run, x, (w, seen))[0] ** 2)

    wanted = jax.grad(by_loop, argnums=(0, 1))(w, seen)
    for remat in (False, True):
        found = jax.jit(jax.grad(lambda w, s, remat=remat: by_scan(w, s, remat), argnums=(0, 1)))(w, seen)
        np.testing.assert_allclose(found[0], wanted[0], rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(found[1], wanted[1], rtol=1e-5, atol=1e-7)


def test_vmap_scales_each_example_by_itself() -> None:
    x, w, _ = tensors((4, 7))
    found = jax.vmap(lambda one: linear(one, jnp.asarray(w), AMAX))(jnp.asarray(x))
    for ours, one in zip(found, x):
        np.testing.assert_array_equal(ours, linear(jnp.asarray(one), jnp.asarray(w), AMAX))


@pytest.mark.parametrize("recipe", [BLOCK, AMAX], ids=lambda recipe: recipe.kind)
def test_clipping_is_told_where_the_bias_is_at_its_limit(recipe: ScalingRecipe) -> None:
    x, w = jnp.full((4, 8), 1e30, jnp.float32).at[:2].set(1.0), jnp.ones((8, 8), jnp.float32)
    seen = jax.grad(lambda p: linear(x, w, recipe, p).sum())(probe(recipe))
    assert seen[0, BIAS] == -31 and seen[0, OVERFLOW] == 0.5 and seen[1, OVERFLOW] == 0


@pytest.mark.parametrize(
    ("recipe", "device", "expected"),
    [
        (NONE, None, False), (AMAX, None, True), (AMAX, "8.0", True), (AMAX, "8.9", False), (AMAX, "9.0", False),
        (BLOCK, "9.0", True), (on_ipu(AMAX), "9.0", True), (on_ipu(AMAX), "gfx942", False), (AMAX, "gfx942", True),
        (AMAX, "gfx950", False), (AMAX, "gfx90a", True), (on_ipu(AMAX), "gfx90a", True), (AMAX, "gfx1100", True),
        (AMAX, "gfx1201", False), (AMAX, "unknown", True),
    ],
)  # fmt: skip
def test_what_is_emulated(
    recipe: ScalingRecipe, device: str | None, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jax, "default_backend", lambda: "cpu" if device is None else "gpu")
    monkeypatch.setattr(jax, "devices", lambda: [SimpleNamespace(compute_capability=device)])
    assert emulated(recipe) is expected


def test_a_weight_cast_once_gives_the_same() -> None:
    x, w, _ = tensors()
    for recipe in (AMAX, cscale(4), on_ipu(AMAX)):
        once = weight8(jnp.asarray(w), recipe)
        assert once.values.dtype == recipe.forward.dtype
        np.testing.assert_array_equal(linear(x, once, recipe), linear(x, jnp.asarray(w), recipe))
    stacked = weight8(jnp.stack([jnp.asarray(w), 100 * jnp.asarray(w)]), AMAX)
    assert stacked.bias.shape == (2,) and int(stacked.bias[0]) > int(stacked.bias[1])
    with pytest.raises(ValueError, match="one scale per tensor"):
        linear(x, weight8(jnp.asarray(w), AMAX), BLOCK)


def test_a_weight_may_carry_its_recipe() -> None:
    x, w, _ = tensors()
    np.testing.assert_array_equal(matmul(x, By(jnp.asarray(w), AMAX)), linear(x, jnp.asarray(w), AMAX))
    np.testing.assert_array_equal(matmul(jnp.asarray(x), jnp.asarray(w)), jnp.asarray(x) @ w)
    (leaf,) = jax.tree.leaves(By(w, AMAX))
    assert leaf is w


@pytest.mark.parametrize("bad", [{"kind": "amas"}, {"history": 0}, {"block": 0}, {"bias": 32}, {"margin": -40}])
def test_recipes_are_checked(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        ScalingRecipe(**{"kind": "amax", **bad})
