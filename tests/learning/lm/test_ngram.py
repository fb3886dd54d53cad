from __future__ import annotations

from itertools import product
from math import log

import numpy as np
import pytest

from benchmarks.fp8_comparison import NGram


def texts_of(*words: str) -> list[np.ndarray]:
    return [np.array([1, *(3 + "abcdef".index(letter) for letter in word), 2]) for word in words]


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_probabilities_of_all_tokens_add_up(order: int) -> None:
    rng = np.random.default_rng(0)
    model = NGram([np.array([1, *rng.integers(3, 7, rng.integers(1, 9)), 2]) for _ in range(50)], order, 8)
    for context in [(), (1,), (1, 3), (3, 4), (6, 6, 6, 6), (1, 3, 3, 3, 3), (7, 7)]:
        assert sum(model.probability(context, word) for word in range(8)) == pytest.approx(1, abs=1e-12)


def test_bigrams_by_hand() -> None:
    """Texts ab, ab, ac: counts of pairs, then of how many tokens stand before each."""
    model = NGram(texts_of("ab", "ab", "ac"), 2, 6)
    a, b, c, end = 3, 4, 5, 2
    # pairs: <a 3, ab 2, b> 2, ac 1, c> 1; one of the counts is 2 twice, 1 twice: D = 2 / (2 + 2 · 2)
    discount = 2 / (2 + 2 * 2)
    # before: a 1 (<), b 1, c 1, > 2 (b, c): five kinds of pairs; D₁ = 3 / (3 + 2 · 1)
    lower, kinds = 3 / (3 + 2 * 1), 5
    uniform = lower * 4 / kinds / 6
    of_b = (1 - lower) / kinds + uniform
    assert model.probability((a,), b) == pytest.approx((2 - discount) / 3 + discount * 2 / 3 * of_b, rel=1e-12)
    of_end = (2 - lower) / kinds + uniform
    assert model.probability((b,), end) == pytest.approx((2 - discount) / 2 + discount / 2 * of_end, rel=1e-12)
    assert model.probability((c,), a) == pytest.approx(discount * ((1 - lower) / kinds + uniform), rel=1e-12)


def test_the_loss_is_the_mean_over_tokens() -> None:
    model = NGram(texts_of("abc", "abd", "bcd"), 3, 9)
    held_out = texts_of("abd", "c")
    each = [
        log(model.probability(tuple(t[max(0, k - 2) : k].tolist()), int(t[k])))
        for t in held_out
        for k in range(1, len(t))
    ]
    assert model.loss(held_out) == pytest.approx(-sum(each) / len(each))


def test_longer_contexts_learn_what_shorter_cannot() -> None:
    words = ["".join(pair) * 3 for pair in product("abc", "def")]
    losses = [NGram(texts_of(*words * 4), order, 9).loss(texts_of(*words)) for order in (1, 2, 3, 4)]
    assert losses == sorted(losses, reverse=True)
