"""An n-gram model with interpolated Kneser–Ney smoothing: what a network must beat to have learnt anything.

Chen and Goodman, Computer Speech & Language 1999, 13, 359 (one discount per order, from the counts of counts):

    p(w | h) = max(c(h w) − D, 0) / c(h ·) + D n(h ·) / c(h ·) · p(w | h′)

with h′ the context without its first token, c of shorter contexts the number of different tokens before them, n(h ·)
the number of different tokens after h, D = n₁ / (n₁ + 2 n₂). Below the unigrams all tokens are equally likely.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import numpy as np

Context = tuple[int, ...]


class NGram:
    """Counts of ``texts`` (token numbers, begin and end among them) for contexts of up to ``order`` − 1 tokens."""

    def __init__(self, texts: Iterable[np.ndarray], order: int, vocabulary: int) -> None:
        self.order, self.vocabulary = order, vocabulary
        counts: list[dict[Context, dict[int, int]]] = [defaultdict(lambda: defaultdict(int)) for _ in range(order)]
        for text in texts:
            words = text.tolist()
            for place in range(1, len(words)):
                begin = max(place - order + 1, 0)
                context = tuple(words[begin:place])
                # a context that begins the text is as long as it gets: it counts at its own length
                counts[len(context)][context][words[place]] += 1
        for length in range(order - 1, 0, -1):  # shorter contexts count what stands before them, once each
            for context, after in list(counts[length].items()):
                for word in after:
                    counts[length - 1][context[1:]][word] += 1
        self._counts = counts
        self._discounts = [_discount(level) for level in counts]
        self._known: dict[tuple[Context, int], float] = {}

    def probability(self, context: Context, word: int) -> float:
        """p(word | context), of which the last ``order`` − 1 tokens count."""
        context = context[-(self.order - 1) :] if self.order > 1 else ()
        if (found := self._known.get((context, word))) is None:
            found = self._known[context, word] = self._probability(context, word)
        return found

    def _probability(self, context: Context, word: int) -> float:
        shorter = self.probability(context[1:], word) if context else 1.0 / self.vocabulary
        after = self._counts[len(context)].get(context)
        if not after:
            return shorter
        discount, total = self._discounts[len(context)], sum(after.values())
        return max(after.get(word, 0) - discount, 0.0) / total + discount * len(after) / total * shorter

    def loss(self, texts: Iterable[np.ndarray]) -> float:
        """The mean of −ln p over all tokens after the first of each text: nats per token."""
        total, number = 0.0, 0
        for text in texts:
            words = text.tolist()
            for place in range(1, len(words)):
                context = tuple(words[max(place - self.order + 1, 0) : place])
                total -= np.log(self.probability(context, words[place]))
            number += len(words) - 1
        return float(total / max(number, 1))


def _discount(level: dict[Context, dict[int, int]]) -> float:
    once = sum(count == 1 for after in level.values() for count in after.values())
    twice = sum(count == 2 for after in level.values() for count in after.values())
    return once / (once + 2 * twice) if once else 0.5  # without a discount what was not seen would be impossible
