"""The decoder: what a token sees, rows of several texts, tokens one by one, and FP8 within it."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_models import SHAPES

from qmgen.learning.fp8 import AMAX, BLOCK, DELAYED, NONE
from qmgen.learning.fp8.scale import BIAS, FIELDS
from qmgen.learning.lm.model import Arithmetic, LmShape, forward, init, probes_of
from qmgen.learning.lm.sampling import Draw, advance, draw_texts, empty, narrowed
from qmgen.learning.lm.task import LmTask, adamw, applied, batch_of, decayed
from qmgen.learning.lm.texts import BEGIN_ID, END_ID, PAD_ID, Sequences
from qmgen.learning.training.step import first, schedule_of, stepper

both = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)


def texts(shape: LmShape, lengths: tuple[int, ...], seed: int = 0) -> Sequences:
    rng = np.random.default_rng(seed)
    each = [np.array([BEGIN_ID, *rng.integers(3, shape.vocabulary, n - 2), END_ID], np.int32) for n in lengths]
    return Sequences(np.concatenate(each), np.cumsum(lengths))


def weights_of(shape: LmShape) -> Any:
    """Weights of which every part shows in the outcome."""
    return jax.tree.map(lambda leaf: 5.0 * leaf, init(jax.random.key(1), shape))


def logits(shape: LmShape, weights: Any, arithmetic: Arithmetic, batch: Any) -> np.ndarray:
    given = batch.tokens, batch.positions, batch.segments
    return np.asarray(forward(weights, shape, arithmetic, *map(jnp.asarray, given)))


@both
def test_texts_in_one_row_do_not_see_each_other(shape: LmShape) -> None:
    """Packed, each text has the numbers that it has alone: to the rounding of float32 sums of another length."""
    weights, found = weights_of(shape), texts(shape, (5, 9, 7))
    together = logits(shape, weights, Arithmetic(), batch_of(found, [[0, 1, 2]], 1, 24))[0]
    begin = 0
    for k in range(3):
        alone = logits(shape, weights, Arithmetic(), batch_of(found, [[k]], 1, 24))[0]
        size = len(found[k])
        np.testing.assert_allclose(together[begin : begin + size], alone[:size], atol=1e-5 * np.abs(alone).max())
        begin += size


@both
def test_a_token_does_not_see_what_follows(shape: LmShape) -> None:
    weights, found = weights_of(shape), texts(shape, (20,))
    batch = batch_of(found, [[0]], 1, 24)
    changed = batch_of(found, [[0]], 1, 24)
    changed.tokens[0, 12] = 3 + (changed.tokens[0, 12] - 2) % (shape.vocabulary - 3)
    one, two = (logits(shape, weights, Arithmetic(), item)[0] for item in (batch, changed))
    np.testing.assert_array_equal(one[:12], two[:12])
    assert np.abs(one[12:20] - two[12:20]).max() > 1e-3


@both
@pytest.mark.parametrize("recipe", [NONE, AMAX], ids=lambda recipe: recipe.kind)
def test_ways_to_compute_the_same_give_the_same(shape: LmShape, recipe: Any) -> None:
    """Written out, with activations computed again: the loss and its gradients to float32's rounding."""
    weights, batch = weights_of(shape), batch_of(texts(shape, (20, 9, 12)), [[0], [1, 2]], 2, 24)
    params = {"weights": weights, "probes": probes_of(shape, recipe)}
    found = []
    for remat, unroll in ((False, False), (True, False), (False, True)):
        task = LmTask(shape, Arithmetic(recipe, jnp.float32, remat, unroll), list)
        found.append(jax.jit(jax.value_and_grad(task.loss))(params, batch))
    for other in found[1:]:
        for one, two in zip(jax.tree.leaves(found[0]), jax.tree.leaves(other)):
            size = float(jnp.abs(one).max())
            np.testing.assert_allclose(one, two, atol=2e-5 * max(size, 1e-3))


@both
def test_tokens_one_by_one_have_the_same_logits(shape: LmShape) -> None:
    weights, found = weights_of(shape), texts(shape, (18, 18))
    tokens = np.stack([found[0], found[1]])
    batch = batch_of(found, [[0], [1]], 2, 18)
    wanted = logits(shape, weights, Arithmetic(), batch)
    cache = empty(shape, Arithmetic(), 2, 18)
    for place in range(18):
        given = weights, shape, Arithmetic(), cache, jnp.asarray(tokens[:, place]), jnp.int32(place)
        now, cache = advance(*given)
        # sums of float32 in another order, relative to logits of about 5
        np.testing.assert_allclose(now, wanted[:, place], atol=1e-5 * np.abs(wanted).max())


@both
def test_what_is_drawn_does_not_depend_on_the_batch(shape: LmShape) -> None:
    weights = weights_of(shape)
    draw = lambda numbers: np.asarray(
        draw_texts(weights, shape, Arithmetic(), Draw(), 20, jnp.uint32(3), jnp.asarray(numbers, jnp.uint32))
    )
    together, apart = draw([0, 1, 2, 3]), np.concatenate([draw([0, 1]), draw([2, 3])])
    np.testing.assert_array_equal(together, apart)
    assert len({tuple(row) for row in together.tolist()}) > 2
    for row in together.tolist():
        assert BEGIN_ID not in row
        if END_ID in row:
            assert set(row[row.index(END_ID) + 1 :]) <= {PAD_ID}
        else:
            assert PAD_ID not in row


