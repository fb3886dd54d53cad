"""All measurements one after another, each in a process of its own, within a number of minutes.

This process never touches the device: a GPU's memory belongs to one process at a time.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Final

from qmgen.benchmark.device.child import MEASUREMENTS
from qmgen.benchmark.provenance import provenance
from qmgen.errors import QmgenError
from qmgen.runtime import environment, labelling_environment

SCHEMA: Final = 1
#: seconds: no measurement is begun with less, and each may finish what it has begun in so many more
LEAST, GRACE = 10.0, 15.0
#: of the time left, what a measurement may take, unless it is the last
SHARES: Final = {"tests": 0.3, "throughput": 0.6}
REST: Final = 0.5
_ROOT: Final = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Options:
    """``only`` and ``skip`` hold names of ``MEASUREMENTS``; ``geometries`` is a file that was read without an error,
    ``keep`` a folder for what a later session goes on with."""

    toy: bool
    minutes: float
    only: tuple[str, ...]
    skip: tuple[str, ...]
    geometries: Path
    keep: Path | None = None

    def wanted(self) -> list[str]:
        """Names in order. The tests are no part of a toy."""
        left_out = {*self.skip, *(("tests",) if self.toy else ())}
        return [name for name in MEASUREMENTS if name not in left_out and (not self.only or name in self.only)]


def run(options: Options, tell: Callable[[str], None]) -> dict[str, Any]:
    """Plain values: provenance, ``device``, ``measurements`` by name with ``entries`` and ``seconds``, and the names
    of those that failed or were skipped.

    Raises ``QmgenError`` where no device can be started.
    """
    begin = perf_counter()
    found: dict[str, Any] = {}

    def left() -> float:
        return 60 * options.minutes - (perf_counter() - begin)

    task: dict[str, Any] = {"toy": options.toy, "geometries": str(options.geometries), "throughput": {}}
    task["keep"] = str(options.keep.resolve()) if options.keep else None
    start = measure("device", task, max(left(), LEAST), tell)
    if "device" not in start["entries"]:
        raise QmgenError(f"no device: {start['entries'].get('whole', {}).get('error', 'JAX did not start')}")
    device = start["entries"]["device"]
    task["accelerator"] = device["accelerator"]
    for name in options.wanted():
        if left() < LEAST:
            tell(f"{name}: skipped, {max(left(), 0):.0f} s are left")
            found[name] = {"skipped": f"{max(left(), 0):.0f} s were left", "entries": {}, "seconds": 0.0}
            continue
        tell(f"{name} ({left():.0f} s left)")
        share = 1.0 if name == options.wanted()[-1] else SHARES.get(name, REST)
        found[name] = measure(name, task, max(share * left(), min(LEAST, left())), tell)
        if name == "throughput":
            entries = found[name]["entries"].items()
            rates = {key: value.get("conformers_per_second", {}).get("median") for key, value in entries}
            task["throughput"] = {key: rate for key, rate in rates.items() if rate}
    return {
        "schema": SCHEMA,
        **provenance(),
        "git_commit": commit(),
        "device": device,
        "toy": options.toy,
        "minutes": options.minutes,
        "geometries": "toy" if options.toy else options.geometries.name,
        "seconds": round(perf_counter() - begin, 1),
        "failed": list(_with("error", found)),
        "skipped": list(_with("skipped", found)),
        "measurements": found,
    }


def measure(name: str, task: dict[str, Any], left: float, tell: Callable[[str], None]) -> dict[str, Any]:
    """``entries`` of one measurement and its ``seconds``; ended when it is not done some time after ``left``."""
    begin = perf_counter()
    entries: dict[str, Any] = {}
    paths = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))
    with environment({**labelling_environment(one_thread=False), "PYTHONPATH": paths}):
        child = subprocess.Popen(
            [sys.executable, "-m", "qmgen.benchmark.device.child", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # what it starts ends with it
        )
    assert child.stdin is not None and child.stdout is not None
    late = threading.Timer(left + GRACE, _end, (child,))
    late.start()
    try:
        child.stdin.write(json.dumps({**task, "left": left}))
        child.stdin.close()
        for line in child.stdout:
            key, entries[key] = json.loads(line)
            if problem := entries[key].get("error"):
                tell(f"  {key}: {problem}")
        code = child.wait()
    except BrokenPipeError:
        code = child.wait()
    finally:
        late.cancel()
        _end(child)
    if code:
        timed_out = perf_counter() - begin >= left + GRACE
        reason = f"not done after {left + GRACE:.0f} s" if timed_out else f"its process ended with exit code {code}"
        entries["whole"] = {"error": reason}
    return {"entries": entries, "seconds": round(perf_counter() - begin, 3)}


def _end(child: subprocess.Popen[str]) -> None:
    """End the child and all it started; nothing where it has ended."""
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGKILL)


def _with(word: str, found: dict[str, Any]) -> Iterator[str]:
    for name, one in found.items():
        if word in one:
            yield name
        yield from (f"{name}: {key}" for key, entry in one["entries"].items() if word in entry)


def commit() -> str | None:
    """The commit of the working tree, with ``+`` where something in it was changed; None outside of one."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(_ROOT), *words], capture_output=True, text=True, timeout=20, check=True)
        return done.stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != _ROOT:
            return None
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None
