"""A network as the first guess of a run: what names it, what the hash covers, who opens it, what is said of it."""

from __future__ import annotations

import json
import shutil
import tomllib
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pipeline_fakes
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file

import qmgen
from qmgen.config import GenerateConfig, resolve
from qmgen.config.generate import RetryConfig
from qmgen.corpus import open_corpus
from qmgen.corpus.merge import merge
from qmgen.corpus.schema import decode
from qmgen.errors import QmgenError, UsageError
from qmgen.molecules.types import Molecule
from qmgen.pipeline import level as learned_module
from qmgen.pipeline.estimate import estimate
from qmgen.pipeline.retry import retry
from qmgen.pipeline.run import generate
from qmgen.pipeline.stages import Stages
from qmgen.progress import RunProgress

Config = Callable[..., GenerateConfig]


def write_run(folder: Path, weight: float = 1.0, xc: str = "b3lyp5", basis: str = "sto-3g", **about: Any) -> Path:
    """A run with a network of one weight."""
    folder.mkdir(parents=True, exist_ok=True)
    known = {"kind": "energy", "level_of_theory": {"xc": xc, "basis": basis}, **about}
    save_file({"w": np.array([weight])}, folder / "model.safetensors", {"qmgen": json.dumps(known)})
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "runs" / "trained")


@pytest.fixture
def guessing(stages: Stages) -> Stages:
    return stages.replace(guess=pipeline_fakes.open_guess, label=pipeline_fakes.label_guessed)


def checksum(folder: Path) -> str:
    return sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def manifest(corpus: Path | str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(corpus) / "manifest.json").read_text())
    return found


def test_a_run_says_which_network_began_it_and_what_that_took(
    config: Config, guessing: Stages, lines: RunProgress, run: Path
) -> None:
    settings = config(["C_0", "CC_1", "CCC_2", "CCCC_3"], guess=str(run), units=2)
    summary = generate(settings, lines, guessing)
    corpus = open_corpus(settings.out)
    # 9 cycles each by the stand-in: three of four save 4
    assert sorted(corpus.table()["cycles"].to_pylist()) == [5, 5, 5, 9]
    assert summary.mean_cycles == 6.0 and summary.guess_seconds == 1.0 and summary.guess_fallbacks == 1
    assert "6.0 cycles a row; the learned guess took 1 s" in summary.text() and "1 begun without it" in summary.text()
    named = {"run": "trained", "sha256": checksum(run)}
    assert manifest(settings.out)["guess"] == named
    assert manifest(settings.out)["recipe"]["guess"] == f"network:{checksum(run)}"
    (record,) = (json.loads(path.read_text()) for path in (Path(settings.out) / "runs").glob("*.json"))
    assert (record["guess"], record["mean_cycles"], record["guess_seconds"]) == (named, 6.0, 1.0)
    for path in (Path(settings.out) / "data").glob("*.parquet"):
        metadata = decode(pq.read_schema(path).metadata)
        assert metadata["recipe"]["guess"] == f"network:{checksum(run)}"
        assert "trained" not in str(metadata)  # where it lay, and under which name, is not in the rows' files


def test_without_one_nothing_is_said_of_it(config: Config, guessing: Stages, lines: RunProgress) -> None:
    settings = config(["C_0", "CC_1"])
    summary = generate(settings, lines, guessing)
    assert summary.mean_cycles == 9.0 and summary.guess_seconds is None
    assert "9.0 cycles a row" in summary.text() and "learned" not in summary.text()
    assert "guess" not in manifest(settings.out) and manifest(settings.out)["recipe"]["guess"] == "atoms"


