"""Trainings that compare the recipes of FP8 from scratch (scripts/compare_fp8), and what they say together.

name                        what                                       length
gpt/f32/seed-0              each precision × each seed                 all of it
gpt/tiny/cscale/bias-4      FP8-CSCALE at one bias, seed 0             a quarter
gpt/tiny/short/f32          what these are compared with               a quarter
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any, Final

import numpy as np

from qmgen import files
from qmgen.config import resolve
from qmgen.config.train import TrainLmConfig
from qmgen.documents import LARGEST, table_of
from qmgen.errors import QmgenError, UsageError, first_line
from qmgen.learning.fp8 import NOTE
from qmgen.learning.lm.texts import read_texts
from qmgen.learning.lm.train import first_of, peak_of
from qmgen.learning.training import checkpoint
from qmgen.learning.training.folder import RESULT
from qmgen.tables import aligned

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
class ComparedTraining:
    """A training: its folder below the comparison's, and its settings of ``qmgen train lm``."""

    name: str
    settings: Mapping[str, str | int]

    @property
    def flags(self) -> list[str]:
        """The settings as words of a command."""
        return [word for name, value in self.settings.items() for word in (f"--{name.replace('_', '-')}", str(value))]


def jobs(tokens: int, seeds: int, presets: Sequence[str], biases: Sequence[int] = BIASES) -> list[ComparedTraining]:
    """All trainings, the most telling first; ``presets`` from small to large, the last of which has the seeds."""
    main, (decisive, others, sixteen) = presets[-1], PRECISIONS

    def of(precisions: Sequence[str], chosen: Sequence[int]) -> list[ComparedTraining]:
        return [
            ComparedTraining(f"{arch}/{precision}/seed-{seed}", _job_settings(arch, main, precision, tokens, seed))
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


def _sweep(tokens: int, presets: Sequence[str], biases: Sequence[int]) -> list[ComparedTraining]:
    found = []
    for preset in presets:
        for arch in ARCHS:
            found.append(ComparedTraining(f"{arch}/{preset}/short/f32", _job_settings(arch, preset, "f32", tokens, 0)))
            for bias in biases:
                one = _job_settings(arch, preset, "fp8-cscale", tokens, 0) | {"scale_bias": bias}
                found.append(ComparedTraining(f"{arch}/{preset}/cscale/bias-{bias}", one))
    return found


def _job_settings(arch: str, preset: str, precision: str, tokens: int, seed: int) -> dict[str, str | int]:
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


def foreign(out: Path, planned: Sequence[ComparedTraining], shared: Mapping[str, Any], digest: str) -> list[str]:
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


def result_of(out: Path, job: ComparedTraining) -> dict[str, Any] | None:
    """The result of a finished training; None for another. Raises ``QmgenError`` for one that cannot be read."""
    file = out / job.name / RESULT
    try:
        return table_of(files.read(file, LARGEST), finite=False)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise QmgenError(f"cannot read {file} ({first_line(error)}): remove {file.parent} to train it anew") from error


Context = tuple[int, ...]


class NGram:
    """An n-gram model with interpolated Kneser–Ney smoothing: what a network must beat to have learned anything.

    Chen and Goodman, Computer Speech & Language 1999, 13, 359 (one discount per order, from the counts of counts):

        p(w | h) = max(c(h w) − D, 0) / c(h ·) + D n(h ·) / c(h ·) · p(w | h′)

    with h′ the context without its first token, c of shorter contexts the number of different tokens before them,
    n(h ·) the number of different tokens after h, D = n₁ / (n₁ + 2 n₂). Below the unigrams all tokens are equally
    likely. Counts are of ``texts`` (token numbers, begin and end among them), contexts of up to ``order`` − 1 tokens.
    """

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


#: score that bounds the window of FP8-CSCALE, of the unscaled model's (arXiv 2309.17224)
WINDOW: Final = 0.995
#: by how much of its loss a network must beat the n-gram model, or nothing that is said of it counts
BETTER: Final = 0.05
#: the recipe that is judged, and by how much of f32's loss its own may be higher, with each seed
DECIDED: Final = "fp8-amax"
WITHIN: Final = 0.005


def collected(out: Path, planned: Sequence[ComparedTraining], ngram: dict[str, Any]) -> dict[str, Any]:
    """What the finished trainings say: a table by arch and precision, the sweep, and whether f32 beats ``ngram``."""
    there = {job.name: result_of(out, job) for job in planned}
    results = {name: result for name, result in there.items() if result is not None}
    table = [row for arch in ARCHS for row in _rows(arch, results, ngram)]
    f32 = [job.name for job in planned if job.settings["precision"] == "f32"]
    beaten = [1 - results[name]["validation_loss"] / ngram["loss"] for name in f32 if name in results]
    amax = [one for row in table if row["precision"] == DECIDED for one in row["relative_to_f32_each"]]
    return {
        "trainings": len(planned),
        "finished": len(results),
        "counts": all(one >= BETTER for one in beaten) if beaten else None,
        "f32_missing": len(f32) - len(beaten),
        "amax_within": max(amax) <= WITHIN if amax else None,
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
        f"{report['finished']} of {report['trainings']} trainings finished; {ngram['order']}-gram model, once "
        f"over {ngram['tokens']:,} tokens of the same molecules: {ngram['loss']:.4f} nats",
        *_verdicts(report),
        "",
    ]
    rows = [["model", "precision", "seeds", "loss, nats", "against f32, each seed", "below n-gram"]]
    for row in report["table"]:
        spread = f" ± {row['spread']:.4f}" if row["spread"] is not None else ""
        each = (
            "" if row["precision"] == "f32" else ", ".join(f"{100 * one:+.2f}" for one in row["relative_to_f32_each"])
        )
        against = f"{each} %" if each else ""
        loss = f"{row['loss']:.4f}{spread}"
        below = f"{100 * row['below_ngram']:.1f} %"
        rows.append([row["arch"], row["precision"], str(len(row["seeds"])), loss, against, below])
    lines.append(aligned(rows, left=(0, 1, 4)))
    if report["sweep"]:
        lines += ["", "FP8-CSCALE, share of f32's next-token accuracy by bias, a quarter of the length"]
    for one in report["sweep"]:
        scores = "  ".join(f"{bias}: {score:.3f}" for bias, score in zip(one["biases"], one["scores"]))
        lines.append(f"{one['arch']} {one['preset']} ({one['parameters']:,}): {scores}; window {one['window']}")
    if report["emulated"]:
        lines += ["", NOTE]
    return "\n".join(lines)


def _verdicts(report: dict[str, Any]) -> list[str]:
    """Whether the comparison counts, and whether FP8-AMAX is as near to f32 as it should be."""
    if report["counts"] is None:
        return ["no f32 training is finished yet: nothing can be said"]
    missing = f" ({report['f32_missing']} f32 trainings are missing)" if report["f32_missing"] else ""
    lines = [
        f"each f32 training is {BETTER:.0%} or more below the n-gram model{missing}"
        if report["counts"]
        else f"an f32 training is not {BETTER:.0%} below the n-gram model: this does not count"
    ]
    if report["amax_within"] is not None:
        holds = "is" if report["amax_within"] else "is NOT"
        lines.append(f"{DECIDED} {holds} within {WITHIN:.1%} of f32 with each seed")
    return lines
