"""``qmgen evaluate`` of networks that predict properties: from settings to a report, predictions for molecules without
labels, and predictions as a file.

Given geometries are taken as they are, SMILES embedded as ``qmgen generate`` does.

>>> for row in predict_molecules("runs/gap9", "drugs.sdf"):
...     row.values.get("y"), row.reason

A file is .csv, .parquet, .json or .xyz, written row by row, whole or not at all. A scalar is one column, ``y``; the
dipole moment four, ``dipole_x`` to ``dipole_norm``; forces one list, not in .csv. Units are in the header of a .csv
(``y [eV]``) and in the metadata of the others.
"""

from __future__ import annotations

import csv
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self

import numpy as np

from qmgen.config.predict import EvaluateConfig
from qmgen.errors import UsageError
from qmgen.learning.data.packed import Packed, per_atom
from qmgen.learning.evaluate.corpus import CorpusReport, evaluate_corpus
from qmgen.learning.schnet.model import BATCH_SIZE, SchnetPredictor, load_model
from qmgen.learning.targets import Kind, Target
from qmgen.molecules.embedding_pool import conformers
from qmgen.molecules.geometry import symbol_of
from qmgen.molecules.readers import read_files, read_molecules
from qmgen.molecules.types import Conformer, Failure, Molecule, Pruned
from qmgen.quantities import duration
from qmgen.runtime import prepare
from qmgen.signals import exit_on_sigterm

#: rows printed where no file is written
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
    """Run ``qmgen evaluate``. Raises ``UsageError`` with one line for what cannot be read or written."""
    prepare(double=False)
    if settings.out and any(Path(settings.out).resolve() == Path(file).resolve() for file in settings.molecules):
        raise UsageError(f"--out {settings.out} is one of the files to predict: choose another")
    predictor = SchnetPredictor(load_model(settings.run), settings.batch_size or BATCH_SIZE)
    about = {"model": str(settings.run), **{k: predictor.metadata.get(k) for k in ("kind", "level_of_theory", "rows")}}
    tell = (lambda done, total=None: None) if quiet else teller()
    with Writer(settings.out, predictor.targets, about) if settings.out else nullcontext() as writer, exit_on_sigterm():
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


#: molecules predicted at once, sorted by size among each other
_WINDOW: Final = 1024


@dataclass(frozen=True)
class Prediction:
    """One molecule. ``values`` by target, float64, in the column's unit: (1,) for a scalar, (3,) for the dipole moment,
    (atoms, 3) for forces; empty where there is none, and ``reason`` says why. ``positions`` in Bohr."""

    molecule_id: int
    conformer_id: int
    name: str
    smile: str
    values: dict[str, np.ndarray] = field(default_factory=dict)
    reason: str = ""
    numbers: np.ndarray | None = None
    positions: np.ndarray | None = None


def predict_molecules(
    model: str | Path | SchnetPredictor,
    molecules: str | Path | Iterable[Molecule | Failure],
    seed: int = 0,
    in_process: bool = False,
) -> Iterator[Prediction]:
    """One ``Prediction`` for each entry of a file (or of a stream of them), in order; nothing is left out.

    Charged molecules, radicals and unreadable entries come from the readers as failures, with their reason; molecules
    with elements that the network was not trained on become such here. ``in_process`` embeds without protection against
    a molecule that hangs RDKit. Raises ``UsageError`` for no model and no file.
    """
    predictor = SchnetPredictor(load_model(Path(model))) if isinstance(model, str | Path) else model
    entries = read_molecules(molecules) if isinstance(molecules, str | Path) else molecules
    return _predictions(predictor, conformers(entries, 1, seed, in_process=in_process))


def _predictions(predictor: SchnetPredictor, made: Iterator[Conformer | Failure | Pruned]) -> Iterator[Prediction]:
    known = set(predictor.normalization.elements)
    while window := list(islice(made, _WINDOW)):
        rows = [_unpredicted(item, known) for item in window if not isinstance(item, Pruned)]
        places = [at for at, row in enumerate(rows) if not row.reason]
        if places:
            packed = _packed([rows[at] for at in places])
            predicted = predictor(packed)
            for number, at in enumerate(places):
                atoms = slice(packed.offsets[number], packed.offsets[number + 1])
                values = {name: v[atoms] if per_atom(name) else v[number] for name, v in predicted.items()}
                bad = [name for name, value in values.items() if not np.isfinite(value).all()]
                if bad:
                    rows[at] = replace(rows[at], reason=f"prediction of {bad[0]} is not a finite number")
                else:
                    rows[at] = replace(rows[at], values=values)
        yield from rows


