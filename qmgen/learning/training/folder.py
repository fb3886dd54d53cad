"""The folder of a run: ``config.toml`` says what its trainings are, and no other kind is put beside them."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import jax

from qmgen import files, machine
from qmgen.corpus.identity import difference
from qmgen.corpus.locks import Held, Lock
from qmgen.documents import json_of, table_of
from qmgen.errors import QmgenError, UsageError
from qmgen.learning.training import checkpoint

if TYPE_CHECKING:
    from qmgen.config.train import TrainHamiltonianConfig, TrainLmConfig, TrainSchnetConfig

    Training = TrainSchnetConfig | TrainHamiltonianConfig | TrainLmConfig


CONFIG: Final = "config.toml"
LOCK: Final = ".lock"
RESULT: Final = "result.json"
#: what differs between two runs of the same training
CLOCKS: Final = frozenset({"seconds", "rows_per_second", "tokens_per_second"})
METRICS: Final = "metrics.jsonl"
#: what a training leaves in its folder, and a report in that of the run: nothing else is ever removed
OF_TRAINING: Final = (
    checkpoint.NAME,
    checkpoint.PREVIOUS,
    METRICS,
    "model.safetensors",
    RESULT,
    "labels.npz",
    "augmented.npz",
    "references.json",
    "excess.png",
    "loss.png",
    "scales.png",
    "scale-map.png",
)
OF_REPORT: Final = ("scaling.json", "scaling.png", "transfer.json", "transfer.png")
#: folders of a run that may be there
_FOLDERS: Final = ("scratch", "rows-*", "rows-*/seed-*", "scratch/rows-*", "scratch/rows-*/seed-*")
_CELL: Final = re.compile(r"(scratch/)?rows-\d+/seed-\d+")
#: seconds that a process waits for another that is looking at the same folder
_PATIENCE: Final = 10.0
_PAUSE: Final = 0.1


def cell_of(out: Path, rows: int, seed: int) -> Path:
    """The folder of one training."""
    return out / f"rows-{rows}" / f"seed-{seed}"


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold the lock of ``folder``. Raises ``UsageError`` with one line where another process has it for long, or the
    folder cannot be written."""
    lock = Lock(folder / LOCK)
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            lock.acquire()
            break
        except Held as by:
            if time.monotonic() > end:
                raise UsageError(f"{folder} is in the hands of {by.who}: wait for it, or choose another --out") from by
            time.sleep(_PAUSE)
        except OSError as error:
            raise UsageError(f"cannot write {folder}: {error.strerror or error}; choose another --out") from error
    try:
        yield
    finally:
        lock.release()


def claim(settings: Training) -> None:
    """Make ``settings.out`` the folder of this run: its ``config.toml``; with ``overwrite`` the trainings and reports
    of the run that was there are removed, and nothing else.

    Raises ``UsageError`` where it holds trainings of other settings (and shows which), something that is no run, or
    with ``overwrite`` a training that another process has in hand; where it cannot be written. Processes that start at
    once wait for one another.
    """
    from qmgen.config.sources import check  # pydantic: not where a folder is only read

    out = settings.out
    assert out is not None
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file: choose another --out")
    with alone(out):
        inside = [path for name in _FOLDERS for path in out.glob(name)]
        files.refuse_links(out, *(str(path.relative_to(out)) for path in inside))
        known = _known(settings, out)
        if settings.overwrite:
            _remove(out)
        elif known is not None:
            before = _fields(check(type(settings), {**known, "out": str(out)}))
            if before != (now := _fields(settings)):
                raise UsageError(
                    f"{out} holds trainings of other settings ({difference(before, now)}): choose another --out, or "
                    "--overwrite to start anew"
                )
        text = settings.resolved_toml(out).encode()
        if known is not None and not settings.overwrite and (out / CONFIG).read_bytes() == text:
            return
        try:
            checkpoint.write(out / CONFIG, text)
        except QmgenError as error:
            line = str(error).removesuffix("; the same command continues")
            raise UsageError(f"{line}: choose another --out") from error


def finished(folder: Path, identity: dict[str, Any], anew: str) -> dict[str, Any] | None:
    """The result of the training in ``folder``, None where there is none yet; ``anew`` says how to do it again.

    Raises ``UsageError`` where it is damaged, or of another training than ``identity``.
    """
    try:
        result = table_of(files.read(folder / RESULT))
        kept = result["identity"]
        if not isinstance(kept, dict):
            raise TypeError("its identity is no table")
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        raise UsageError(f"{folder / RESULT} is damaged: {anew}") from None
    if kept != json.loads(json.dumps(identity)):
        odd = sorted(key for key in kept.keys() | identity.keys() if kept.get(key) != identity.get(key))
        raise UsageError(
            f"{folder} holds the result of another training ({', '.join(odd)} differ): choose another --out, or "
            "--overwrite to start anew"
        )
    return result


