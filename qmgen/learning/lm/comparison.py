"""Which trainings compare the recipes, from scratch, and what they say together.

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
from statistics import mean, stdev
from typing import Any, Final

from qmgen.config import resolve
from qmgen.config.train_lm import TrainLmConfig
from qmgen.errors import UsageError
from qmgen.learning.fp8 import NOTE
from qmgen.learning.training.folder import RESULT

ARCHS: Final = ("gpt", "llama")
#: what decides, other recipes, and 16 bit
PRECISIONS: Final = (("f32", "fp8-amax"), ("fp8-delayed", "fp8-block"), ("bf16",))
BIASES: Final = (-6, -4, -2, 0, 2, 4, 6, 8, 10, 12)
#: of the full length, for the sweep
PART: Final = 4
#: score that bounds the window of FP8-CSCALE, of the unscaled model's (arXiv 2309.17224)
WINDOW: Final = 0.995
#: order of the n-gram model that a network must beat, and by how much of its loss
ORDER: Final = 5
BETTER: Final = 0.05
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
    for word, following in zip(words, [*words[1:], "--"]):
        if word.startswith("--"):
            name, equals, value = word.removeprefix("--").partition("=")
            given = value if equals else "true" if following.startswith("--") else following
            with suppress(ValueError):  # a number or true; all else is text
                given = json.loads(given)
            found[name.replace("-", "_")] = given
    if own := sorted(found.keys() & OWN):
        raise UsageError(f"--{own[0].replace('_', '-')} is not for all trainings alike: leave it out")
    return found


def foreign(out: Path, planned: Sequence[Job], shared: Mapping[str, Any], digest: str) -> list[str]:
    """The finished trainings in ``out`` that are of other settings, or of other molecules than those of ``digest``.

    Raises ``UsageError`` for settings that do not do.
    """
    found = []
    for job in planned:
        given = resolve(TrainLmConfig, None, {**shared, **job.settings, "plan": True}).training_fields()
        if (result := _result(out, job)) is None:
            continue
        identity = result.get("identity", {})
        # None is "by preset": what it came to stands in the identity
        same = all(identity.get(name) == value for name, value in given.items() if value is not None)
        if not same or identity.get("digest") != digest:
            found.append(job.name)
    return found


def _result(out: Path, job: Job) -> dict[str, Any] | None:
    file = out / job.name / RESULT
    if not file.exists():
        return None
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def collected(out: Path, planned: Sequence[Job], ngram: dict[str, Any]) -> dict[str, Any]:
    """What the finished trainings say: a table by arch and precision, the sweep, and whether f32 beats ``ngram``."""
    there = {job.name: _result(out, job) for job in planned}
    results = {name: result for name, result in there.items() if result is not None}
    table = [row for arch in ARCHS for row in _rows(arch, results, ngram)]
    f32 = [row for row in table if row["precision"] == "f32"]
    return {
        "trainings": len(planned),
        "finished": len(results),
        "counts": bool(f32) and all(row["below_ngram"] >= BETTER for row in f32),
        "ngram": ngram,
        "table": table,
        "sweep": _windows(results),
        "emulated": any(result.get("emulated", False) for result in results.values()),
    }


def _rows(arch: str, results: dict[str, dict[str, Any]], ngram: dict[str, Any]) -> list[dict[str, Any]]:
    rows = []
    names = [name for group in PRECISIONS for name in group]
    for precision in names:
        losses = {
            int(name.rpartition("-")[2]): result["validation_loss"]
            for name, result in results.items()
            if name.startswith(f"{arch}/{precision}/seed-")
        }
        if not losses:
            continue
        base = {seed: results.get(f"{arch}/f32/seed-{seed}", {}).get("validation_loss") for seed in losses}
        relative = [loss / base[seed] - 1 for seed, loss in losses.items() if base[seed]]
        any_result = results[f"{arch}/{precision}/seed-{min(losses)}"]
        rows.append(
            {
                "arch": arch,
                "precision": precision,
                "parameters": any_result["parameters"],
                "tokens": any_result["tokens_seen"],
                "seeds": sorted(losses),
                "losses": [losses[seed] for seed in sorted(losses)],
                "loss": mean(losses.values()),
                "spread": stdev(losses.values()) if len(losses) > 1 else None,
                "relative_to_f32": mean(relative) if relative else None,
                "relative_to_f32_each": relative,
                "below_ngram": 1 - max(losses.values()) / ngram["loss"],
                "seconds": mean(results[f"{arch}/{precision}/seed-{seed}"]["seconds"] for seed in losses),
            }
        )
    return rows


def _windows(results: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    found = []
    for name, result in results.items():
        if not name.endswith("/short/f32"):
            continue
        arch, preset = name.split("/")[:2]
        begin = f"{arch}/{preset}/cscale/bias-"
        points = sorted(
            (int(other.removeprefix(begin)), one["validation_loss"], one["validation_accuracy"])
            for other, one in results.items()
            if other.startswith(begin)
        )
        best = result["validation_accuracy"]
        inside = [bias for bias, _, accuracy in points if accuracy >= WINDOW * best]
        found.append(
            {
                "arch": arch,
                "preset": preset,
                "parameters": result["parameters"],
                "f32_loss": result["validation_loss"],
                "f32_accuracy": best,
                "biases": [bias for bias, _, _ in points],
                "losses": [loss for _, loss, _ in points],
                "scores": [accuracy / best for _, _, accuracy in points],
                "window": [min(inside), max(inside)] if inside else None,
            }
        )
    return found


def text(report: dict[str, Any]) -> str:
    """The tables for people."""
    ngram = report["ngram"]
    lines = [
        f"{report['finished']} of {report['trainings']} trainings finished; {ngram['order']}-gram model of the same "
        f"{ngram['tokens']:,} tokens: {ngram['loss']:.4f} nats",
        "" if report["counts"] else f"f32 is not {BETTER:.0%} below the n-gram model everywhere: this does not count",
        f"{'model':<8}{'precision':<14}{'seeds':>6}{'loss, nats':>20}{'against f32':>13}{'below n-gram':>14}",
    ]
    for row in report["table"]:
        spread = f" ± {row['spread']:.4f}" if row["spread"] is not None else ""
        against = (
            ""
            if row["relative_to_f32"] is None or row["precision"] == "f32"
            else f"{100 * row['relative_to_f32']:+.2f} %"
        )
        loss = f"{row['loss']:.4f}{spread}"
        lines.append(
            f"{row['arch']:<8}{row['precision']:<14}{len(row['seeds']):>6}{loss:>20}{against:>13}"
            f"{100 * row['below_ngram']:>12.1f} %"
        )
    if report["sweep"]:
        lines += ["", "FP8-CSCALE, share of f32's next-token accuracy by bias, a quarter of the length"]
    for one in report["sweep"]:
        scores = "  ".join(f"{bias}: {score:.3f}" for bias, score in zip(one["biases"], one["scores"]))
        lines.append(f"{one['arch']} {one['preset']} ({one['parameters']:,}): {scores}; window {one['window']}")
    if report["emulated"]:
        lines += ["", NOTE]
    return "\n".join(lines)
