"""Which shape a training has: by preset, by its data, or that of the model it begins with."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from qmgen.errors import UsageError
from qmgen.learning.lm.network.shape import PRESETS, SMALL, LmShape
from qmgen.learning.lm.stored import StoredLm
from qmgen.learning.lm.texts.tokens import Vocabulary

if TYPE_CHECKING:  # a borrowed machine has no pydantic
    from qmgen.config.train import TrainLmConfig

#: tokens of a row, at least, where molecules are shorter; rows are of whole multiples of ``STEP``
CONTEXT: Final = 64
STEP: Final = 32
NAMES: Final = (*SMALL, *PRESETS)


def published(preset: str, arch: str | None) -> LmShape:
    """The shape of a preset with its published vocabulary and 2048 positions.

    Raises ``UsageError``: no such preset, or one of another ``arch``.
    """
    if preset in SMALL:
        return SMALL[preset][arch or "gpt"]
    if preset not in PRESETS:
        raise UsageError(f"no preset is called {preset!r}: choose from {', '.join(NAMES)}")
    shape = PRESETS[preset]
    if arch is not None and shape.arch != arch:
        raise UsageError(f"the preset {preset} is a {shape.arch}: leave --arch out, or choose another preset")
    return shape


def shape_of(
    settings: TrainLmConfig, vocabulary: Vocabulary, longest: int, begin_with: StoredLm | None
) -> tuple[str, LmShape]:
    """The preset's name and the shape over ``vocabulary``. Raises ``UsageError`` as ``published``, and where the model
    to begin with is another."""
    context = settings.context or max(CONTEXT, -(-longest // STEP) * STEP)
    if begin_with is None:
        return settings.preset, published(settings.preset, settings.arch).of(len(vocabulary), context)
    shape = begin_with.shape
    if settings.arch not in (None, shape.arch):
        raise UsageError(f"--init {begin_with.path} is a {shape.arch}: leave --arch out")
    if "preset" in settings.model_fields_set and settings.preset != begin_with.about["preset"]:
        raise UsageError(f"--init {begin_with.path} is a {begin_with.about['preset']}: leave --preset out")
    if shape.arch == "gpt" and longest > shape.context:
        raise UsageError(
            f"a molecule has {longest} tokens, and --init {begin_with.path} {shape.context} positions: leave it out"
        )
    if shape.arch == "gpt" and settings.context not in (None, shape.context):
        raise UsageError(f"--init {begin_with.path} has {shape.context} positions: leave --context out")
    return begin_with.about["preset"], shape if shape.arch == "gpt" else replace(shape, context=context)
