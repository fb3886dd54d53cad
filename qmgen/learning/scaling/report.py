"""``scaling.json`` and the table of a scaling curve: finished trainings as points (error against rows,
with every seed), the law through them, and what pre-training gains.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np

from qmgen import files
from qmgen.config.train import TrainSchnetConfig
from qmgen.documents import LARGEST, table_of
from qmgen.errors import QmgenError
from qmgen.learning.fp8 import NOTE
from qmgen.learning.scaling.law import fit, generating, published_curve, published_transfer, rows_for
from qmgen.learning.targets import targets_of
from qmgen.learning.training import checkpoint
from qmgen.learning.training.folder import RESULT
from qmgen.machine import machine, versions
from qmgen.tables import aligned


def read_cells(folders: Iterable[Path]) -> list[dict[str, Any]]:
    """The ``result.json`` of the folders; those that have none, unfinished trainings, are left out.

    Raises ``QmgenError`` for one that cannot be read.
    """
    cells = []
    for folder in folders:
        try:
            cells.append(table_of(files.read(folder / RESULT, LARGEST), finite=False))
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, ValueError) as error:
            raise QmgenError(f"cannot read {folder / RESULT} ({error}): remove {folder} to train it anew") from error
    return cells


def alike(asked: Sequence[dict[str, Any]], cells: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those of ``cells`` that may stand in one curve with ``asked``: of the same rows to choose from, the same network
    and the same weights to begin with (but for trainings from scratch, which begin with none)."""
    kinds = [_cell_kind(cell) for cell in asked]
    return [cell for cell in cells if _cell_kind(cell) in kinds]


def _cell_kind(cell: dict[str, Any]) -> list[Any]:
    identity = cell.get("identity", {})
    return [identity.get(name) for name in ("data", "preset", "shape", "init")]


def points(cells: Sequence[dict[str, Any]], target: str) -> list[dict[str, Any]]:
    """One for each number of rows, rising: ``rows``, ``mean`` and ``spread`` of the validation MAE over seeds (the
    standard deviation of a sample; None with one seed), ``test_mean`` (None where it was not measured), ``seeds``."""
    by_rows: dict[int, list[dict[str, Any]]] = {}
    for cell in cells:
        of = cell["targets"][target]
        seed = {"seed": cell["seed"], "validation_mae": of["validation_mae"], "test_mae": of.get("test_mae")}
        seed |= {name: cell.get(name) for name in ("steps", "best_step", "seconds")}
        by_rows.setdefault(cell["rows"], []).append(seed)
    made = []
    for rows in sorted(by_rows):
        seeds = sorted(by_rows[rows], key=lambda one: int(one["seed"]))
        errors = np.array([one["validation_mae"] for one in seeds], float)
        tests = [one["test_mae"] for one in seeds if one["test_mae"] is not None]
        made.append(
            {
                "rows": rows,
                "mean": float(errors.mean()),
                "spread": float(errors.std(ddof=1)) if len(errors) > 1 else None,
                "test_mean": float(np.mean(tests)) if tests else None,
                "seeds": seeds,
            }
        )
    return made


def compare_seeds(
    tuned: Sequence[dict[str, Any]], scratch: Sequence[dict[str, Any]], target: str
) -> list[dict[str, Any]]:
    """For each number of rows, over the seeds that both have: mean MAE ``init`` and ``scratch`` (shown unit), ``gain``
    (scratch - init), ``ratio`` (init / scratch, of the means), ``ratio_spread`` (over seeds; None with one), each seed.

    Both are trained on the same rows for a seed, so that seeds are compared in pairs.
    """
    begun = {(cell["rows"], cell["seed"]): cell["targets"][target]["validation_mae"] for cell in tuned}
    plain = {(cell["rows"], cell["seed"]): cell["targets"][target]["validation_mae"] for cell in scratch}
    made = []
    for rows in sorted({rows for rows, _ in begun.keys() & plain.keys()}):
        seeds = sorted(seed for size, seed in begun.keys() & plain.keys() if size == rows)
        of_init = np.array([begun[rows, seed] for seed in seeds], float)
        of_scratch = np.array([plain[rows, seed] for seed in seeds], float)
        ratios = of_init / of_scratch
        made.append(
            {
                "rows": rows,
                "init": float(of_init.mean()),
                "scratch": float(of_scratch.mean()),
                "gain": float(of_scratch.mean() - of_init.mean()),
                "ratio": float(of_init.mean() / of_scratch.mean()),
                "ratio_spread": float(ratios.std(ddof=1)) if len(seeds) > 1 else None,
                "seeds": [
                    {"seed": seed, "init": float(a), "scratch": float(b)}
                    for seed, a, b in zip(seeds, of_init, of_scratch, strict=True)
                ],
            }
        )
    return made


