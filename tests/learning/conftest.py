"""Corpora whose labels are simple functions of the geometry, so that a small network can learn them in seconds."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from toy_corpus import write_corpus


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of 200 training, 40 validation and 40 test rows, with forces."""
    return write_corpus(tmp_path_factory.mktemp("toy") / "corpus")
