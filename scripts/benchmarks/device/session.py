"""The command ``scripts/bench_device``: all measurements one after another, each in a process of its own, within a
number of minutes; and the figures as a Markdown table.

This process never touches the device: a GPU's memory belongs to one process at a time.
"""

from __future__ import annotations

import argparse
import json
import math
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

from benchmarks.device.child import MEASUREMENTS
from benchmarks.device.task import SHIPPED, load
from qmgen.errors import QmgenError, UsageError
from qmgen.files import write_json
from qmgen.machine import provenance
from qmgen.runtime import environment, labeling_environment

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
    paths = os.pathsep.join(filter(None, (str(_ROOT), str(_ROOT / "scripts"), os.environ.get("PYTHONPATH"))))
    with environment({**labeling_environment(one_thread=False), "PYTHONPATH": paths}):
        child = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.device.child", name],
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


_UNITS = {"gflops": "GFLOP/s", "gb_s": "GB/s"}


def markdown(result: dict[str, Any]) -> str:
    """A line on the machine, and a row for each entry."""
    device, packages = result["device"], result["versions"]
    head = (
        f"{device['kind']} ({device['platform']}), {result['machine']['cpu']}; jax {packages['jax']}, {result['date']}"
    )
    lines = [head + (", toy" if result["toy"] else ""), "", "| measurement | | |", "|---|---|---|"]
    for name, one in result["measurements"].items():
        if "skipped" in one:
            lines.append(f"| {name} | | skipped: {one['skipped']} |")
        for key, entry in one["entries"].items():
            lines.append(f"| {name} | {key} | {words(entry)} |")
    return "\n".join(lines)


def words(entry: dict[str, Any]) -> str:
    """What one entry found, in a few words."""
    for word in ("error", "skipped"):
        if word in entry:
            return f"{word}: {entry[word]}".replace("|", "/")
    for name, unit in _UNITS.items():
        if name in entry:
            return f"{entry[name]:.1f} {unit}"
    if rates := entry.get("conformers_per_second"):
        spread = f"{rates['median']:.3g} conformers/s ({rates['least']:.3g}–{rates['largest']:.3g})"
        worst = entry["largest_energy_difference"]
        return spread + ("" if worst is None else f", energies within {worst:.1e} Ha of {entry['compared']} stored")
    if "seconds_per_conformer" in entry:
        floor = "" if entry["floor"] is None else f", floor {1e3 * entry['floor']:.3g} ms"
        return f"{1e3 * entry['seconds_per_conformer']:.3g} ms a conformer{floor}"
    if "reckoned" in entry:
        peak = entry["device_peak"]
        shown = "not told" if peak is None else f"{peak / 1e9:.2f} GB"
        return f"device peak {shown}, reckoned {entry['reckoned']['sum'] / 1e9:.2f} GB"
    if "empty_cache" in entry:
        empty, filled = entry["empty_cache"]["seconds"], entry["filled_cache"]["seconds"]
        return f"{empty} s with an empty cache, {filled} s with a filled one"
    if "geometries_per_second" in entry:
        return f"{entry['geometries_per_second']:.3g} geometries/s, compiled in {entry['compile_seconds']:.1f} s"
    if "fp8_product" in entry:
        return fp8_words(entry)
    if "reached" in entry:
        return energy_words(entry)
    if "passed" in entry:
        return f"{entry['passed']} passed, {entry['failed']} failed, {entry['skipped_tests']} skipped"
    return ", ".join(f"{name} {value}" for name, value in entry.items() if name != "seconds")


def fp8_words(entry: dict[str, Any]) -> str:
    """FP8 beside bfloat16."""
    times = ", ".join(
        f"{name} {1e3 * entry[f'{name}_seconds']:.3g} ms ({1e3 * entry[f'{name}_lowest']:.3g}–"
        f"{1e3 * entry[f'{name}_highest']:.3g}, {entry[f'{name}_tflops']:.3g} TFLOP/s)"
        for name in ("bf16", "fp8-amax")
    )
    note = "emulated" if entry["emulated"] else "with FP8 products" if entry["fp8_product"] else "without FP8 products"
    return f"{times}, ratio {entry['ratio']:.2f}, {note}"