def test_draws_follow_the_probabilities() -> None:
    """A model without weights but the norm's bias draws tokens by the embedding's logits."""
    shape = SHAPES["gpt"]
    weights = jax.tree.map(jnp.zeros_like, init(jax.random.key(0), shape))
    weights["norm"]["bias"] = jnp.ones(shape.width)
    wanted = np.zeros(shape.vocabulary)
    wanted[END_ID], wanted[5], wanted[9] = 0.5, 0.3, 0.2
    logits = np.log(np.maximum(wanted, 1e-12))
    weights["tokens"] = jnp.asarray(np.repeat(logits[:, None] / shape.width, shape.width, axis=1), jnp.float32)
    rows = draw_texts(weights, shape, Arithmetic(), Draw(), 1, jnp.uint32(0), jnp.arange(4000, dtype=jnp.uint32))
    counts = np.bincount(np.asarray(rows)[:, 0], minlength=shape.vocabulary) / 4000
    # standard error of a share of 0.5 of 4000: 0.008
    np.testing.assert_allclose(counts, wanted, atol=0.035)


def test_draws_can_be_narrowed() -> None:
    logits = jnp.log(jnp.array([[0.3, 0.2, 0.05, 0.25, 0.15, 0.05]]))  # the first two are not to be drawn
    kept = lambda draw: np.isfinite(np.asarray(narrowed(logits, draw))[0]).nonzero()[0].tolist()
    assert kept(Draw()) == [2, 3, 4, 5]
    assert kept(Draw(top_k=2)) == [3, 4]
    assert kept(Draw(top_p=0.5)) == [3]
    assert kept(Draw(top_p=0.6)) == [3, 4]
    warm = np.asarray(narrowed(logits, Draw(temperature=2.0)))
    np.testing.assert_allclose(warm[0, 2:], np.asarray(logits)[0, 2:] / 2)


@pytest.mark.parametrize("recipe", [AMAX, DELAYED, BLOCK], ids=lambda recipe: recipe.kind)
def test_a_step_learns_and_keeps_what_the_products_told(recipe: Any) -> None:
    shape = SHAPES["llama"]
    batch = jax.tree.map(jnp.asarray, batch_of(texts(shape, (20, 9, 12)), [[0], [1, 2]], 2, 24))
    task = LmTask(shape, Arithmetic(recipe), list)
    optimizer = adamw(schedule_of("constant", 3e-3, 1, 10), 0.1, 1.0)
    state = first({"weights": init(jax.random.key(0), shape), "probes": probes_of(shape, recipe)}, optimizer)
    step = stepper(task.loss, optimizer, applied, portions=False)
    losses = []
    for _ in range(12):
        state, loss = step(state, batch)
        losses.append(float(loss))
    assert losses[-1] < 0.8 * losses[0]
    for name, seen in state.parameters["probes"].items():
        assert seen.shape[:2] == (shape.layers, 3)
        assert np.all(np.asarray(seen[..., BIAS]) != 0), name
        if recipe is DELAYED:
            assert np.count_nonzero(np.asarray(seen[0, 0, FIELDS:])) == 12  # of sixteen


def test_the_scale_of_the_loss_changes_no_float32_gradient_and_keeps_those_of_float16() -> None:
    shape = SHAPES["gpt"]
    params = {"weights": init(jax.random.key(0), shape), "probes": probes_of(shape, NONE)}
    batch = batch_of(texts(shape, (20, 9, 12)), [[0], [1, 2]], 2, 24)

    def gradients(scale: float, dtype: str) -> list[Any]:
        task = LmTask(shape, Arithmetic(NONE, jnp.dtype(dtype)), list, scale)
        return jax.tree.leaves(jax.jit(jax.grad(task.loss))(params, batch)["weights"])

    def error(one: list[Any], two: list[Any]) -> float:
        return max(float(jnp.abs(a - b).max() / jnp.abs(a).max()) for a, b in zip(one, two) if jnp.any(a != 0))

    exact = gradients(1.0, "float32")
    assert error(exact, gradients(2.0**15, "float32")) <= 1e-6  # a power of two changes no bit
    # float16 has 11 bits, in sums of some hundred
    assert error(exact, gradients(2.0**15, "float16")) <= 2e-2
    # as a mean over a thousand times as many tokens is: most of the gradient is below float16's smallest number
    assert error(exact, gradients(2.0**-10, "float16")) >= 0.2


def test_only_matrices_decay() -> None:
    for shape in SHAPES.values():
        marks = jax.tree_util.tree_flatten_with_path(decayed(init(jax.random.key(0), shape)))[0]
        names = {".".join(str(key.key) for key in path) for path, marked in marks if marked}
        head = {"head"} if shape.arch == "llama" else set()
        assert names == head | {f"blocks.{name}.weight" for name in shape.linears()}
