"""The folder of a run: ``config.toml`` says what its trainings are, and no other kind is put beside them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from qmgen.config.load import check, read_file
from qmgen.config.train import TrainSchnetConfig
from qmgen.config.train_energy import TrainHamiltonianConfig
from qmgen.corpus.identity import difference
from qmgen.errors import QmgenError, UsageError
from qmgen.learning.training import checkpoint

CONFIG: Final = "config.toml"

Training = TrainSchnetConfig | TrainHamiltonianConfig


def cell_of(out: Path, rows: int, seed: int) -> Path:
    """The folder of one training."""
    return out / f"rows-{rows}" / f"seed-{seed}"


def claim(settings: Training, made: Sequence[str] = ("rows-*",)) -> None:
    """Make ``settings.out`` the folder of this run: its ``config.toml``; with ``overwrite`` what another has ``made``
    there (patterns of names) is removed.

    Raises ``UsageError`` where it holds trainings of other settings (and shows which), or something else; where it
    cannot be written.
    """
    out = settings.out
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file: choose another --out")
    if settings.overwrite:
        for pattern in made:
            for path in sorted(out.glob(pattern)):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        (out / CONFIG).unlink(missing_ok=True)
    elif (out / CONFIG).is_file():
        known = _read(type(settings), out / CONFIG)
        if known is None:
            raise UsageError(f"{out} holds something that `qmgen train` did not write: choose another --out")
        before = _fields(check(type(settings), {**known, "out": str(out)}))
        now = _fields(settings)
        if before != now:
            raise UsageError(
                f"{out} holds trainings of other settings ({difference(before, now)}): choose another --out, or "
                "--overwrite to start anew"
            )
    elif out.is_dir() and any(out.iterdir()):
        raise UsageError(f"{out} is not empty, and not of `qmgen train`: choose another --out")
    try:
        checkpoint.write(out / CONFIG, settings.resolved_toml(out).encode())
    except QmgenError as error:
        raise UsageError(f"{str(error).removesuffix('; the same command continues')}: choose another --out") from error


def _read(kind: type[Training], file: Path) -> dict[str, Any] | None:
    """The settings in ``file``; None where they are not of this kind of training."""
    try:
        return dict(read_file(kind, file))
    except UsageError:
        return None


def _fields(settings: Training) -> dict[str, Any]:
    """What makes the trainings, with ``init`` however it is written."""
    fields = settings.training_fields()
    return {**fields, "init": os.path.abspath(fields["init"]) if fields["init"] else None}
