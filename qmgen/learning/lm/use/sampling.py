"""``qmgen sample``: texts drawn from a model, and what becomes of them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import jax
import jax.numpy as jnp
import numpy as np

from qmgen import files, machine, runtime
from qmgen.documents import LARGEST, table_of
from qmgen.errors import UsageError
from qmgen.learning.fp8 import emulated
from qmgen.learning.lm.stored import StoredLm, load_model, own_files
from qmgen.learning.lm.texts.reading import read_lines
from qmgen.learning.lm.texts.tokens import END_ID
from qmgen.learning.lm.use.decode import Draw, sample
from qmgen.molecules.proposals import OK, Filter, canonical, canonical_set

if TYPE_CHECKING:  # a borrowed machine has no pydantic
    from qmgen.config.train import SampleConfig

#: a text may be so much longer than the longest that the model has seen
ROOM: Final = 8
_EVERY: Final = 10.0

#: done, of how many
Tell = Callable[[int, int], None]


@dataclass
class Tally:
    """Counts of what was drawn: ``valid`` are molecules, ``unique`` of these differ, ``novel`` of these are in none of
    the training's files; ``kept`` were written, ``removed`` by which rule. ``novel`` is None where nobody knows.
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
        rows = np.asarray(sample(weights, model.shape, arithmetic, draw, length, jnp.uint32(seed), numbers))
        rows = rows[: number - begin]
        yield [model.vocabulary.decode(row.tolist()) if END_ID in row else None for row in rows]


def run(settings: SampleConfig, write: Callable[[str], None], tell: Tell) -> Tally:
    """Draw; ``write`` gets each molecule that is kept.

    Raises ``UsageError`` where there is no model, no such rule set, or a file of the training cannot be read.
    """
    runtime.prepare(double=False)
    model = load_model(settings.run)
    chosen = Filter(settings.rules)
    known = _known(settings, model)
    if settings.novel and known is None:
        raise UsageError(
            f"--novel needs the molecules of the training, which {settings.run} does not name: give --data"
        )
    tally, seen, begin = (
        Tally(novel=None if known is None else 0, emulated=emulated(model.recipe)),
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
        for form, verdict in zip(fresh, chosen.verdicts(fresh)):
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