def _unpredicted(item: Conformer | Failure, known: set[int]) -> Prediction:
    if isinstance(item, Failure):
        reason = f"{item.reason.value}: {item.detail}"
        return Prediction(item.molecule_id, item.conformer_id, item.name, item.smiles, reason=reason)
    strange = sorted(set(item.numbers.tolist()) - known)
    names = " ".join(map(symbol_of, strange))
    reason = f"unseen_element: the network was not trained on {names}" if strange else ""
    return Prediction(
        item.molecule_id, item.conformer_id, item.name, item.smiles, {}, reason, item.numbers, item.positions
    )


def _packed(rows: list[Prediction]) -> Packed:
    numbers = [row.numbers for row in rows if row.numbers is not None]
    positions = [row.positions for row in rows if row.positions is not None]
    return Packed(
        np.concatenate(numbers).astype(np.uint8),
        np.concatenate(positions).astype(np.float32),
        np.concatenate([[0], np.cumsum([len(n) for n in numbers])]).astype(np.int64),
        {},
        np.array([row.molecule_id for row in rows], np.int64),
        np.array([row.conformer_id for row in rows], np.int32),
        np.array([row.smile for row in rows], dtype=object),
    )


def corpus_rows(packed: Packed, values: dict[str, np.ndarray]) -> Iterator[Prediction]:
    """Rows of a corpus with their predictions, for a ``Writer``."""
    for row in range(len(packed)):
        atoms = slice(packed.offsets[row], packed.offsets[row + 1])
        own = {name: v[atoms] if per_atom(name) else v[row] for name, v in values.items()}
        smile = str(packed.smiles[row]) if len(packed.smiles) else ""
        ids = int(packed.molecule_id[row]), int(packed.conformer_id[row])
        yield Prediction(*ids, "", smile, own, "", packed.numbers[atoms], packed.positions[atoms].astype(np.float64))


SUFFIXES: Final = (".csv", ".parquet", ".json", ".xyz")
_IDS: Final = ("molecule_id", "conformer_id", "name", "smile")


def columns(targets: Sequence[Target], per_atom: bool) -> dict[str, str]:
    """Names and units of the columns of ``targets``."""
    units: dict[str, str] = {}
    for target in targets:
        if target.kind is Kind.DIPOLE:
            units |= {f"{target.name}_{end}": target.unit for end in ("x", "y", "z", "norm")}
        elif target.kind is not Kind.FORCES or per_atom:
            units[target.name] = target.unit
    return units


def plain_row(row: Prediction, targets: Sequence[Target], per_atom: bool) -> dict[str, Any]:
    """A row as plain values by column; those of a molecule without a prediction are None, and ``reason`` says why."""
    values: dict[str, Any] = {key: getattr(row, key) for key in _IDS}
    for target in targets:
        value = row.values.get(target.name)
        if target.kind is Kind.DIPOLE:
            parts = [None] * 4 if value is None else [*value.tolist(), float(np.linalg.norm(value))]
            values |= dict(zip((f"{target.name}_{end}" for end in ("x", "y", "z", "norm")), parts, strict=True))
        elif target.kind is Kind.FORCES:
            if per_atom:
                values[target.name] = None if value is None else value.ravel().tolist()
        else:
            values[target.name] = None if value is None else float(value[0])
    return {**values, "reason": row.reason}


