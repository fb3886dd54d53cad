"""``qmgen evaluate``: from settings to a report, and a file of predictions where one is asked for."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final

from qmgen.config.predict import EvaluateConfig
from qmgen.errors import UsageError
from qmgen.learning.data.packed import Packed
from qmgen.learning.evaluate.corpus import CorpusReport, evaluate_corpus
from qmgen.learning.evaluate.files import Prediction, Writer, columns, corpus_rows, plain_row, predict_molecules
from qmgen.learning.schnet.stored import BATCH_SIZE, SchnetPredictor, load_model
from qmgen.learning.targets import Target
from qmgen.molecules.readers import read_files
from qmgen.quantities import duration
from qmgen.runtime import prepare

#: rows shown to a person who asked for no file
SHOWN: Final = 20
#: rows handed to the file at once
_CHUNK: Final = 1024
#: seconds between lines of progress
_EVERY: Final = 10.0


@dataclass
class FileReport:
    """Predictions for files, of ``targets``: rows in all, those without a prediction by reason, the first of both;
    ``out`` is the file that holds them, if there is one."""

    targets: tuple[Target, ...]
    out: str | None = None
    rows: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    first: list[Prediction] = field(default_factory=list)
    refused: list[Prediction] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The summary as plain values."""
        refused = sum(self.reasons.values())
        return {"rows": self.rows, "predicted": self.rows - refused, "without": dict(self.reasons)}

    def text(self) -> str:
        """The first rows, for people; nothing where a file holds them."""
        if self.out is not None:
            return ""
        units = columns(self.targets, per_atom=False)
        lines = ["  ".join(["molecule_id", *(f"{name} ({unit})" for name, unit in units.items()), "name, SMILES"])]
        for row in self.first:
            plain = plain_row(row, self.targets, per_atom=False)
            cells = ["-" if plain[name] is None else f"{plain[name]:.6g}" for name in units]
            widths = [len(f"{name} ({unit})") for name, unit in units.items()]
            padded = [cell.rjust(width) for cell, width in zip(cells, widths, strict=True)]
            lines.append("  ".join([f"{row.molecule_id:11d}", *padded, f"{row.name} {row.smile}".strip()]))
        if self.rows > len(self.first):
            lines.append(f"and {self.rows - len(self.first):,} more: --out FILE writes all")
        return "\n".join(lines)

    @property
    def notes(self) -> list[str]:
        """How many molecules have no prediction and why, then the first of them."""
        if not self.reasons:
            return []
        counts = ", ".join(f"{count:,} {reason}" for reason, count in sorted(self.reasons.items()))
        missing = sum(self.reasons.values())
        lines = [f"{missing:,} of {self.rows:,} without a prediction: {counts}"]
        lines += [f"  molecule_id {row.molecule_id} {row.name or row.smile}: {row.reason}" for row in self.refused]
        if self.out is not None and self.out.endswith(".xyz"):
            lines.append(f"{missing} entries have no prediction, and no frame in {self.out}: a .csv has a row for each")
        return lines


def run(settings: EvaluateConfig, quiet: bool = False) -> CorpusReport | FileReport:
    """Do what ``qmgen evaluate`` was asked. Raises ``UsageError`` with one line for what cannot be read or written."""
    prepare(double=False)
    if threading.current_thread() is threading.main_thread():  # so that what is half written is removed
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    if settings.out and any(Path(settings.out).resolve() == Path(file).resolve() for file in settings.molecules):
        raise UsageError(f"--out {settings.out} is one of the files to predict: choose another")
    predictor = SchnetPredictor(load_model(settings.run), settings.batch_size or BATCH_SIZE)
    about = {"model": str(settings.run), **{k: predictor.metadata.get(k) for k in ("kind", "level_of_theory", "rows")}}
    tell = (lambda done, total=None: None) if quiet else teller()
    with Writer(settings.out, predictor.targets, about) if settings.out else nullcontext() as writer:
        if settings.data is None:
            entries = islice(read_files(settings.molecules), settings.limit)
            rows = predict_molecules(predictor, entries, settings.seed)
            return _files(rows, FileReport(predictor.targets, settings.out), writer, tell)

        def keep(packed: Packed, values: dict[str, Any]) -> None:
            assert writer is not None
            writer.write(corpus_rows(packed, values))

        wanted = keep if writer is not None else None
        return evaluate_corpus(
            predictor, settings.data, settings.split, settings.other_level, settings.limit, wanted, tell
        )


def _files(
    rows: Iterator[Prediction], report: FileReport, writer: Writer | None, tell: Callable[..., None]
) -> FileReport:
    while chunk := list(islice(rows, _CHUNK)):
        if writer is not None:
            writer.write(chunk)
        bad = [row for row in chunk if row.reason]
        report.rows += len(chunk)
        report.reasons.update(row.reason.partition(":")[0] for row in bad)
        report.first += chunk[: SHOWN - len(report.first)]
        report.refused += bad[: SHOWN - len(report.refused)]
        tell(report.rows, None)
    return report


def teller() -> Callable[..., None]:
    """A line on standard error every ten seconds: rows, rate and, where the total is known, time left."""
    begin = last = time.monotonic()

    def tell(done: int, total: int | None = None) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < _EVERY:
            return
        last = now
        rate = done / (now - begin)
        left = f" of {total:,}, {duration((total - done) / rate)} left" if total else ""
        print(f"{done:,} rows{left} ({rate:.0f}/s)", file=sys.stderr, flush=True)

    return tell
