"""Which trainings compare the recipes, from scratch; and which finished ones are of them.

name                        what                                       length
gpt/f32/seed-0              each precision × each seed                 all of it
gpt/tiny/cscale/bias-4      FP8-CSCALE at one bias, seed 0             a quarter
gpt/tiny/short/f32          what these are compared with               a quarter
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from qmgen import files
from qmgen.config import resolve
from qmgen.config.train import TrainLmConfig
from qmgen.documents import LARGEST, table_of
from qmgen.errors import QmgenError, UsageError, first_line
from qmgen.learning.lm.training.train import peak_of
from qmgen.learning.training.folder import RESULT

ARCHS: Final = ("gpt", "llama")
#: what decides, other recipes, and 16 bit
PRECISIONS: Final = (("f32", "fp8-amax"), ("fp8-delayed", "fp8-block"), ("bf16",))
BIASES: Final = (-6, -4, -2, 0, 2, 4, 6, 8, 10, 12)
#: of the full length, for the sweep
PART: Final = 4
#: settings that differ between the trainings, or would change what they are compared with
OWN: Final = frozenset(
    {"arch", "preset", "precision", "activations", "tokens", "steps", "seed", "scale_bias"}
    | {"data", "limit", "init", "out", "overwrite", "plan"}
)


@dataclass(frozen=True)
class Job:
    """A training: its folder below the comparison's, and its settings of ``qmgen train lm``."""

    name: str
    settings: Mapping[str, str | int]

    @property
    def flags(self) -> list[str]:
        """The settings as words of a command."""
        return [word for name, value in self.settings.items() for word in (f"--{name.replace('_', '-')}", str(value))]


def jobs(tokens: int, seeds: int, presets: Sequence[str], biases: Sequence[int] = BIASES) -> list[Job]:
    """All trainings, the most telling first; ``presets`` from small to large, the last of which has the seeds."""
    main, (decisive, others, sixteen) = presets[-1], PRECISIONS

    def of(precisions: Sequence[str], chosen: Sequence[int]) -> list[Job]:
        return [
            Job(f"{arch}/{precision}/seed-{seed}", _settings(arch, main, precision, tokens, seed))
            for seed in chosen
            for precision in precisions
            for arch in ARCHS
        ]

    first, more = range(min(seeds, 1)), range(1, seeds)
    return [
        *of(decisive, range(seeds)),
        *of(others, first),
        *_sweep(tokens // PART, presets, biases),
        *of(sixteen, first),
        *of((*others, *sixteen), more),
    ]


def _sweep(tokens: int, presets: Sequence[str], biases: Sequence[int]) -> list[Job]:
    found = []
    for preset in presets:
        for arch in ARCHS:
            found.append(Job(f"{arch}/{preset}/short/f32", _settings(arch, preset, "f32", tokens, 0)))
            for bias in biases:
                one = _settings(arch, preset, "fp8-cscale", tokens, 0) | {"scale_bias": bias}
                found.append(Job(f"{arch}/{preset}/cscale/bias-{bias}", one))
    return found


def _settings(arch: str, preset: str, precision: str, tokens: int, seed: int) -> dict[str, str | int]:
    # the type between linear layers is f32 but for bf16, so that the recipes alone differ
    between = "bfloat16" if precision == "bf16" else "float32"
    return {
        "arch": arch, "preset": preset, "precision": precision, "activations": between,
        "tokens": str(tokens), "seed": seed,
    }  # fmt: skip


def shared_settings(words: Sequence[str]) -> dict[str, Any]:
    """Settings for all trainings from words of a command, such as ``--batch-size 8``.

    Raises ``UsageError`` for those that the comparison chooses itself.
    """
    found: dict[str, Any] = {}
    before = ""
    for word, following in zip(words, [*words[1:], "--"]):
        if not word.startswith("--"):
            if not before.startswith("--") or "=" in before:
                raise UsageError(f"{word} is no setting: give it as --NAME {word}")
        else:
            name, equals, value = word.removeprefix("--").partition("=")
            given: Any = value if equals else "true" if following.startswith("--") else following
            for kind in (int, float, json.loads):  # a number or true; all else is text
                with suppress(ValueError):
                    given = kind(given)
                    break
            found[name.replace("-", "_")] = given
        before = word
    if own := sorted(found.keys() & OWN):
        raise UsageError(f"--{own[0].replace('_', '-')} is not for all trainings alike: leave it out")
    return found


def foreign(out: Path, planned: Sequence[Job], shared: Mapping[str, Any], digest: str) -> list[str]:
    """The finished trainings in ``out`` that are of other settings, or of other molecules than those of ``digest``.

    Raises ``UsageError`` for settings that do not do.
    """
    found = []
    for job in planned:
        settings = resolve(TrainLmConfig, None, {**shared, **job.settings, "plan": True})
        given = {**settings.training_fields(), "learning_rate": peak_of(settings, settings.preset)}
        del given["steps"]  # of the tokens
        if (result := result_of(out, job)) is None:
            continue
        identity = result.get("identity", {})
        same = all(identity.get(name) == value for name, value in given.items())
        if not same or identity.get("digest") != digest:
            found.append(job.name)
    return found


def result_of(out: Path, job: Job) -> dict[str, Any] | None:
    """The result of a finished training; None for another. Raises ``QmgenError`` for one that cannot be read."""
    file = out / job.name / RESULT
    try:
        return table_of(files.read(file, LARGEST), finite=False)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise QmgenError(f"cannot read {file} ({first_line(error)}): remove {file.parent} to train it anew") from error
