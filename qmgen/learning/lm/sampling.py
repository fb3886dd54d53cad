"""``qmgen sample``: texts drawn from a language model, token by token, many at once, and what becomes of them.

Keys and values of earlier tokens are kept (B, layers, T, heads, features), so that a token costs one column of each
product. Every text has a random stream of its own, by its number: what is drawn does not depend on how many are drawn
together, but for the scales of FP8, which are of the tensor at hand.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from qmgen import files, machine, runtime
from qmgen.documents import LARGEST, table_of
from qmgen.errors import UsageError
from qmgen.learning.fp8 import emulated
from qmgen.learning.lm import model
from qmgen.learning.lm.model import Arithmetic, LmShape, attend, embed, logits_of, turns
from qmgen.learning.lm.stored import StoredLm, load_model, own_files
from qmgen.learning.lm.texts import BEGIN_ID, END_ID, PAD_ID, read_lines
from qmgen.molecules.rules.ruleset import OK, check_lines, load_rules
from qmgen.molecules.smiles import canonical, canonical_set

if TYPE_CHECKING:
    from qmgen.config.predict import SampleConfig


Array = jax.Array
Params = dict[str, Any]


class Draw(NamedTuple):
    """How the next token is chosen: probabilities p^(1/temperature), of the ``top_k`` likeliest (0: all), and of these
    the fewest that hold ``top_p`` of the probability."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0


class Cache(NamedTuple):
    """Keys and values of the tokens so far: (layers, B, T, kv_heads, features)."""

    keys: Any
    values: Any


def empty(shape: LmShape, arithmetic: Arithmetic, size: int, length: int) -> Cache:
    """A cache for ``size`` texts of ``length`` tokens."""
    room = (shape.layers, size, length, shape.kv_heads, shape.head_width)
    return Cache(jnp.zeros(room, arithmetic.dtype), jnp.zeros(room, arithmetic.dtype))


def advance(
    weights: Params, shape: LmShape, arithmetic: Arithmetic, cache: Cache, tokens: Array, place: Array
) -> tuple[Array, Cache]:
    """tokens (B,) at ``place`` -> logits of the next (B, V), and the cache with them."""
    size, length = tokens.shape[0], cache.keys.shape[2]
    positions = jnp.broadcast_to(place, (size, 1))
    turn = turns(positions, shape.head_width, shape.theta)
    mask = (jnp.arange(length) <= place)[None, None, None, :]

    def run(x: Array, layer: Any) -> tuple[Array, Any]:
        params, keys, values = layer
        caches = {}

        def look(q: Array, k: Array, v: Array) -> Array:
            caches["k"] = jax.lax.dynamic_update_slice_in_dim(keys, k, place, 1)
            caches["v"] = jax.lax.dynamic_update_slice_in_dim(values, v, place, 1)
            return attend(q, caches["k"], caches["v"], mask)

        if shape.arch == "gpt":
            x = model.gpt_block(params, shape, x, look, arithmetic.recipe)
        else:
            x = model.llama_block(params, shape, x, turn, look, arithmetic.recipe)
        return x, (caches["k"], caches["v"])

    x = embed(weights, shape, tokens[:, None], positions, arithmetic.dtype)
    x, (keys, values) = jax.lax.scan(run, x, (weights["blocks"], cache.keys, cache.values))
    return logits_of(weights, shape, x)[:, 0], Cache(keys, values)


def narrowed(logits: Array, draw: Draw) -> Array:
    """logits (B, V) over the temperature, −∞ for what is not to be drawn: special tokens but the end, and what
    ``top_k`` and ``top_p`` leave out."""
    logits = logits.at[:, jnp.array([PAD_ID, BEGIN_ID])].set(-jnp.inf) / jnp.float32(draw.temperature)
    if draw.top_k:
        least = jax.lax.top_k(logits, min(draw.top_k, logits.shape[1]))[0][:, -1:]
        logits = jnp.where(logits < least, -jnp.inf, logits)
    if draw.top_p < 1.0:
        ordered = jnp.sort(logits, axis=-1)[:, ::-1]
        before = jnp.cumsum(jax.nn.softmax(ordered, axis=-1), axis=-1) - jax.nn.softmax(ordered, axis=-1)
        least = jnp.min(jnp.where(before < draw.top_p, ordered, jnp.inf), axis=-1, keepdims=True)
        logits = jnp.where(logits < least, -jnp.inf, logits)
    return logits


@partial(jax.jit, static_argnums=(1, 2, 3, 4))
def draw_texts(
    weights: Params, shape: LmShape, arithmetic: Arithmetic, draw: Draw, length: int, seed: Array, numbers: Array
) -> Array:
    """(B, length) int32: the tokens after the begin of texts ``numbers`` (B,) of the stream ``seed``, padded after the
    end. A text that does not end within ``length`` has no end."""
    keys = jax.vmap(partial(jax.random.fold_in, jax.random.key(seed)))(numbers)
    size = numbers.shape[0]

    def one(carry: Any, place: Array) -> tuple[Any, Array]:
        cache, tokens, ended = carry
        logits, cache = advance(weights, shape, arithmetic, cache, tokens, place)
        each = jax.vmap(partial(jax.random.fold_in, data=place))(keys)
        chosen = jax.vmap(jax.random.categorical)(each, narrowed(logits, draw)).astype(jnp.int32)
        chosen = jnp.where(ended, PAD_ID, chosen)
        return (cache, chosen, ended | (chosen == END_ID)), chosen

    begin = empty(shape, arithmetic, size, length), jnp.full(size, BEGIN_ID, jnp.int32), jnp.zeros(size, bool)
    _, drawn = jax.lax.scan(one, begin, jnp.arange(length, dtype=jnp.int32))
    return drawn.T


