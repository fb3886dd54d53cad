"""``scaling.json``: all that a scaling curve says, with what it takes to believe it."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from qmgen.config.train import TrainSchnetConfig
from qmgen.learning.scaling import published
from qmgen.learning.scaling.collect import points
from qmgen.learning.scaling.estimate import generating, rows_for
from qmgen.learning.scaling.fit import fit
from qmgen.learning.scaling.transfer import transfer
from qmgen.learning.targets import targets_of
from qmgen.learning.training import checkpoint
from qmgen.machine import machine, versions

SCHEMA_VERSION: Final = 1
NAME: Final = "scaling.json"
TRANSFER_NAME: Final = "transfer.json"
#: molecules below which no law is fitted to their errors: a mean absolute error of n is off by some 0.8 / sqrt(n)
LEAST_MOLECULES: Final = 30
#: and below which a person is warned
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
        name: _target(name, of, cells, corpus, rate, _wanted(settings, name, of, target_error))
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
        "published": published.curve(),
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


def write(found: dict[str, Any], out: Path) -> None:
    """Into ``out``, each file whole or not at all. Raises ``QmgenError`` where that cannot be done."""
    checkpoint.write(out / NAME, _bytes(found))
    if found["transfer"] is not None:
        kept = ("schema_version", "preset", "level_of_theory", "corpus", "date", "command", "machine", "versions")
        checkpoint.write(out / TRANSFER_NAME, _bytes({**found["transfer"], **{name: found[name] for name in kept}}))


def _bytes(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()


def _target(
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
