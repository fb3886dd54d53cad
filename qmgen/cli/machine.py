"""``qmgen bench`` and ``qmgen doctor``: how fast this machine is, and what it has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qmgen.cli.console import print_json, say
from qmgen.cli.options import AsJson

if TYPE_CHECKING:
    from qmgen.config import BenchConfig

SOMETHING_WRONG = 1


def bench(settings: BenchConfig, as_json: AsJson = False) -> int:
    """Measure how many conformers per second qmgen and PySCF label on this machine.

    Both label the same molecules in one run, in turns, at one grid level after the other. Reported are the speed after
    the first pass, the first pass with its compilation, the time to the first label, and the peak memory.
    """
    from qmgen.benchmark.measure import run
    from qmgen.benchmark.tables import table

    result = run(settings)
    if as_json:
        print_json(result)
    else:
        say(table(result))
    return 0


def doctor(as_json: AsJson = False) -> int:
    """Check versions, devices and caches of this machine.

    Paste the output into a bug report. The exit code is 1 if a check fails.
    """
    from qmgen.doctor import lines, report

    findings = report()
    if as_json:
        print_json(findings)
    else:
        for line in lines(findings):
            say(line)
    return 0 if findings["ok"] else SOMETHING_WRONG
