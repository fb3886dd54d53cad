"""Helpers for the room's tests: write a file, read it, split what came."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from qmgen.molecules.readers import read_molecules
from qmgen.molecules.types import Failure, Molecule


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., list[Molecule | Failure]]:
    """``read(file_name, text_or_bytes)``: what the reader makes of a file with this content."""

    def write_and_read(name: str, content: str | bytes, **options: str) -> list[Molecule | Failure]:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return list(read_molecules(path, **options))

    return write_and_read
