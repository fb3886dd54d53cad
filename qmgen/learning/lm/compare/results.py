"""What the trainings of a comparison say together: a table by model and precision, and the windows of FP8-CSCALE."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any, Final

from qmgen.learning.fp8 import NOTE
from qmgen.learning.lm.compare.jobs import ARCHS, PRECISIONS, Job, result_of

#: score that bounds the window of FP8-CSCALE, of the unscaled model's (arXiv 2309.17224)
WINDOW: Final = 0.995
#: by how much of its loss a network must beat the n-gram model, or nothing that is said of it counts
BETTER: Final = 0.05
#: the recipe that is judged, and by how much of f32's loss its own may be higher, with each seed
DECIDED: Final = "fp8-amax"
WITHIN: Final = 0.005


def collected(out: Path, planned: Sequence[Job], ngram: dict[str, Any]) -> dict[str, Any]:
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
        f"{'model':<8}{'precision':<14}{'seeds':>6}{'loss, nats':>20}  {'against f32, each seed':<30}"
        f"{'below n-gram':>13}",
    ]
    for row in report["table"]:
        spread = f" ± {row['spread']:.4f}" if row["spread"] is not None else ""
        each = (
            "" if row["precision"] == "f32" else ", ".join(f"{100 * one:+.2f}" for one in row["relative_to_f32_each"])
        )
        against = f"{each} %" if each else ""
        loss = f"{row['loss']:.4f}{spread}"
        lines.append(
            f"{row['arch']:<8}{row['precision']:<14}{len(row['seeds']):>6}{loss:>20}  {against:<30}"
            f"{100 * row['below_ngram']:>11.1f} %"
        )
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