def transfer(tuned: Sequence[dict[str, Any]], scratch: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The comparison for every target, with what began it and QM1B's figure; None where there is no pair."""
    if not tuned or not scratch:
        return None
    targets = {
        name: {"unit": of["unit"], "points": compare_seeds(tuned, scratch, name)}
        for name, of in tuned[0]["targets"].items()
    }
    if not any(of["points"] for of in targets.values()):
        return None
    return {"init": tuned[0].get("init"), "targets": targets, "published": published_transfer()}


SCHEMA_VERSION: Final = 1
NAME: Final = "scaling.json"
TRANSFER_NAME: Final = "transfer.json"
#: molecules below which no law is fitted to their errors: a mean absolute error of n is off by some 0.8 / sqrt(n)
LEAST_MOLECULES: Final = 30
#: and below which a warning is printed
FEW_MOLECULES: Final = 100
#: 1 kcal/mol in meV
CHEMICAL_ACCURACY: Final = 43.0


def report(
    settings: TrainSchnetConfig,
    cells: Sequence[dict[str, Any]],
    scratch: Sequence[dict[str, Any]],
    corpus: dict[str, Any],
    rate: dict[str, Any] | None,
    target_error: float | None,
) -> dict[str, Any]:
    """The report on finished ``cells`` and, with --init, their counterparts from ``scratch``.

    ``corpus`` names the data: place, digest, train_rows, train_share. ``target_error`` is for the first target, in its
    shown unit.
    """
    first = cells[0]
    targets = {
        name: _target_report(name, of, cells, corpus, rate, _wanted(settings, name, of, target_error))
        for name, of in first["targets"].items()
    }
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": "scaling of schnet",
        "preset": first["preset"],
        "parameters": first["parameters"],
        "level_of_theory": first["level_of_theory"],
        "corpus": corpus,
        "targets": targets,
        "published": published_curve(),
        "transfer": transfer(cells, scratch),
        "settings": settings.training_fields(),
        "emulated": any(cell.get("emulated", False) for cell in cells),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "machine": machine(),
        "versions": versions(),
    }


def few_molecules(number: int) -> str | None:
    """The warning about errors on ``number`` molecules; None where they are enough."""
    if number >= FEW_MOLECULES:
        return None
    what = "molecule" if number == 1 else "molecules"
    law = "" if number >= LEAST_MOLECULES else ", and no law is fitted to them"
    return (
        f"only {number} validation {what}: errors are rough (some {80 / max(number, 1) ** 0.5:.0f} %){law}; generate "
        "more molecules, or hold out more of the training's with --validation-fraction"
    )


def _wanted(settings: TrainSchnetConfig, name: str, of: dict[str, Any], target_error: float | None) -> float | None:
    """The error to estimate rows for: that which was asked for, for the first target as it was typed; else 43 meV, and
    nothing for what is not measured in meV."""
    if name != targets_of(settings.target[:1])[0].name:
        return None
    if target_error is not None:
        return target_error
    return CHEMICAL_ACCURACY if of["unit"] == "meV" else None


def write(report: dict[str, Any], out: Path) -> None:
    """Into ``out``, each file whole or not at all. Raises ``QmgenError`` where that cannot be done."""
    checkpoint.write(out / NAME, _bytes(report))
    if report["transfer"] is not None:
        kept = ("schema_version", "preset", "level_of_theory", "corpus", "date", "command", "machine", "versions")
        checkpoint.write(out / TRANSFER_NAME, _bytes({**report["transfer"], **{name: report[name] for name in kept}}))


