"""Output of commands: messages on standard error, data on standard output and only where requested."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import sys
from collections.abc import Mapping
from typing import Any


def say(line: str = "") -> None:
    """Print one line on standard error; where that is closed or full, the line is lost."""
    with contextlib.suppress(OSError):
        print(line, file=sys.stderr, flush=True)


def print_json(value: Any) -> None:
    """``value`` (a mapping or a dataclass) as JSON on standard output; NaN and infinities become null."""
    print(json.dumps(plain(value), indent=2, allow_nan=False))


def open_streams() -> None:
    """Give a process that was started with closed standard streams (``2>&-``) streams again.

    Else the first files that it opens get their numbers, and whatever a library prints lands in these. Standard input
    is empty then, what is said on standard error is lost, and to write to standard output is an error.
    """
    for number, mode in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            handle = os.open(os.devnull, mode)
            if handle != number:
                os.dup2(handle, number)
                os.close(handle)
            os.set_inheritable(number, True)
    sys.stdin = sys.stdin or os.fdopen(0, encoding="utf-8")
    sys.stdout = sys.stdout or os.fdopen(1, "w", encoding="utf-8")
    sys.stderr = sys.stderr or os.fdopen(2, "w", encoding="utf-8")


def forget_output() -> None:
    """Let what is still to be written to standard output go nowhere: the interpreter would complain at its end."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def plain(value: Any) -> Any:
    """Dataclasses, paths and non-finite numbers as what JSON has."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain({field.name: getattr(value, field.name) for field in dataclasses.fields(value)})
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, bool | int | str) or value is None:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value)
