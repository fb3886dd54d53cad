"""The commands as a user types them, on molecules small enough for a test: one corpus, made once, then judged."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from qmgen.cli.main import main

ROOT = Path(__file__).resolve().parents[2]

SOURCE = """\
O water
C=O formaldehyde
N ammonia
[NH4+] ammonium
not-a-smiles broken
"""
GENERATE = ["generate", "--molecules", "few.smi", "--out", "corpus", "--grid-level", "0", "--workers", "1"]

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("user")
    (folder / "few.smi").write_text(SOURCE)
    return folder


@pytest.fixture(scope="module")
def run(place: Path) -> Run:
    """Runs qmgen in ``place`` as a shell would: without the switches of the test session."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("JAX_", "QMGEN_"))}
    environment = {**kept, "QMGEN_CACHE": os.environ["JAX_COMPILATION_CACHE_DIR"], "PYTHONPATH": str(ROOT)}

    def go(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "qmgen", *words]
        return subprocess.run(
            command, cwd=place, env=environment, capture_output=True, text=True, timeout=600, check=False
        )

    return go


@pytest.fixture(scope="module")
def generated(run: Run) -> subprocess.CompletedProcess[str]:
    return run(*GENERATE, "--json")


def test_generate_labels_what_it_can_and_counts_the_rest(generated: subprocess.CompletedProcess[str]) -> None:
    assert generated.returncode == 0, generated.stderr
    summary = json.loads(generated.stdout)
    assert (summary["rows"], summary["molecules"]) == (3, 3)
    assert summary["failures"] == {"net_charge": 1, "unreadable": 1}


def test_validate_agrees(generated: subprocess.CompletedProcess[str], run: Run, place: Path) -> None:
    done = run("validate", "corpus", "--sample", "3", "--out", "judged")
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert json.loads((place / "judged" / "validation.json").read_text())["passed"] is True
    assert (place / "judged" / "validation.png").stat().st_size > 0


def test_validate_exits_1_when_a_tolerance_is_passed(generated: subprocess.CompletedProcess[str], run: Run) -> None:
    done = run("validate", "corpus", "--sample", "1", "--out", "strict", "--tol-energy", "1e-300")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


def test_the_same_command_again_has_nothing_to_do(generated: subprocess.CompletedProcess[str], run: Run) -> None:
    again = run(*GENERATE)
    assert again.returncode == 0, again.stderr
    assert "nothing was left to do" in again.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((*GENERATE, "--xc", "pbe"), "corpus holds another corpus"),
        (("generate", "--molecules", "few.smi", "--out", "other", "--xc", "b3lpy"), "did you mean 'b3lyp"),
        (("generate", "--molecules", "few.smi", "--out", "other", "--basis", "sto3g2"), "sto-3g"),
        (("generate", "--molecules", "none.smi", "--out", "other"), "none.smi"),
        (("generate", "--molecules", "empty.smi", "--out", "other"), "empty.smi"),
        (("generate", "--molecules", "few.doc", "--out", "other"), "few.doc"),
        (("generate", "--molecules", "few.smi", "--out", "few.smi"), "few.smi is a file"),
        (("validate", "nowhere"), "nowhere"),
    ],
    ids=["another corpus", "functional", "basis", "missing", "empty", "format", "a file", "no corpus"],
)
def test_what_cannot_work_is_refused_in_one_line_before_any_work(
    words: tuple[str, ...],
    message: str,
    generated: subprocess.CompletedProcess[str],
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(place)
    Path("empty.smi").write_text("")
    Path("few.doc").write_text(SOURCE)
    assert main(words) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert message in printed.err
    assert printed.err.count("\n") == 1
    assert not Path("other").exists()