def _bytes(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()


def _target_report(
    name: str,
    of: dict[str, Any],
    cells: Sequence[dict[str, Any]],
    corpus: dict[str, Any],
    rate: dict[str, Any] | None,
    target_error: float | None,
) -> dict[str, Any]:
    curve = points(cells, name)
    seeds = [(point["rows"], one["validation_mae"]) for point in curve for one in point["seeds"]]
    molecules = int(of.get("validation_molecules", of["validation_rows"]))
    enough = molecules >= LEAST_MOLECULES
    law = fit(*zip(*seeds, strict=True)) if enough and all(error > 0 for _, error in seeds) else None
    estimate = None
    if law is not None and target_error is not None:
        estimate = rows_for(law, target_error, curve[-1]["rows"], curve[0]["rows"])
        if estimate["rows"] is not None:
            estimate["generating"] = generating(estimate["rows"], corpus["train_share"], rate)
    return {
        "unit": of["unit"],
        "validation_rows": of["validation_rows"],
        "validation_molecules": molecules,
        "validation_note": few_molecules(molecules),
        "test_rows": of["test_rows"],
        # of the largest training: its mean is known best
        "trivial_mae": max(cells, key=lambda cell: int(cell["rows"]))["targets"][name].get("trivial_mae"),
        "points": curve,
        "fit": law.to_json() if law else None,
        "fit_note": _note(len(curve), law is not None and law.floor > 0, law is not None)
        if enough
        else f"no fit: it takes {LEAST_MOLECULES} validation molecules or more",
        "estimate": estimate,
    }


def _note(sizes: int, floored: bool, fitted: bool) -> str:
    if not fitted:
        return "no fit: two numbers of rows or more, and errors above zero, are needed"
    if floored:
        return "power law with a floor, which fits better than without (F test, 5 %)"
    if sizes < 4:
        return "power law; a floor needs four numbers of rows to be told"
    return "power law; a floor fits no better (F test, 5 %)"


def summary_text(cells: Sequence[dict[str, Any]], elsewhere: Sequence[str], report: dict[str, Any] | None) -> str:
    """MAE by rows (mean and spread over seeds) for each target, then law, estimate and gain, then what is missing."""
    lines: list[str] = []
    if cells:
        for name, of in cells[0]["targets"].items():
            lines += _target_lines(name, of["unit"], points(cells, name))
            if report is not None:
                lines += _law(report["targets"][name])
    if report is not None and report["transfer"] is not None:
        lines += _gain(report["transfer"])
    if any(cell.get("emulated") for cell in cells):
        lines.append(NOTE)
    if elsewhere:
        lines += ["not finished yet; whoever finishes last writes the report:", *(f"  {one}" for one in elsewhere)]
    return "\n".join(lines)


def _target_lines(name: str, unit: str, curve: list[dict[str, Any]]) -> list[str]:
    title = f"{name}: validation MAE, {unit}"
    rows = [["rows", title, "test", "best/steps", "seconds"]]
    for point in curve:
        spread = "" if point["spread"] is None else f" ± {point['spread']:.3g}"
        count = f" ({len(point['seeds'])} seeds)" if len(point["seeds"]) > 1 else ""
        test = "" if point["test_mean"] is None else f"{point['test_mean']:.4g}"
        last = max(point["seeds"], key=lambda one: int(one["best_step"] or 0))
        steps = f"{last['best_step']}/{last['steps']}"
        seconds = sum(one["seconds"] or 0 for one in point["seeds"])
        error = f"{point['mean']:.4g}{spread}{count}"
        rows.append([str(point["rows"]), error, test, steps, f"{seconds:.0f}"])
    return [aligned(rows, left=())]


def _rough(of: dict[str, Any]) -> list[str]:
    """The warning about errors on few molecules, where there is one."""
    return [of["validation_note"]] if of.get("validation_note") else []


def _law(of: dict[str, Any]) -> list[str]:
    if of["fit"] is None:
        return [*_rough(of), of["fit_note"]]
    law = of["fit"]
    error = "" if law["exponent_error"] is None else f" ± {law['exponent_error']:.2f}"
    floor = f" + {law['floor']:.3g}" if law["floor"] else ""
    lines = [*_rough(of), f"MAE = {law['factor']:.3g} n^-b{floor}, b = {law['exponent']:.2f}{error} ({of['fit_note']})"]
    estimate = of["estimate"]
    if estimate is None:
        return lines
    if estimate["rows"] is None:
        return [*lines, f"for {estimate['target_error']:g} {of['unit']}: {estimate['note']}"]
    interval = ""
    if estimate["interval"] is not None:
        low, high = estimate["interval"]
        interval = f" (95 %: {low:.2g} to {'any number' if high is None else f'{high:.2g}'})"
    wanted = f"for {estimate['target_error']:g} {of['unit']}"
    lines.append(f"{wanted}: {estimate['rows']:.2g} training rows{interval}; {estimate['note']}")
    made = estimate["generating"]
    here = made["here"]
    if here is not None:
        speed = f"{here['rows_per_second']:.3g} rows/s ({here['device']})"
        lines.append(f"  to generate: {here['hours']:.3g} hours at this corpus's {speed}")
    lines.append(f"  {made['qm1b']['hours']:.3g} IPU-hours at QM1B's {made['qm1b']['rows_per_second']} rows/s")
    return lines


def _gain(gain: dict[str, Any]) -> list[str]:
    lines = ["begun with --init against from scratch:"]
    for name, of in gain["targets"].items():
        for point in of["points"]:
            spread = "" if point["ratio_spread"] is None else f" ± {point['ratio_spread']:.2f}"
            lines.append(
                f"{point['rows']:>10}  {name}: {point['init']:.4g} against {point['scratch']:.4g} {of['unit']}, "
                f"ratio {point['ratio']:.2f}{spread}"
            )
    known = gain["published"]
    lines.append(f"  (QM1B, published, on QM9: {known['scratch']} to {known['init']} meV, ratio {known['ratio']:.2f})")
    return lines
