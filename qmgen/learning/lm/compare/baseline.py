"""The n-gram model of as many tokens as a training sees, on the texts that it holds out."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import numpy as np

from qmgen import files
from qmgen.documents import LARGEST, table_of
from qmgen.learning.lm.compare.ngram import NGram
from qmgen.learning.lm.texts.reading import read_texts
from qmgen.learning.lm.training.train import first_of
from qmgen.learning.training import checkpoint

#: of the n-gram model
ORDER: Final = 5


def ngram_baseline(
    data: Path, tokens: int, kept: Path, validation_fraction: float, validation_limit: int, order: int = ORDER
) -> dict[str, Any]:
    """Loss in nats per token of an n-gram model of ``tokens`` random tokens of ``data``, kept in the file ``kept``; on
    at most ``validation_limit`` of the share held out, as the trainings of these settings. With the digest of ``data``.

    Raises ``UsageError`` as ``read_texts``.
    """
    texts = read_texts([data], validation_fraction)
    key = {
        "digest": texts.digest,
        "wanted": tokens,
        "order": order,
        "validation_fraction": validation_fraction,
        "validation_limit": validation_limit,
    }
    with suppress(OSError, ValueError):  # none is kept, or a damaged one
        if (found := table_of(files.read(kept, LARGEST))).items() >= key.items():
            return found
    lengths = texts.train.lengths() - 1
    chosen = np.random.default_rng((0, 0)).permutation(len(lengths))  # as the feed's first epoch of seed 0
    chosen = chosen[: int(np.searchsorted(np.cumsum(lengths[chosen]), tokens)) + 1]
    model = NGram((texts.train[int(k)] for k in chosen), order, len(texts.vocabulary))
    held_out = first_of(texts.validation, validation_limit)
    loss = model.loss(held_out[k] for k in range(len(held_out)))
    found = {**key, "tokens": int(lengths[chosen].sum()), "molecules": len(chosen), "loss": loss}
    checkpoint.write(kept, (json.dumps(found, indent=2) + "\n").encode())
    return found
