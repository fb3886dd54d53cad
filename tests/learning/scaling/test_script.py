"""``scripts/train_scaling``: which commands it gives, with a stand-in for qmgen; and its toy form, the real one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = ROOT / "scripts" / "train_scaling"


def stand_in(folder: Path, body: str) -> dict[str, str]:
    """An environment in which the script's qmgen is a shell script."""
    program = folder / "qmgen"
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)
    return {**os.environ, "QMGEN": str(program)}


def test_the_recipe(tmp_path: Path) -> None:
    environment = stand_in(tmp_path, f'echo "$@" >> {tmp_path}/log')
    subprocess.run([SCRIPT, "--out", tmp_path / "o", "--preset", "small"], env=environment, check=True)
    asked, generate, enumerate_, extend, train = (tmp_path / "log").read_text().splitlines()
    assert asked == "train schnet --preset small --help"
    corpus, more = tmp_path / "o" / "corpus", tmp_path / "o" / "more.smi"
    recipe = f"generate {ROOT}/configs/schnet-corpus.toml"
    assert generate == f"{recipe} --out {corpus}"
    assert enumerate_ == f"enumerate --heavy-atoms 9 --rules gdb11 --sample 14000 --seed 1 --out {more}"
    assert extend == f"{recipe} --molecules {more} --extend --out {corpus}"
    assert train.startswith(f"train schnet --data {corpus} --target y --out {tmp_path}/o/run ")
    assert train.endswith("--preset tiny --rows 100,300,1k,3k,10k --seeds 3 --preset small")  # the last one counts


def test_what_was_stopped_ends_with_75_and_trains_nothing(tmp_path: Path) -> None:
    environment = stand_in(tmp_path, f'echo "$1" >> {tmp_path}/log; [ "$1" = train ] || exit 75')
    assert subprocess.run([SCRIPT], env=environment, cwd=tmp_path).returncode == 75
    assert (tmp_path / "log").read_text() == "train\ngenerate\n"


def test_a_wrong_flag_is_said_before_anything_is_generated(tmp_path: Path) -> None:
    environment = stand_in(tmp_path, f'echo "$@" >> {tmp_path}/log; exit 2')
    done = subprocess.run([SCRIPT, "--rwos", "3", "--toy", "--out", "here"], env=environment, cwd=tmp_path)
    assert done.returncode == 2
    assert (tmp_path / "log").read_text() == "train schnet --rwos 3 --help\n"


def test_the_corpus_of_the_recipe_is_one_that_generate_takes(tmp_path: Path) -> None:
    from qmgen.config.generate import GenerateConfig
    from qmgen.config.sources import read_file

    recipe = read_file(GenerateConfig, ROOT / "configs" / "schnet-corpus.toml")
    assert recipe["enumerate"] == "9" and recipe["sample"] == 16000 and recipe["validation_fraction"] == 0.1


@pytest.mark.slow
def test_the_toy_runs_to_its_end(tmp_path: Path) -> None:
    environment = stand_in(tmp_path, f'PYTHONPATH={ROOT} exec {sys.executable} -m qmgen "$@"')
    done = subprocess.run([SCRIPT, "--toy", "--out", tmp_path / "o"], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "o" / "run" / "scaling.json").read_text())
    assert [len(point["seeds"]) for point in found["targets"]["y"]["points"]] == [2, 2]
    assert (tmp_path / "o" / "run" / "scaling.png").read_bytes().startswith(b"\x89PNG")
