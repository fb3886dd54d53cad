"""``model.safetensors``: what a finished training leaves, of any kind of network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, TypeVar, get_origin, get_type_hints

import numpy as np

from qmgen.errors import UsageError, first_line
from qmgen.learning.training import checkpoint

NAME: Final = "model.safetensors"
#: bounds of what a file may state; the largest preset has 80 layers, and 50 257 tokens
MOST_LAYERS: Final = 1024
LARGEST_SIZE: Final = 2**20
_DEPTHS: Final = ("layers", "interactions")

Shape = TypeVar("Shape")


@dataclass(frozen=True)
class ModelFile:
    """Arrays by name, metadata (plain values), and the SHA-256 of the file at ``path``."""

    path: Path
    arrays: dict[str, np.ndarray]
    about: dict[str, Any]
    checksum: str


def read_model(file: Path, kind: str, noun: str, command: str) -> ModelFile:
    """What ``command`` wrote to ``file``, whose metadata say that it is a ``kind``: ``noun`` for people.

    Raises ``UsageError`` with one line where it is damaged, cannot be read, or is something else.
    """
    try:
        arrays, about = checkpoint.read(file)
        checksum = sha256(file.read_bytes()).hexdigest()
    except checkpoint.Damaged as error:
        raise UsageError(f"{error}: give a {NAME} that `{command}` wrote") from error
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}") from error
    if (found := about.get("kind")) != kind:
        found = found or "checkpoint of a training"
        raise UsageError(f"{file} is no {noun} (it is a {found}): give a {NAME} that `{command}` wrote")
    return ModelFile(file, arrays, about, checksum)


def shape_of(kind: type[Shape], stated: Any) -> Shape:
    """The sizes of a network as ``stated`` in its file. Raises ``TypeError`` or ``ValueError`` for what no network has:
    the numbers are bounded before anything is made of them."""
    if not isinstance(stated, dict):
        raise TypeError("its sizes are no table")
    hints = get_type_hints(kind)
    for name, value in stated.items():
        if name not in hints:
            raise ValueError(f"it states {name}")
        if hints[name] is int:
            most = MOST_LAYERS if name in _DEPTHS else LARGEST_SIZE
            if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
                raise ValueError(f"it states {name} = {str(value)[:40]}, and a network has at most {most}")
        elif hints[name] is float:
            if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < LARGEST_SIZE:
                raise ValueError(f"it states {name} = {str(value)[:40]}")
        elif not isinstance(value, get_origin(hints[name]) or hints[name]):
            raise TypeError(f"it states {name} = {str(value)[:40]}")
    return kind(**stated)


def require(about: dict[str, Any], **kinds: type | tuple[type, ...]) -> None:
    """Raise ``KeyError`` or ``TypeError`` where metadata lack one of the names, or hold another type of value."""
    for name, kind in kinds.items():
        if not isinstance(about[name], kind):
            raise TypeError(f"its {name} is a {type(about[name]).__name__}")


@contextmanager
def of_this_version(file: Path) -> Iterator[None]:
    """Turns what is missing or odd in a file's contents into one line. Raises ``UsageError``."""
    try:
        yield
    except (checkpoint.Damaged, LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
        said = f"no {error}" if isinstance(error, KeyError) else first_line(error)
        raise UsageError(f"{file} is of another version of qmgen ({said}): train it anew") from error