def store_result(folder: Path, result: dict[str, Any], identity: dict[str, Any]) -> dict[str, Any]:
    """Write ``result.json`` of a finished training, with when, where and by which versions it was made, and remove the
    checkpoints; what it holds. Raises ``QmgenError`` where that cannot be done."""
    whole = {
        **result,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {**machine.machine(), "device": jax.devices()[0].device_kind},
        "versions": machine.versions(),
        "identity": identity,
    }
    checkpoint.write(folder / RESULT, (json.dumps(whole, indent=2) + "\n").encode())
    checkpoint.discard(folder)
    return whole


def _known(settings: Training, out: Path) -> dict[str, Any] | None:
    """The settings of the run that is in ``out``; None for an empty folder. Raises ``UsageError`` for anything else."""
    from qmgen.config.sources import read_file

    names = sorted(path.name for path in out.iterdir() if not path.name.startswith("."))
    if not names:
        return None
    if "manifest.json" in names:
        raise UsageError(f"{out} is a corpus, and no place for trainings: choose another --out")
    if CONFIG not in names:
        raise UsageError(f"{out} is not empty, and not of `qmgen train` ({names[0]}): choose another --out")
    other = UsageError(f"{out} holds something that this `qmgen train` did not write: choose another --out")
    try:
        known = dict(read_file(type(settings), out / CONFIG))
    except UsageError:
        raise other from None
    # the settings of `train energy` are all settings of `train labels` too
    if not getattr(settings, "of_command", frozenset()) <= known.keys():
        raise other
    return known


def _remove(out: Path) -> None:
    """Remove the trainings in ``out`` and the reports on them: all, or, where another process has one in hand, none."""
    folders = sorted((*out.glob("rows-*/seed-*"), *out.glob("scratch/rows-*/seed-*")))
    cells = [cell for cell in folders if _CELL.fullmatch(cell.relative_to(out).as_posix())]
    with contextlib.ExitStack() as locks:
        for cell in cells:
            try:
                locks.enter_context(Lock(cell / LOCK))
            except Held as by:
                raise UsageError(f"{by.who} is training in {cell}: stop it before --overwrite") from None
        for cell in cells:
            _unlink(cell, OF_TRAINING)
    for cell in cells:
        for folder in (cell, cell.parent, cell.parent.parent):
            if folder != out:
                with contextlib.suppress(OSError):  # it holds something that is not ours
                    folder.rmdir()
    _unlink(out, (*OF_TRAINING, *OF_REPORT))


def _unlink(folder: Path, names: tuple[str, ...]) -> None:
    for name in names:
        (folder / name).unlink(missing_ok=True)


def _fields(settings: Training) -> dict[str, Any]:
    """What makes the trainings, with ``init`` however it is written."""
    fields = settings.training_fields()
    return {**fields, "init": os.path.abspath(fields["init"]) if fields["init"] else None}


class Journal:
    """``metrics.jsonl`` at ``path``: one JSON object a line, each of which names its ``step``; a context.

    The lines up to and with ``step`` stay. A training that was killed has written lines past its last checkpoint; the
    steps are taken again, so these lines are removed: the file of a resumed training equals that of an undisturbed one.
    """

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        kept = [line for line in read_journal(path) if line["step"] <= step]
        checkpoint.write(path, "".join(_line_text(line) for line in kept).encode())
        with files.opened(path.parent) as folder:  # never through a link of this name
            stream = files.open_for_writing(folder, path.name, path, append=True)
        self._stream = io.TextIOWrapper(stream, encoding="utf-8")

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def append(self, line: Mapping[str, Any]) -> None:
        """One more line, in the hands of the operating system when this returns. Raises ``QmgenError``."""
        try:
            self._stream.write(_line_text(line))
            self._stream.flush()
        except OSError as error:
            raise QmgenError(f"cannot write {self.path}: {error.strerror}; the same command continues") from error

    def synchronize(self) -> None:
        """Onto the disk: no checkpoint may be newer than the lines before it."""
        os.fsync(self._stream.fileno())


def read_journal(path: Path) -> list[dict[str, Any]]:
    """The whole lines of the file, up to the first that is not; none where there is no file."""
    lines: list[dict[str, Any]] = []
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return lines
    for line in text.splitlines(keepends=True):
        try:
            record = json_of(line)
        except ValueError:
            break
        if not line.endswith("\n") or not isinstance(record, dict) or not isinstance(record.get("step"), int):
            break
        lines.append(record)
    return lines


def timeless(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """``lines`` without what the clock says: equal for equal trainings."""
    return [{key: value for key, value in line.items() if key not in CLOCKS} for line in lines]


def _line_text(line: Mapping[str, Any]) -> str:
    return json.dumps(line, allow_nan=False) + "\n"
