"""``model.safetensors``: what a finished training leaves, of any kind of network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import numpy as np

from qmgen.errors import UsageError
from qmgen.learning.training import checkpoint

NAME: Final = "model.safetensors"


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


@contextmanager
def of_this_version(file: Path) -> Iterator[None]:
    """Turns what is missing or odd in a file's contents into one line. Raises ``UsageError``."""
    try:
        yield
    except (checkpoint.Damaged, KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{file} is of another version of qmgen ({error}): train it anew") from error