def energy_words(entry: dict[str, Any]) -> str:
    """What a training by the energy has come to."""
    errors, plain = entry["excess_meV"], entry["excess_meV_without_correction"]
    step = entry["seconds_per_step"]
    speed = "no step timed" if step is None else f"{1e3 * step:.3g} ms a step of {entry['batch_size']}"
    parts = [f"step {entry['step']} of {entry['steps']}, {speed}, compiled in {entry['compile_seconds'] or 0:.1f} s"]
    for name in errors or {}:
        beside = f" (without a network {plain[name]:.3g})" if plain else ""
        parts.append(f"{errors[name]:.3g} meV{beside} at {name.replace('_', ' ')}")
    return "; ".join([*parts, f"{entry['target_meV']} meV: {entry['reached']}"])


PROGRAM = "bench_device"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override]
        """One line, where argparse would print its usage too."""
        raise UsageError(f"{message}; see --help")


def parser(description: str | None) -> argparse.ArgumentParser:
    """The options; raises ``UsageError`` for wrong input."""
    made = _Parser(PROGRAM, description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--toy", action="store_true", help="three tiny molecules at grid level 0, to see that it runs")
    made.add_argument("--minutes", type=float, default=9.0, help="nothing is begun after that long (default 9)")
    made.add_argument(
        "--only", action="append", default=[], metavar="NAME", help=f"may be repeated: {', '.join(MEASUREMENTS)}"
    )
    made.add_argument("--skip-tests", action="store_true", help="leave out the tests of this tree")
    made.add_argument("--geometries", type=Path, metavar="FILE.npz", help="instead of those that ship")
    made.add_argument("--keep", type=Path, metavar="DIR", help="the training of 'energy' goes on from there next time")
    made.add_argument("--out", type=Path, metavar="FILE", help="all figures as JSON")
    return made


def options_of(given: argparse.Namespace) -> Options:
    """Raises ``UsageError`` for what cannot be measured, before anything is."""
    if not (math.isfinite(given.minutes) and given.minutes > 0):
        raise UsageError("--minutes must be a positive number")
    if unknown := [name for name in given.only if name not in MEASUREMENTS]:
        raise UsageError(f"no measurement is called '{unknown[0]}'; known: {', '.join(MEASUREMENTS)}")
    if given.toy and given.geometries:
        raise UsageError("--toy has its own geometries; leave out --geometries")
    path = given.geometries or SHIPPED
    if not given.toy:
        load(path)
    if given.out is not None and (given.out.is_dir() or (given.out.exists() and not given.out.is_file())):
        raise UsageError(f"--out {given.out} is not a file")
    if given.keep is not None and given.keep.exists() and not given.keep.is_dir():
        raise UsageError(f"--keep {given.keep} is not a directory")
    left_out = ("tests",) if given.skip_tests else ()
    chosen = Options(given.toy, given.minutes, tuple(given.only), left_out, path, given.keep)
    if not chosen.wanted():
        raise UsageError("nothing is left to measure: --toy and --skip-tests leave out 'tests'")
    return chosen


def main(words: list[str], description: str | None = None) -> int:
    """0 done, 1 a measurement failed, 2 wrong input, 130 interrupted."""
    try:
        given = parser(description).parse_args(words)
        options = options_of(given)
        result = run(options, lambda what: print(what, file=sys.stderr, flush=True))
        if given.out is not None:
            write_json(result, given.out, "--out")
    except QmgenError as error:
        for line in error.lines:
            print(f"{PROGRAM}: {line}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    print(markdown(result))
    for name in result["failed"]:
        print(f"{PROGRAM}: {name} failed", file=sys.stderr)
    return 1 if result["failed"] else 0