#: a text may be so much longer than the longest that the model has seen
ROOM: Final = 8
_EVERY: Final = 10.0

#: done, of how many
Tell = Callable[[int, int], None]


@dataclass
class SampleCounts:
    """Counts of what was drawn: ``valid`` are molecules, ``unique`` of these differ, ``novel`` of these are in none of
    the training's files; ``kept`` were written, ``removed`` by which rule. ``novel`` is None without those files.
    ``emulated``: in FP8, on a device without units for it."""

    drawn: int = 0
    unfinished: int = 0
    valid: int = 0
    unique: int = 0
    novel: int | None = None
    kept: int = 0
    seconds: float = 0.0
    emulated: bool = False
    removed: Counter[str] = field(default_factory=Counter)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, with the fractions people compare."""
        return {
            "drawn": self.drawn,
            "unfinished": self.unfinished,
            "valid": self.valid,
            "unique": self.unique,
            "novel": self.novel,
            "kept": self.kept,
            "removed": dict(self.removed),
            "valid_fraction": self.valid / max(self.drawn, 1),
            "unique_fraction": self.unique / max(self.valid, 1),
            "novel_fraction": None if self.novel is None else self.novel / max(self.unique, 1),
            "seconds": round(self.seconds, 2),
            "emulated": self.emulated,
        }


def drawn(model: StoredLm, number: int, draw: Draw, seed: int, batch_size: int) -> Iterator[list[str | None]]:
    """``number`` texts in batches; None for one that did not end."""
    length = min(int(model.about["longest"]) + ROOM, model.shape.context)
    arithmetic, weights = model.arithmetic(), jax.tree.map(jnp.asarray, model.params["weights"])
    for begin in range(0, number, batch_size):
        numbers = jnp.arange(begin, begin + batch_size, dtype=jnp.uint32)  # one shape; the last few may be for nothing
        rows = np.asarray(draw_texts(weights, model.shape, arithmetic, draw, length, jnp.uint32(seed), numbers))
        rows = rows[: number - begin]
        yield [model.vocabulary.decode(row.tolist()) if END_ID in row else None for row in rows]


def sample_run(settings: SampleConfig, write: Callable[[str], None], tell: Tell) -> SampleCounts:
    """Draw; ``write`` gets each molecule that is kept.

    Raises ``UsageError`` where there is no model, no such rule set, or a file of the training cannot be read.
    """
    runtime.prepare(double=False)
    model = load_model(settings.run)
    rules = load_rules(settings.rules)
    known = _known(settings, model)
    if settings.novel and known is None:
        raise UsageError(
            f"--novel needs the molecules of the training, which {settings.run} does not name: give --data"
        )
    tally, seen, begin = (
        SampleCounts(novel=None if known is None else 0, emulated=emulated(model.recipe)),
        set[str](),
        time.monotonic(),
    )
    draw = Draw(settings.temperature, settings.top_k or 0, settings.top_p)
    last = begin
    for texts in drawn(model, settings.number, draw, settings.seed, settings.batch_size):
        fresh: list[str] = []
        for text in texts:
            tally.drawn += 1
            tally.unfinished += text is None
            if settings.keep_all:
                write(text or "")
            form = canonical(text) if text else None
            if form is None:
                continue
            tally.valid += 1
            if form in seen:
                continue
            seen.add(form)
            tally.unique += 1
            new = known is None or form not in known
            if known is not None and tally.novel is not None:
                tally.novel += new
            if new or not settings.novel:
                fresh.append(form)
        for form, verdict in check_lines(fresh, rules):
            if verdict != OK:
                tally.removed[verdict] += 1
                continue
            tally.kept += 1
            if not settings.keep_all:
                write(form)
        if (now := time.monotonic()) - last > _EVERY:
            last = now
            tell(tally.drawn, settings.number)
    tally.seconds = time.monotonic() - begin
    return tally


def _known(settings: SampleConfig, model: StoredLm) -> set[str] | None:
    """The molecules of the training: of ``data``, or of the files that the run's config names, if they are there."""
    files = [Path(file) for file in settings.data] or own_files(model)
    if not files:
        return None
    known: set[str] = set()
    for file in files:
        texts = read_lines([file], skip=bool(model.about.get("unreadable"))).texts
        known |= set(texts) if _enumerated(file) else canonical_set(texts)
    return known


def _enumerated(file: Path) -> bool:
    """Whether the file is as `qmgen enumerate` wrote it, by the note beside it: then its SMILES are canonical."""
    try:
        note = table_of(files.read(file.with_name(file.name + ".json"), LARGEST))
        same = note["sha256"] == sha256(file.read_bytes()).hexdigest()
        return bool(same and note["versions"]["rdkit"] == machine.versions()["rdkit"])
    except (OSError, ValueError, KeyError, TypeError):
        return False
