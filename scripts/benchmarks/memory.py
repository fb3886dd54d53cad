"""Whether memory stays flat: a ``qmgen generate`` of very many conformers of small molecules, watched from outside.

>>> result = measure(Soak(rows=10_000), tell=print)
>>> {name: one["flat"] for name, one in result["processes"].items()}

The molecules are those of GDB-11's rules with four and five heavy atoms, shuffled, each in as many conformers as the
rows take: few shapes, which come in every unit, and every row is embedded. What grows, grows with rows alone.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from qmgen.config.enumerate import EnumerateConfig
from qmgen.errors import QmgenError, UsageError
from qmgen.machine import provenance
from qmgen.pipeline.enumeration.run import selection
from qmgen.tables import aligned


class Trend(NamedTuple):
    """y = ``middle[1]`` + ``slope`` · (x - ``middle[0]``); ``slope_error`` is its standard error, None for less than
    three points."""

    slope: float
    slope_error: float | None
    middle: tuple[float, float]

    def __call__(self, x: float) -> float:
        return self.middle[1] + self.slope * (x - self.middle[0])


def trend(points: Sequence[tuple[float, float]]) -> Trend:
    """The least-squares line. The slope is 0 where all x are one.

    Neighboring samples of a process resemble each other, so that the error is rather too small. Raises ``ValueError``
    without points.
    """
    if not points:
        raise ValueError("a trend needs points")
    x, y = np.asarray(points, dtype=float).T
    middle = (float(x.mean()), float(y.mean()))
    dx, dy = x - middle[0], y - middle[1]
    spread = float(dx @ dx)
    slope = float(dx @ dy) / spread if spread else 0.0
    rest = dy - slope * dx
    known = len(points) > 2 and spread > 0
    error = float(np.sqrt(rest @ rest / (len(points) - 2) / spread)) if known else None
    return Trend(slope, error, middle)


_PROC: Final = Path("/proc")
_KINDS: Final = {"qmgen.pipeline.worker": "worker", "qmgen.molecules.embedding_pool": "embedding"}


@dataclass(frozen=True)
class Process:
    """``resident`` in bytes and ``cpu_seconds`` (user and system) of a process at the monotonic time ``when``."""

    pid: int
    kind: str
    resident: int
    cpu_seconds: float
    when: float


def processes(parent: int) -> Iterator[Process]:
    """``parent`` and all that descend from it, now."""
    children: dict[int, list[int]] = {}
    for pid in (int(name) for name in os.listdir(_PROC) if name.isdecimal()):
        with suppress(OSError, IndexError, ValueError):
            children.setdefault(int(_stat(pid)[1]), []).append(pid)
    waiting = [parent]
    while waiting:
        pid = waiting.pop()
        waiting += children.get(pid, [])
        with suppress(OSError, IndexError, ValueError):  # it ended meanwhile
            yield _process(pid, pid == parent)


def _process(pid: int, is_parent: bool) -> Process:
    fields = _stat(pid)
    command = (_PROC / str(pid) / "cmdline").read_bytes().decode(errors="replace")
    kind = "parent" if is_parent else next((kind for name, kind in _KINDS.items() if name in command), "other")
    ticks = int(fields[11]) + int(fields[12])
    resident = int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
    return Process(pid, kind, resident, ticks / os.sysconf("SC_CLK_TCK"), time.monotonic())


def _stat(pid: int) -> list[str]:
    """The fields after the name, which stands in brackets and may hold anything: state, parent, ..."""
    return (_PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()


SCHEMA_VERSION: Final = 1
#: the molecules: heavy atoms, rules, and how many there are
HEAVY_ATOMS, RULES, SPECIES = "4-5", "gdb11", 431
#: the run's memory is compared from this part of its rows on: before it, shapes are compiled and buffers grow once
SETTLED: Final = 0.2
#: growth of a process from there to the end that passes for none
FLAT_PART, FLAT_BYTES = 0.05, 20e6


@dataclass(frozen=True)
class Soak:
    """``rows`` in ``units`` work units by ``workers``, looked at every ``interval`` seconds."""

    rows: int = 10_000
    units: int = 40
    workers: int = 2
    grid_level: int = 0
    interval: float = 1.0
    seed: int = 0

    @property
    def conformers(self) -> int:
        """Of each molecule: as few as there are molecules for."""
        return -(-self.rows // SPECIES)

    @property
    def molecules(self) -> int:
        return -(-self.rows // self.conformers)


@dataclass
class _Seen:
    """One process: what it is, and how it was at each look, with the rows of the run by then."""

    kind: str
    looks: list[tuple[float, Process]] = field(default_factory=list)

    @property
    def points(self) -> list[tuple[float, float]]:
        """(rows, bytes)."""
        return [(rows, look.resident) for rows, look in self.looks]

    def cpu_share(self, rows: float) -> float | None:
        """CPU seconds per second from ``rows`` of the run on; None if it was not seen twice by then."""
        late = [look for done, look in self.looks if done >= rows]
        if len(late) < 2:
            return None
        return (late[-1].cpu_seconds - late[0].cpu_seconds) / (late[-1].when - late[0].when)


def measure(soak: Soak, tell: Callable[[str], None]) -> dict[str, Any]:
    """Plain JSON values. Raises ``QmgenError`` when the run fails, ``UsageError`` where there is no ``/proc``."""
    if not Path("/proc/self/stat").exists():
        raise UsageError("memory is watched through /proc, which only Linux has: run it there")
    about = provenance()
    with tempfile.TemporaryDirectory(prefix="qmgen-soak-") as folder:
        source = Path(folder) / "molecules.smi"
        write_molecules(source, soak)
        corpus = Path(folder) / "corpus"
        seen, seconds = _watch(_command(soak, source, corpus), corpus, soak, tell)
    found = _processes(seen, soak.rows)
    return {
        "schema_version": SCHEMA_VERSION,
        **about,
        "soak": asdict(soak) | {"molecules": soak.molecules, "conformers": soak.conformers},
        "seconds": round(seconds, 1),
        "rows_per_second": soak.rows / seconds,
        "processes": found,
        "flat": all(one["flat"] for one in found.values()),
    }


def write_molecules(path: Path, soak: Soak) -> None:
    """As many molecules as the rows need, in an order drawn by the seed."""
    lines = random.Random(soak.seed).sample(_species(), soak.molecules)
    path.write_text("\n".join(lines) + "\n", encoding="ascii")


@cache
def _species() -> tuple[str, ...]:
    """SMILES of all molecules there are."""
    chosen = selection(EnumerateConfig(heavy_atoms=HEAVY_ATOMS, rules=RULES))
    return tuple(smiles for piece in chosen.pieces() for smiles in piece.smiles)


def _command(soak: Soak, source: Path, corpus: Path) -> list[str]:
    flags = {
        "molecules": source,
        "out": corpus,
        "conformers": soak.conformers,
        "units": soak.units,
        "workers": soak.workers,
        "grid-level": soak.grid_level,
    }
    words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    return [sys.executable, "-m", "qmgen", "generate", *words]


def _watch(command: list[str], corpus: Path, soak: Soak, tell: Callable[[str], None]) -> tuple[dict[int, _Seen], float]:
    """Run ``command`` and look at its processes until it ends; and the seconds it took."""
    seen: dict[int, _Seen] = {}
    begin = time.monotonic()
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) as run:
        assert run.stderr is not None
        os.set_blocking(run.stderr.fileno(), False)
        said, told = b"", 0.0
        try:
            while run.poll() is None:
                said = (said + (run.stderr.read() or b""))[-4000:]
                rows = _units_done(corpus) * soak.rows / soak.units
                for process in processes(run.pid):
                    seen.setdefault(process.pid, _Seen(process.kind)).looks.append((rows, process))
                if time.monotonic() - told > 30:
                    told = time.monotonic()
                    tell(f"{rows:.0f} of {soak.rows} rows after {told - begin:.0f} s")
                time.sleep(soak.interval)
        except BaseException:
            run.terminate()
            raise
        said += run.stderr.read() or b""
    if run.returncode:
        last = (said.decode(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
        raise QmgenError(f"the run ended with exit code {run.returncode}: {last}")
    return seen, time.monotonic() - begin


def _units_done(corpus: Path) -> int:
    """By the file that a unit writes last."""
    return sum(1 for _ in (corpus / "failures").glob("part-*.parquet"))


def _processes(seen: dict[int, _Seen], rows: int) -> dict[str, Any]:
    """Of the parent, of each worker that lived through the run, and of the embedding helpers (each lives for a unit: of
    them their peaks, one after another, are a series)."""
    found: dict[str, Any] = {}
    peaks: list[tuple[float, float]] = []
    for pid, one in seen.items():
        if one.kind == "embedding":
            peaks.append((one.points[-1][0], max(size for _, size in one.points)))
        elif len(one.points) > 2 and one.points[-1][0] - one.points[0][0] > rows / 2:
            name = one.kind if one.kind == "parent" else f"{one.kind} {pid}"
            found[name] = _about(one.points, rows) | {"cpu_share": one.cpu_share(SETTLED * rows)}
    if len(peaks) > 2:
        found["embedding, peaks"] = _about(sorted(peaks), rows) | {"processes": len(peaks)}
    return found


def _about(points: list[tuple[float, float]], rows: int) -> dict[str, Any]:
    settled = [point for point in points if point[0] >= SETTLED * rows]
    line: Trend = trend(settled or points)
    start, end = line(SETTLED * rows), line(rows)
    return {
        "bytes_after": {f"{part:.0%}": _near(points, part * rows) for part in (0.1, 0.5, 1.0)},
        "bytes_per_1000_rows": line.slope * 1000,
        "bytes_per_1000_rows_error": None if line.slope_error is None else line.slope_error * 1000,
        "growth_bytes": end - start,
        "flat": end - start < FLAT_PART * start + FLAT_BYTES,
        "points": [[round(x), round(y)] for x, y in points],
    }


def _near(points: list[tuple[float, float]], rows: float) -> float:
    """What was resident when the run was nearest to ``rows``; of several looks, the last."""
    return min(reversed(points), key=lambda point: abs(point[0] - rows))[1]


def table(result: dict[str, Any]) -> str:
    """Resident memory of each process over the run, how it grows, and whether that passes for flat."""
    soak, machine = result["soak"], result["machine"]
    lines = [["", "unit", "after 10 %", "50 %", "100 %", "per 1000 rows", "growth", "CPU, cores", "flat"]]
    for name, one in result["processes"].items():
        error = one["bytes_per_1000_rows_error"]
        share = one.get("cpu_share")
        lines.append(
            [name, "MB"]
            + [f"{size / 1e6:.1f}" for size in one["bytes_after"].values()]
            + [f"{one['bytes_per_1000_rows'] / 1e6:+.3f}" + (f" ± {error / 1e6:.3f}" if error is not None else "")]
            + [f"{one['growth_bytes'] / 1e6:+.1f}", "" if share is None else f"{share:.4f}"]
            + ["yes" if one["flat"] else "NO"]
        )
    head = (
        f"{soak['rows']} rows of {soak['molecules']} molecules in {soak['units']} units, grid level "
        f"{soak['grid_level']}, {soak['workers']} workers: {result['seconds']:.0f} s, "
        f"{result['rows_per_second']:.1f} rows/s\n{machine['cpu']}, {machine['usable_cpus']} cores"
    )
    limit = f"growth from {SETTLED:.0%} of the rows to the end below {FLAT_PART:.0%} + {FLAT_BYTES / 1e6:.0f} MB"
    return f"{head}\n\n{aligned(lines, left=(0, 1, -1))}\n\n{limit}: {'holds' if result['flat'] else 'DOES NOT HOLD'}"
