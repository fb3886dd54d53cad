"""The commands on an object store: three tiny molecules, real chemistry, moto's server on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qmgen.cli.main import main

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path, bare_environment: dict[str, str], object_server: Any, credentials: None) -> Run:
    """``qmgen`` in a process of its own that finds the server by AWS_ENDPOINT_URL."""
    ours = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    kept = {name: value for name, value in bare_environment.items() if not name.startswith("AWS_")}
    environment = kept | ours | {"AWS_ENDPOINT_URL": f"http://{object_server.address}", "AWS_REGION": "us-east-1"}

    def go(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "qmgen", *words]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600, check=False
        )

    return go


def test_generate_and_validate(run: Run, tmp_path: Path) -> None:
    (tmp_path / "few.smi").write_text("O water\nC methane\nN ammonia\n")
    place = f"s3://bucket/{tmp_path.name}/few"
    words = ("generate", "--molecules", "few.smi", "--grid-level", "0", "--workers", "1", "--out", place)
    made = run(*words, "--json")
    assert made.returncode == 0, made.stderr
    summary = json.loads(made.stdout)
    assert (summary["rows"], summary["complete"], summary["directory"]) == (3, True, place)
    judged = run("validate", place, "--sample", "2", "--out", "judged")
    assert judged.returncode == 0, judged.stderr
    report = json.loads((tmp_path / "judged" / "validation.json").read_text())
    assert report["passed"] is True and report["directory"] == place and report["rows"]["compared"] == 2
    again = run(*words)
    assert again.returncode == 0 and "nothing was left to do" in again.stderr
    assert f"qmgen validate {place} --sample 20" in again.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["few.smi", "judged"]


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("s3://nobucket/x", "bucket does not exist (NO_SUCH_BUCKET)"),
        ("s3://bucket/nothing", "s3://bucket/nothing is not a qmgen corpus"),
        ("s3://AKIA:se/cret@bucket/x", "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY instead"),
        ("sftp://host/x", "sftp:// is not known: use s3://, gs:// or a directory"),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(
    place: str,
    message: str,
    object_server: Any,
    credentials: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    query = f"?endpoint_override={object_server.address}&scheme=http" if place.startswith("s3://") else ""
    assert main(["validate", place + query, "--sample", "1"]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1
    assert message in printed.err and "cret" not in printed.err
