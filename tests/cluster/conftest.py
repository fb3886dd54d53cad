"""A tiny corpus for clusters: eight units, each long enough that a run can be met in the middle of it."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]

#: eight units in four shapes, for a program is compiled for each; of four ranks, each does one of the first half first
SOURCE = """\
[H][H] hydrogen
not-a-smiles broken
N#N nitrogen
[C-]#[O+] carbon monoxide
FF fluorine
O water
C#N cyanide
OF hypofluorous acid
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


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Bytes of every file of the same corpus, made by one process that nothing happened to; once for all processes of
    pytest-xdist, whose temporary folders lie in one."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "undisturbed"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "done").exists():
            kept = {name: value for name, value in os.environ.items() if not name.startswith(("JAX_", "QMGEN_"))}
            environment = {**kept, "QMGEN_CACHE": os.environ["JAX_COMPILATION_CACHE_DIR"], "PYTHONPATH": str(ROOT)}
            words = [sys.executable, "-m", "qmgen", "generate", str(_write(folder)), "--workers", "1", "--quiet"]
            subprocess.run(words, env=environment, check=True, timeout=400)
            (folder / "done").touch()
    return _corpus_bytes(folder / "the corpus")


def _write(folder: Path) -> Path:
    (folder / "few.smi").write_text(SOURCE)
    path = folder / "run.toml"
    path.write_text(CONFIG)
    return path


@pytest.fixture(scope="module")
def slurm() -> Iterator[Any]:
    """A Slurm of the tests' own (``slurm_here.Slurm``); skips them where there is none to start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("SLURM_CONF", raising=False)  # the tests themselves may run in a job
        patch.syspath_prepend(str(Path(__file__).parent))
        from slurm_here import slurm_here

        with slurm_here() as running:
            yield running


@pytest.fixture
def corpus_bytes() -> Callable[[Path], dict[str, bytes]]:
    """Names and contents of all that is in ``data/`` and ``failures/`` of a corpus."""
    return _corpus_bytes


def _corpus_bytes(directory: Path) -> dict[str, bytes]:
    files = [*directory.glob("data/*"), *directory.glob("failures/*")]
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}
