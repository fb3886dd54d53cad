"""A tiny corpus for clusters: eight units, each long enough that a run can be met in the middle of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = """\
[H][H] hydrogen
O water
N ammonia
C methane
C=O formaldehyde
CO methanol
not-a-smiles broken
C#N cyanide
"""
CONFIG = """\
molecules = ["few.smi"]
out = "the corpus"
grid_level = 0
conformers = {conformers}
units = 8
"""

#: the reference is computed once for both engines, and takes a third of the time of either
CONFORMERS = 60


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The configuration file of a run whose corpus will be ``the corpus`` beside it."""
    (tmp_path / "few.smi").write_text(SOURCE)
    path = tmp_path / "run.toml"
    path.write_text(CONFIG.format(conformers=CONFORMERS))
    return path


@pytest.fixture
def undisturbed(run: Path, bare_environment: dict[str, str]) -> dict[str, bytes]:
    """Bytes of every file of the same corpus, made by one process that nothing happened to."""
    out = run.parent / "undisturbed"
    words = [sys.executable, "-m", "qmgen", "generate", str(run), "--out", str(out), "--workers", "1", "--quiet"]
    subprocess.run(words, env=bare_environment, check=True, timeout=120)
    return corpus_bytes(out)


def corpus_bytes(directory: Path) -> dict[str, bytes]:
    """Names and contents of all that is in ``data/`` and ``failures/``."""
    files = [*directory.glob("data/*"), *directory.glob("failures/*")]
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}
