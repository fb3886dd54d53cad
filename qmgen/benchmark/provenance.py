"""What every published figure needs beside it: when, where, with what, by which command; and the file it goes to."""

from __future__ import annotations

import json
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from qmgen.errors import UsageError
from qmgen.machine import machine, versions


def provenance() -> dict[str, Any]:
    """``date`` (UTC, ISO 8601), ``command``, ``machine`` and ``versions``, as plain values."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "machine": machine(),
        "versions": versions(),
    }


def write_json(result: dict[str, Any], path: Path, flag: str) -> Path:
    """``result`` into ``path``. Raises ``UsageError`` when it cannot be written, with the ``flag`` to change."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}; choose another {flag}") from error
    return path
