"""``qmgen train energy`` and ``labels`` as they are typed: what they write, and each mistake as one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from few_molecules import system, write_xyz

from qmgen.cli.main import main
from qmgen.learning.training import checkpoint

SHORT = ["--model", "blocks-tiny", "--steps", "2", "--batch-size", "4", "--monitor", "4"]
SHORT += ["--validation-fraction", "0.25"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("command")
    write_xyz(folder / "water.xyz", [system("water", seed) for seed in range(24)])
    write_xyz(folder / "one.xyz", [system("water")])
    (folder / "radical.xyz").write_text("1\n\nH 0 0 0\n")
    (folder / "full").mkdir()
    (folder / "full/mine.txt").write_text("mine")
    checkpoint.save(folder / "schnet.safetensors", {}, {"kind": "schnet"})
    return folder


def typed(place: Path, *words: str, source: str | None = "water.xyz", out: str = "run") -> list[str]:
    given = ["--molecules", str(place / source)] if source else []
    return ["train", "energy", *given, "--out", str(place / out), *SHORT, *words]


def test_what_is_written_and_said(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(typed(place)) == 0
    told = capsys.readouterr()
    assert "18 geometries to learn from, 6 held out, 4 of them watched" in told.err
    assert "excess energy in meV over 4 converged references" in told.err
    assert (place / "run/excess.png").read_bytes().startswith(b"\x89PNG")
    assert main(typed(place, "--json")) == 0
    told = capsys.readouterr()
    assert json.loads(told.out) == json.loads((place / "run/result.json").read_text())
    assert main(typed(place, "--quiet")) == 0
    told = capsys.readouterr()
    assert told.out == told.err == ""


def test_the_time_limit_has_an_exit_code_of_its_own(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(typed(place, "--time-limit", "1e-9", out="late")) == 75
    assert "the same command continues" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "source", "said"),
    [
        ([], None, "--molecules or from --data: give one"),
        (["--data", "{place}"], "water.xyz", "--molecules or from --data: give one"),
        (["--model", "blocks-huge"], "water.xyz", "no network is called 'blocks-huge': choose from blocks-tiny"),
        (["--model", "blocks-tiny", "--published-form"], "water.xyz", "--published-form is for the qpt networks"),
        (["--xc", "b4lyp"], "water.xyz", "b4lyp"),
        (["--basis", "sto-4g"], "water.xyz", "sto-4g"),
        (["--refine", "4"], "water.xyz", "refine"),
        (["--steps", "0"], "water.xyz", "steps"),
        (["--validation-fraction", "1"], "water.xyz", "validation_fraction"),
        (["--held-out", "atoms"], "water.xyz", "held_out"),
        ([], "missing.xyz", "missing.xyz"),
        ([], "radical.xyz", "no geometry to learn from"),
        ([], "one.xyz", "cannot be split into training and validation"),
        (["--held-out", "molecules"], "water.xyz", "hold out single geometries instead"),
        (["--data", "{place}/nowhere"], None, "nowhere"),
        (["--data", "{place}/full"], None, "full"),
        (["--init", "{place}/nowhere"], "water.xyz", "no trained network"),
        (["--init", "{place}/schnet.safetensors"], "water.xyz", "is no trained Hamiltonian"),
        (["--out", "{place}/full"], "water.xyz", "not empty, and not of `qmgen train`"),
        (["--out", "{place}/one.xyz"], "water.xyz", "is a file: choose another --out"),
        (["--limit", "0"], "water.xyz", "limit"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(
    place: Path, words: list[str], source: str | None, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [word.format(place=place) for word in words]
    before = sorted(place.rglob("*"))
    for command in ("energy", "labels"):
        line = typed(place, *given, source=source, out="wrong")
        line[1] = command
        assert main(line) == 2
        told = capsys.readouterr()
        lines = told.err.strip().splitlines()
        assert len(lines) == 1 and lines[0].startswith("qmgen: ") and said in lines[0]
        assert told.out == ""
    assert [path for path in sorted(place.rglob("*")) if path.name != ".lock"] == before  # nothing was begun


def test_labels_have_settings_of_their_own(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = typed(place, "--loss", "l3", out="wrong")
    line[1] = "labels"
    assert main(line) == 2
    assert "loss" in capsys.readouterr().err
    assert main(typed(place, "--loss", "l1", out="wrong")) == 2  # `train energy` reads no label
