"""Corpora written by an earlier version of the package, rows of schema version 2: read, continued, extended, retried.

``fixtures/corpus_format_2`` holds ``whole`` (two molecules that failed, an extension by ``b.smi``, a retry that gained
nothing) and ``half`` (stopped by a signal with two of four work units written).
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import qmgen

FIXTURES = Path(__file__).parent / "fixtures" / "corpus_format_2"
#: eV, as the earlier version wrote them
ENERGIES = {
    "C": -1088.581475,
    "O": -2048.772897,
    "CO": -3105.230604,
    "C#N": -2507.499645,
    "[H][H]": -31.486911,
    "C=O": -3072.36961,
    "F": -2691.308768,
    "O=O": -4031.137859,
}
HASH_OF_HALF = "fd74ede08f655ea05272f26d72d869810a14b0646ac8c21d5f2fd81726c9c599"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy with the sources beside it, as the settings of the corpora name them: relative to the working folder."""
    return Path(shutil.copytree(FIXTURES, tmp_path / "copy"))


@pytest.fixture
def run(folder: Path, bare_environment: dict[str, str]) -> Any:
    """``run("verify", "whole")``: the finished process."""

    def command(*args: str, expected: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "qmgen", *args], cwd=folder, env=bare_environment, capture_output=True, text=True
        )
        assert done.returncode == expected, done.stderr
        return done

    return command


def digests(folder: Path) -> dict[str, str]:
    """Of the files that hold rows and failures."""
    files = [*folder.glob("data/*.parquet"), *folder.glob("failures/*.parquet")]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_load() -> None:
    table = qmgen.load(FIXTURES / "whole")
    energies = dict(zip(table["smile"].to_pylist(), table["energy"].to_pylist()))
    assert table.num_rows == 14
    # six decimals are written above
    assert {key: round(energies[key], 6) for key in ENERGIES} == ENERGIES


def test_status_and_verify(run: Any) -> None:
    status = json.loads(run("status", "whole", "--json").stdout)
    assert status["complete"] and status["rows"] == 14 and status["failures"] == 2
    assert not json.loads(run("status", "half", "--json").stdout)["complete"]
    assert "sound, complete" in run("verify", "whole").stderr
    run("verify", "half")


def test_half_is_continued(run: Any, folder: Path) -> None:
    before = digests(folder / "half")
    run("generate", "--molecules", "a.smi", "--units", "4", "--out", "half", "--grid-level", "0", "--quiet")
    after = digests(folder / "half")
    assert before.items() <= after.items() and len(after) == 16
    manifest = json.loads((folder / "half" / "manifest.json").read_text())
    assert manifest["complete"] and manifest["config_hash"] == HASH_OF_HALF
    table = qmgen.load(folder / "half")
    energies = dict(zip(table["smile"].to_pylist(), table["energy"].to_pylist()))
    # 3e-8 eV: both runs end within 1e-9 Ha of the minimum
    assert {key: energies[key] for key in ENERGIES} == pytest.approx(ENERGIES, abs=5e-7 + 3e-8)
    columns = {tuple(pq.read_schema(path).names) for path in (folder / "half" / "data").glob("*.parquet")}
    assert len(columns) == 1, "all shards of a corpus have the columns that it began with"
    assert "sound, complete" in run("verify", "half").stderr


def test_whole_is_extended_and_retried(run: Any, folder: Path) -> None:
    before = digests(folder / "whole")
    (folder / "c.smi").write_text("OF\nFF\n")
    sources = [argument for name in ("a.smi", "s.xyz", "b.smi", "c.smi") for argument in ("--molecules", name)]
    settings = ["--units", "2", "--out", "whole", "--grid-level", "0", "--max-cycles", "1", "--quiet"]
    run("generate", *sources, *settings, "--extend")
    assert qmgen.load(folder / "whole").num_rows == 16
    run("retry", "whole", "--max-cycles", "2", "--quiet")
    after = digests(folder / "whole")
    assert before.items() <= after.items() and len(after) > len(before)
    assert "sound, complete" in run("verify", "whole").stderr
    assert qmgen.load(folder / "whole").num_rows == 16


@pytest.mark.slow
def test_validate_train_and_evaluate(run: Any, folder: Path) -> None:
    run("validate", "whole", "--sample", "3")
    training = ["--preset", "tiny", "--steps", "4", "--validation-fraction", "0.3", "--out", "run", "--quiet"]
    run("train", "schnet", "--data", "whole", *training)
    errors = json.loads(run("evaluate", "run", "--data", "whole", "--split", "train", "--json").stdout)
    assert errors
