"""``qmgen status``, ``verify`` and ``merge`` from the shell: exit codes, what is said, what is data."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from qmgen.cli.main import main
from qmgen.corpus import (
    FAILURES,
    SPLITS,
    config_hash,
    failure_schema,
    failure_table,
    plan,
    row_schema,
    row_table,
    write_manifest,
    write_unit,
)  # fmt: skip

RECIPE = {"xc": "b3lyp5"}
METADATA = {"config_hash": config_hash(RECIPE), "recipe": RECIPE, "level_of_theory": {"xc": "b3lyp5"}}
LAST = "failures/part-00002-of-00003.parquet"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Three units in which every molecule failed, complete."""
    the_plan = plan(6, 1, 3)
    for unit in the_plan:
        tables = {split: row_table([], row_schema(METADATA)) for split in SPLITS}
        about = {"name": "", "smile": "C", "reason": "embedding_failed", "detail": "no geometry", "conformer_id": -1}
        failures = [{"molecule_id": molecule, **about} for molecule in range(unit.start, unit.end)]
        schema = failure_schema({**METADATA, "unit": {"entries": 2, "merged": 0}})
        tables[FAILURES] = failure_table(failures, schema)
        write_unit(tmp_path, unit, tables)
    (tmp_path / "config.toml").write_text("")
    write_manifest(tmp_path, the_plan, METADATA, licence="CC0-1.0", versions={})
    return tmp_path


def test_a_sound_corpus(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command, said in (("verify", "sound, complete"), ("status", "3 of 3 done"), ("merge", "written; complete")):
        assert main([command, str(corpus)]) == 0
        printed = capsys.readouterr()
        assert printed.out == "" and said in printed.err and "\r" not in printed.err  # no bar without a terminal


def test_damage(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (corpus / LAST).write_bytes(b"")
    assert main(["verify", str(corpus)]) == 1
    printed = capsys.readouterr().err
    assert f"damage: {LAST}: cannot be read" in printed and "run the same `qmgen generate` again" in printed
    assert main(["merge", str(corpus)]) == 1
    assert "nothing was written" in capsys.readouterr().err
    assert main(["status", str(corpus)]) == 0


def test_an_unfinished_corpus(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in (LAST, "SHA256SUMS"):
        (corpus / name).unlink()
    assert main(["verify", str(corpus)]) == 1  # the manifest lists it
    assert f"{LAST}: is lost: manifest.json lists it" in capsys.readouterr().err
    (corpus / "manifest.json").unlink()
    (corpus / "runs").mkdir()
    record = {"plan": {"entries": 6, "units": 3, "wanted": 6}, "licence": "CC0-1.0"}
    (corpus / "runs" / "a.json").write_text(json.dumps(record))
    assert main(["merge", str(corpus)]) == 1
    assert "1 work units are missing" in capsys.readouterr().err
    assert main(["verify", str(corpus), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["sound"], report["complete"], report["missing"]) == (True, False, ["00002-of-00003"])
    assert main(["status", str(corpus), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["units_done"], found["units_missing"], found["complete"]) == (2, 1, False)


def test_watching_ends_when_all_is_done(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", str(corpus), "--watch"]) == 0
    assert capsys.readouterr().err == "qmgen: 3 of 3 units, 0 rows, 6 failures; complete\n"
    assert main(["status", str(corpus), "--watch", "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["complete"]


def test_watching_ends_at_ctrl_c(
    corpus: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (corpus / LAST).unlink()
    naps = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", nap)
    assert main(["status", str(corpus), "--watch", "--every", "2.5"]) == 130
    assert naps == [2.5, 2.5] and capsys.readouterr().err.count("2 of 3 units") == 2


@pytest.mark.parametrize("command", ["verify", "merge", "status"])
def test_wrong_directories_and_settings(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    option = ["--every", "0"] if command == "status" else ["--workers", "0"]
    for words, said in (
        ([str(tmp_path / "nowhere")], "is not a directory"),
        ([str(tmp_path)], "is not a qmgen corpus"),
        ([str(tmp_path), *option], f"given as {option[0]}"),
        (["ftp://host/corpus"], "ftp:// is not known"),
    ):
        assert main([command, *words]) == 2
        printed = capsys.readouterr().err
        assert said in printed and printed.count("\n") == 1


@pytest.mark.parametrize("command", ["verify", "merge", "status"])
def test_neither_chemistry_nor_jax_is_imported(command: str, corpus: Path, bare_environment: dict[str, str]) -> None:
    code = f"import sys\nfrom qmgen.cli.main import main\nassert main([{command!r}, {str(corpus)!r}]) == 0\n"
    code += "assert not {'rdkit', 'jax', 'pyscf', 'scipy', 'numba'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], env=bare_environment, capture_output=True, timeout=60, check=True)
