"""``qmgen doctor``: what this machine has."""

from __future__ import annotations

from typing import Annotated

import typer

from qmgen.cli.talk import print_json, say

SOMETHING_WRONG = 1


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="The findings as JSON on standard output.")] = False,
) -> int:
    """Versions, devices and caches, with a check of each.

    What to paste into a bug report. Exit code 1 if a check fails.
    """
    from qmgen.doctor import lines, report

    findings = report()
    if as_json:
        print_json(findings)
    else:
        for line in lines(findings):
            say(line)
    return 0 if findings["ok"] else SOMETHING_WRONG
