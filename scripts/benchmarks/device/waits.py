"""What needs no device in its own process: the wait for a first label, the tests and the ratio to another program."""

from __future__ import annotations

import importlib.util
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

from benchmarks.device.task import HYDROGEN, Entry, Task
from qmgen.benchmark.engines import Setup
from qmgen.benchmark.measure import first_label
from qmgen.labeling.types import Settings
from qmgen.machine import usable_cores
from qmgen.pipeline.stages import Stages

ROOT: Final = Path(__file__).resolve().parents[3]
TESTED: Final = ("tests/dft", "tests/learning")
_COUNTS: Final = {"passed": "passed", "failed": "failed", "skipped_tests": "skipped", "broken": "error"}
#: share of the time left that the tests may take, and seconds at most
TESTS_SHARE, TESTS_LIMIT = 0.9, 240.0
#: seconds of one molecule: STO-3G, 20 to 31 atoms, on an A100
GPU4PYSCF_SECONDS: Final = (2.4, 4.3)
GPU4PYSCF_SOURCE: Final = (
    "seconds a molecule of 20 to 31 atoms in STO-3G on an A100, from GPU4PySCF's own table as read in "
    "shared/numerics.md; other molecules, grid and card: an order of magnitude, not a race"
)


def wait_for_first_label(task: Task) -> None:
    """Entry ``first label``: see ``benchmark.first_label``. On an accelerator the process keeps all its cores."""
    # Hartree-Fock has no grid: half as much to compile
    settings = Settings(xc="hf") if task.toy else Settings()
    _, (conformer,) = (HYDROGEN if task.toy else task.geometries).of_one_shape(settings, 1)
    setup = Setup(settings, task.scratch / "cache", Stages())
    cores = () if task.accelerator else usable_cores()
    task.entry("first label", lambda: first_label(setup, conformer, cores, task.scratch / "cache", task.tell))


def tests(task: Task) -> None:
    """Entry ``pytest``: counts of what passed, failed and was skipped, and the files that were left out."""
    folders = [ROOT / name for name in TESTED if (ROOT / name).is_dir()]
    if importlib.util.find_spec("pytest") is None or not folders:
        task.put("pytest", {"skipped": "pytest is not installed" if folders else "this installation has no tests"})
        return
    limit = max(min(TESTS_SHARE * task.left(), TESTS_LIMIT), 1.0)
    task.entry("pytest", lambda: run_tests(folders, limit))


def run_tests(folders: list[Path], limit: float) -> Entry:
    """Counts, and ``error`` where a test failed. Raises ``RuntimeError`` where ``limit`` seconds are not enough."""
    missing = [name for name in ("pyscf", "rdkit") if importlib.util.find_spec(name) is None]
    files = sorted(path for folder in folders for path in folder.rglob("test_*.py"))
    left_out = [path for path in files if needs(path, missing)]
    chosen = [str(path.relative_to(ROOT)) for path in files if path not in left_out]
    command = [sys.executable, "-m", "pytest", "-q", "-m", "not slow", "-p", "no:cacheprovider", *chosen]
    # this tree is on the PYTHONPATH already: session put it there
    try:
        done = subprocess.run(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=limit, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"not done after {limit:.0f} s") from error
    last = done.stdout.strip().splitlines()[-1] if done.stdout.strip() else ""
    counts = {word: int(n) for n, word in re.findall(r"(\d+) (passed|failed|skipped|error)", last)}
    # "skipped" and "error" of an entry say that it has no figures
    entry: Entry = {name: counts.get(word, 0) for name, word in _COUNTS.items()}
    entry |= {"python": platform.python_version(), "missing": missing, "left_out": [path.name for path in left_out]}
    if done.returncode:
        failed = re.findall(r"^(?:FAILED|ERROR) (.*)$", done.stdout, re.MULTILINE)
        entry["error"] = " ".join(f"exit code {done.returncode}: {'; '.join(failed) or last}".split())[:2000]
    return entry


def needs(path: Path, missing: list[str]) -> bool:
    """Whether a file of tests speaks of a module that is missing, or of what needs RDKit behind the scenes."""
    words = [*missing, *(["molecules.embedding", "from_smiles"] if "rdkit" in missing else [])]
    text = path.read_text(encoding="utf-8")
    return any(word in text for word in words)


def gpu4pyscf(task: Task) -> None:
    """Entry ``ratio``: conformers a second at grid level 3, the nearest to its own, times its seconds a molecule."""
    rate = task.throughput.get("level 3")
    if rate is None or not task.accelerator:
        task.put("ratio", {"value": None, "note": "no throughput at grid level 3 on an accelerator to compare with"})
        return
    task.put("ratio", {"value": [rate * seconds for seconds in GPU4PYSCF_SECONDS], "note": GPU4PYSCF_SOURCE})
