"""The command line of ``scripts/bench_device``."""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

from qmgen.benchmark.device import geometries
from qmgen.benchmark.device.child import MEASUREMENTS
from qmgen.benchmark.device.render import markdown
from qmgen.benchmark.device.session import Options, run
from qmgen.benchmark.provenance import write_json
from qmgen.errors import QmgenError, UsageError

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
    path = given.geometries or geometries.SHIPPED
    if not given.toy:
        geometries.load(path)
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
