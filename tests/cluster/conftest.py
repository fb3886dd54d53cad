"""A tiny corpus for clusters: eight units, each long enough that a run can be met in the middle of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

#: of four ranks, each does a quick unit and then one that takes longer
SOURCE = """\
[H][H] hydrogen
F fluoride
not-a-smiles broken
N#N nitrogen
O water
C methane
N ammonia
C=O formaldehyde
"""
CONFIG = """\
molecules = ["few.smi"]
out = "the corpus"
grid_level = 0
conformers = 12
units = 8
"""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The configuration file of a run whose corpus will be ``the corpus`` beside it."""
    return _write(tmp_path)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Bytes of every file of the same corpus, made by one process that nothing happened to."""
    folder = tmp_path_factory.mktemp("undisturbed")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("JAX_", "QMGEN_"))}
    environment = {**kept, "QMGEN_CACHE": os.environ["JAX_COMPILATION_CACHE_DIR"], "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-m", "qmgen", "generate", str(_write(folder)), "--workers", "1", "--quiet"]
    subprocess.run(words, env=environment, check=True, timeout=170)
    return corpus_bytes(folder / "the corpus")


def _write(folder: Path) -> Path:
    (folder / "few.smi").write_text(SOURCE)
    path = folder / "run.toml"
    path.write_text(CONFIG)
    return path


def corpus_bytes(directory: Path) -> dict[str, bytes]:
    """Names and contents of all that is in ``data/`` and ``failures/``."""
    files = [*directory.glob("data/*"), *directory.glob("failures/*")]
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}
