"""A list of molecules against a rule set."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from qmgen.errors import UsageError
from qmgen.molecules.rules.ruleset import check_lines, load_rules


def check(file: str, rules: str, tautomers: str) -> Iterator[tuple[str, str]]:
    """SMILES and verdict of each line of ``file`` (``-``: standard input). Raises ``UsageError`` if it cannot be
    read."""
    chosen = load_rules(rules)
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror or error}; give a file of SMILES") from error
    except UnicodeDecodeError:
        raise UsageError(f"cannot read {file}: it is not UTF-8 text") from None
    yield from check_lines(text.splitlines(), chosen, tautomers)