class Writer:
    """Writes rows to ``out`` (a path by its suffix, or "-": CSV on standard output); a file is there only at the end.

    Raises ``UsageError`` for an unknown suffix and what cannot be written.
    """

    def __init__(self, out: str, targets: Sequence[Target], about: Mapping[str, Any]) -> None:
        suffix = ".csv" if out == "-" else Path(out).suffix.lower()
        if suffix not in SUFFIXES:
            raise UsageError(f"{out}: unknown kind of file; --out takes {' '.join(SUFFIXES)}, or - for standard output")
        self._targets, self._suffix, self._per_atom = tuple(targets), suffix, suffix != ".csv"
        self._path = None if out == "-" else Path(out)
        self._units = columns(targets, self._per_atom)
        self._about = {**about, "units": self._units}
        self._first = True
        self._parquet: Any = None
        self._stream: IO[Any] | None = None
        if self._path is None:
            self._stream = sys.stdout
        else:
            self._temporary = self._path.with_name(f".{self._path.name}.{os.getpid()}.part")
            with self._complaining():
                if self._path.is_dir():
                    raise UsageError(f"cannot write {out}: it is a directory")
                self._path.parent.mkdir(parents=True, exist_ok=True)
                if suffix == ".parquet":
                    self._open_parquet()
                else:
                    self._temporary.unlink(missing_ok=True)
                    self._stream = self._temporary.open("x", encoding="utf-8", newline="")
        with self._complaining():
            self._head()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._complaining():
            if kind is None and self._suffix == ".json":
                self._text("\n]}\n")
            if self._parquet is not None:
                self._parquet.close()
            if self._path is None:
                sys.stdout.flush()
                return
            if self._stream is not None:
                if kind is None:
                    self._stream.flush()
                    os.fsync(self._stream.fileno())
                self._stream.close()
            if kind is None:
                os.replace(self._temporary, self._path)
            else:
                self._temporary.unlink(missing_ok=True)

    def write(self, rows: Iterable[Prediction]) -> None:
        """Add rows, in order."""
        with self._complaining():
            if self._suffix == ".xyz":
                self._text("".join(_extended_xyz(row) for row in rows if row.values))
                return
            plain = [plain_row(row, self._targets, self._per_atom) for row in rows]
            if self._suffix == ".csv":
                csv.writer(self._stream).writerows(row.values() for row in plain)  # type: ignore[arg-type]
            elif self._suffix == ".json":
                for row in plain:
                    self._text(("" if self._first else ",") + "\n" + json.dumps(row))
                    self._first = False
            elif plain:
                import pyarrow as pa

                self._parquet.write_table(pa.Table.from_pylist(plain, schema=self._schema))

    def _head(self) -> None:
        if self._suffix == ".csv":
            titles = [*_IDS, *(f"{name} [{unit}]" for name, unit in self._units.items()), "reason"]
            csv.writer(self._stream).writerow(titles)  # type: ignore[arg-type]
        elif self._suffix == ".json":
            self._text(json.dumps(self._about, default=str)[:-1] + ', "predictions": [')

    def _open_parquet(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        fields = [("molecule_id", pa.int64()), ("conformer_id", pa.int32()), ("name", pa.string())]
        fields += [("smile", pa.string())]
        lists = {target.name for target in self._targets if target.kind is Kind.FORCES}
        fields += [(n, pa.list_(pa.float64()) if n in lists else pa.float64()) for n in self._units]
        about = {"qmgen": json.dumps(self._about, default=str)}
        self._schema = pa.schema([*fields, ("reason", pa.string())], metadata=about)
        self._parquet = pq.ParquetWriter(self._temporary, self._schema)

    def _text(self, text: str) -> None:
        assert self._stream is not None
        self._stream.write(text)

    @contextmanager
    def _complaining(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            raise
        except OSError as error:
            raise UsageError(f"cannot write {self._path}: {error.strerror or error}; choose another --out") from error


def _extended_xyz(row: Prediction) -> str:
    from qmgen.constants import BOHR_TO_ANGSTROM
    from qmgen.molecules.geometry import symbol_of

    assert row.numbers is not None and row.positions is not None
    forces = row.values.get("forces")
    about = ["Properties=species:S:1:pos:R:3" + ("" if forces is None else ":forces:R:3")]
    about += [f"molecule_id={row.molecule_id}", f"conformer_id={row.conformer_id}"]
    about += [f"{key}={json.dumps(text)}" for key, text in (("name", row.name), ("smile", row.smile)) if text]
    for name, value in row.values.items():
        if name != "forces":
            text = " ".join(f"{x:.10g}" for x in value)
            about.append(f'{name}="{text}"' if len(value) > 1 else f"{name}={text}")
    table = row.positions * BOHR_TO_ANGSTROM
    table = table if forces is None else np.concatenate([table, forces], 1)
    lines = [f"{len(table)}", " ".join(about)]
    for number, numbers in zip(row.numbers, table, strict=True):
        lines.append(" ".join([symbol_of(int(number)), *(f"{x:.8f}" for x in numbers)]))
    return "\n".join(lines) + "\n"