def test_every_worker_opens_it_once(
    config: Config, guessing: Stages, lines: RunProgress, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = tmp_path / "opened"
    monkeypatch.setenv("QMGEN_TEST_OPENED", str(told))
    generate(config(guess=str(run), units=8, workers=2), lines, guessing)
    opened = told.read_text().split()
    assert len(opened) == len(set(opened)) and 1 <= len(opened) <= 2
    generate(config(guess=str(run), units=8, workers=2), lines, guessing)  # nothing left to do: nobody does
    assert told.read_text().split() == opened


def test_the_hash_covers_the_weights_and_not_their_place(
    config: Config, guessing: Stages, lines: RunProgress, run: Path, tmp_path: Path
) -> None:
    settings = config(["C_0", "CC_1"], guess=str(run))
    generate(settings, lines, guessing)
    before = manifest(settings.out)
    elsewhere = shutil.move(run, tmp_path / "elsewhere")
    again = generate(config(["C_0", "CC_1"], guess=str(elsewhere)), lines, guessing)
    assert again.run_units == 0 and manifest(settings.out)["config_hash"] == before["config_hash"]
    assert manifest(settings.out)["guess"]["run"] == "elsewhere"
    # the file itself is the same network as its run
    generate(config(["C_0", "CC_1"], guess=f"{elsewhere}/model.safetensors"), lines, guessing)
    assert manifest(settings.out)["guess"]["run"] == "elsewhere"
    write_run(tmp_path / "elsewhere", weight=2.0)
    with pytest.raises(UsageError, match=r"holds another corpus \(guess: network:.* -> network:.*\): choose another"):
        generate(config(["C_0", "CC_1"], guess=str(elsewhere)), lines, guessing)
    with pytest.raises(UsageError, match=r"guess: network:.* -> atoms"):
        generate(config(["C_0", "CC_1"]), lines, guessing)


def test_a_corpus_without_a_network_has_the_hash_it_always_had(
    config: Config, guessing: Stages, lines: RunProgress
) -> None:
    """The recipe of a plain guess is the settings' own word, as in corpora that were made before."""
    settings = config(["C_0"])
    generate(settings, lines, guessing)
    assert settings.row_fields()["guess"] == manifest(settings.out)["recipe"]["guess"] == "atoms"


def test_config_toml_leads_back_to_the_run(
    config: Config, guessing: Stages, lines: RunProgress, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run.parent)
    settings = config(["C_0"], guess="trained")
    generate(settings, lines, guessing)
    written = tomllib.loads((Path(settings.out) / "config.toml").read_text())["guess"]
    assert written == "../runs/trained"  # relative to the corpus, as its other paths
    monkeypatch.chdir("/")
    again = resolve(GenerateConfig, Path(settings.out) / "config.toml", {}, {})
    assert Path(again.guess) == run
    (tmp_path / "word.toml").write_text('molecules = "a.smi"\nout = "b"\nguess = "core"\n')
    assert resolve(GenerateConfig, tmp_path / "word.toml", {}, {}).guess == "core"
    assert 'guess = "core"' in config(guess="core").resolved_toml(Path(settings.out))


@pytest.mark.parametrize(
    ("guess", "message"),
    [
        (".", "no training in it is finished yet, or it is none"),
        ("text", "is no network of qmgen's|is damaged"),
        ("foreign", "model.safetensors is no network of qmgen's"),
        ("labels", "a schnet predicts labels, and no density"),
        ("pbe", "trained at pbe/sto-3g, and this is b3lyp5/sto-3g: set --xc pbe --basis sto-3g"),
        ("larger", "trained at b3lyp5/6-31g, and this is b3lyp5/sto-3g"),
    ],
)
def test_one_line_for_what_is_no_guess(
    config: Config, guessing: Stages, lines: RunProgress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, guess: str,
    message: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text").write_text("hello")
    (tmp_path / "foreign").mkdir()
    save_file({"w": np.zeros(1)}, tmp_path / "foreign" / "model.safetensors")
    write_run(tmp_path / "labels", kind="schnet")
    write_run(tmp_path / "pbe", xc="pbe")
    write_run(tmp_path / "larger", basis="6-31g")
    settings = config(["C_0"], guess=guess)
    for work in (lambda: generate(settings, lines, guessing), lambda: estimate(settings, guessing)):
        with pytest.raises(UsageError, match=message) as caught:
            work()
        assert "\n" not in str(caught.value)
    assert not Path(settings.out).exists()


def test_a_network_that_changes_while_workers_start_is_refused(
    guessing: Stages, run: Path, job: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learned_module, "_OPEN", {})
    settings = job().settings
    known = learned_module.network_guess_of(str(run), settings, guessing)
    assert known is not None and known.guess == f"network:{checksum(run)}"
    write_run(run, weight=2.0)
    with pytest.raises(QmgenError, match="was changed since this run began"):
        learned_module.opened_guess(known, settings, guessing)


def test_a_dry_run_opens_it(config: Config, guessing: Stages, run: Path) -> None:
    expected = estimate(config(guess=str(run)), guessing)
    assert expected.sample_failures == 0 and expected.rows == 40


def test_extending_asks_for_the_same_network(config: Config, guessing: Stages, lines: RunProgress, run: Path) -> None:
    settings = config(["C_0", "CC_1"], guess=str(run))
    generate(settings, lines, guessing)
    summary = generate(config(["C_0", "CC_1"], guess=str(run), conformers=2, extend=True), lines, guessing)
    assert summary.rows == 4 and summary.mean_cycles == 5.0
    write_run(run, weight=2.0)
    with pytest.raises(UsageError, match=r"guess: network:"):
        generate(config(["C_0", "CC_1"], guess=str(run), conformers=3, extend=True), lines, guessing)


def test_a_retry_needs_no_network(config: Config, guessing: Stages, lines: RunProgress, run: Path) -> None:
    settings = config(["C_0", "stiff_1", "big_2"], guess=str(run))
    summary = generate(settings, lines, guessing)
    assert summary.failed == 2
    shutil.rmtree(run)
    outcome = retry(RetryConfig(directory=settings.out), lines, guessing)
    assert outcome.rows == 2 and outcome.settings["guess"] == "atoms" and outcome.settings["max_cycles"] == 200
    assert manifest(settings.out)["guess"]["run"] == "trained"
    merged = merge(settings.out)
    assert merged.manifest["guess"] == {"run": "trained", "sha256": manifest(settings.out)["guess"]["sha256"]}


@pytest.mark.parametrize(("guess", "hint"), [("atomz", r"; did you mean 'atoms'\?"), ("nowhere/run", "")])
def test_what_is_neither_a_word_nor_a_run(tmp_path: Path, guess: str, hint: str) -> None:
    flags = {"guess": guess, "molecules": ["a.smi"], "out": "b"}
    said = rf"^guess = '{guess}' given as --guess: should be atoms, core, or a run [^\n]+ that exists{hint}$"
    with pytest.raises(UsageError, match=said):
        resolve(GenerateConfig, None, flags, {})


def test_the_real_labelling_begins_from_it(guessing: Stages, tmp_path: Path) -> None:
    """In Python as in a shell; what the stand-in has learned is the density of atoms, which costs a cycle more."""
    run = write_run(tmp_path / "run", xc="hf")
    positions = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 1.375]])
    hydrogen = Molecule(0, "", "", np.array([1, 1], np.uint8), positions, 0, 0)
    real = Stages(guess=guessing.guess)
    plain, guessed = (qmgen.label([hydrogen], xc="hf", guess=guess, stages=real) for guess in ("atoms", run))
    assert len(plain) == len(guessed) == 1
    assert guessed[0]["energy"] == plain[0]["energy"] and guessed[0]["cycles"] == plain[0]["cycles"] + 1
    with pytest.raises(UsageError, match="trained at hf/sto-3g, and this is lda/sto-3g"):
        qmgen.label([hydrogen], xc="lda", guess=str(run), stages=real)
