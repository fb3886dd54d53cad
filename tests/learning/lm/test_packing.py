from __future__ import annotations

import numpy as np
import pytest

from qmgen.errors import UsageError
from qmgen.learning.lm.task import TokenFeed, batch_of, in_order, rows_of
from qmgen.learning.lm.texts import Sequences


def sequences(lengths: list[int], seed: int = 0) -> Sequences:
    """Texts of begin (1), random tokens from 3, end (2)."""
    rng = np.random.default_rng(seed)
    texts = [np.array([1, *rng.integers(3, 9, n - 2), 2], np.int32) for n in lengths]
    return Sequences(np.concatenate(texts), np.cumsum([len(text) for text in texts]))


@pytest.mark.parametrize("seed", range(4))
def test_each_text_is_in_one_row_and_no_row_too_long(seed: int) -> None:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(3, 25, 500)
    rows = rows_of(lengths, rng.permutation(500), 64)
    assert sorted(index for row in rows for index in row) == list(range(500))
    filled = [int(lengths[row].sum()) for row in rows]
    assert max(filled) <= 64
    assert np.mean(filled[:-3]) > 0.9 * 64  # in a pool of 64 one nearly always fits


def test_rows_say_what_follows_what() -> None:
    texts = sequences([4, 5, 3])
    batch = batch_of(texts, [[1, 0], [2]], 3, 10)
    assert batch.tokens[0].tolist() == [*texts[1], *texts[0], 0]
    assert batch.targets[0].tolist() == [*texts[1][1:], 0, *texts[0][1:], 0, 0]
    assert batch.positions[0].tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3, 0]
    assert batch.segments[0].tolist() == [1, 1, 1, 1, 1, 2, 2, 2, 2, 0]
    assert batch.weights[0].tolist() == [1, 1, 1, 1, 0, 1, 1, 1, 0, 0]
    assert batch.weights[1].sum() == 2 and not batch.weights[2].any()


def test_a_text_longer_than_a_row_is_said() -> None:
    with pytest.raises(UsageError, match=r"12 tokens.* a row 10"):
        rows_of(np.array([4, 12]), np.array([0, 1]), 10)


def test_a_feed_goes_on_from_any_place_and_sees_every_text_in_an_epoch() -> None:
    texts = sequences([5, 7, 9, 4, 6, 8, 5, 5, 7, 3, 4, 6])
    feed = TokenFeed(texts, 2, 16, seed=3)
    stream = feed.batches(None)
    taken = [next(stream) for _ in range(9)]
    for k in range(8):
        again = feed.batches(taken[k][1])
        batch, place, number = next(again)
        np.testing.assert_array_equal(batch.tokens, taken[k + 1][0].tokens)
        assert (place, number) == taken[k + 1][1:]
        again.close()
    stream.close()
    first = [batch for batch, place, _ in taken if place["epoch"] == 0 or place == {"epoch": 1, "row": 0}]
    assert sum(int((np.asarray(batch.tokens) == 1).sum()) for batch in first) == len(texts)
    assert sum(int(batch.weights.sum()) for batch in in_order(texts, 2, 16)) == int((texts.lengths() - 1).sum())
