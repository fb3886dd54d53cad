"""Trainings from settings to results: they learn, continue with the same numbers, and run on two devices."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_models import settings_of

from qmgen.cli.main import main
from qmgen.corpus.plan import Splitter
from qmgen.errors import UsageError
from qmgen.learning.fp8 import NOTE
from qmgen.learning.lm.memory import mesh_of
from qmgen.learning.lm.model import published
from qmgen.learning.lm.stored import load_model
from qmgen.learning.lm.texts import SPLIT_SEED
from qmgen.learning.lm.train import result_text, run
from qmgen.learning.training.checkpoint import MODEL
from qmgen.learning.training.folder import METRICS, read_journal, timeless


def lines(out: Path) -> list[dict[str, Any]]:
    return timeless(read_journal(out / METRICS))


def weights(out: Path) -> list[np.ndarray]:
    import jax

    return [np.asarray(leaf) for leaf in jax.tree.leaves(load_model(out).params)]


def words(settings: Any) -> list[str]:
    """The command line of these settings."""
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in settings.model_dump(exclude_unset=True).items()
             if name not in ("data", "out")]  # fmt: skip
    return ["train", "lm", "--data", settings.data[0], "--out", str(settings.out), *flags, "-q"]


def test_it_learns(trained: dict[str, Path]) -> None:
    for name, out in trained.items():
        result = json.loads((out / "result.json").read_text())
        # guessing among the tokens costs their logarithm
        assert result["validation_loss"] < 0.7 * np.log(result["vocabulary"]), name
        assert result["parameters"] == load_model(out).shape.total()
        assert result["emulated"] == (name == "llama") == (NOTE in result_text(result))
        watched = [line for line in lines(out) if "scales" in line]
        assert bool(watched) == (name == "llama")
    assert watched[0]["step"] == 1 and watched[1]["step"] == 4
    assert set(watched[0]["scales"]) == {f"{layer}.{t}" for layer in load_model(out).shape.linears() for t in "xwg"}
    assert set(result["scales_in_use"]) == {f"{layer}.{t}" for layer in load_model(out).shape.linears() for t in "xw"}


def test_the_same_seed_gives_the_same_numbers_and_another_not(smiles: Path, tmp_path: Path) -> None:
    results = [run(settings_of(smiles, tmp_path / str(k), seed=seed), quiet=True) for k, seed in enumerate((1, 1, 2))]
    assert results[0]["validation_loss"] == results[1]["validation_loss"] != results[2]["validation_loss"]
    for one, two in zip(weights(tmp_path / "0"), weights(tmp_path / "1")):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("precision", [pytest.param("f32", marks=pytest.mark.slow), "fp8-delayed"])
def test_killed_and_continued_it_has_the_losses_of_an_undisturbed_one(
    precision: str, smiles: Path, tmp_path: Path, bare_environment: dict[str, str]
) -> None:
    """kill -9 once it has made a checkpoint; then the same command. Histories of scales are part of it."""
    given = {"precision": precision, "steps": 40, "checkpoint_every": 0.01, "arch": "llama"}
    whole, killed = settings_of(smiles, tmp_path / "whole", **given), settings_of(smiles, tmp_path / "killed", **given)
    command = [sys.executable, "-m", "qmgen"]  # as a user's: float64 switched on, as in this process, moves last bits
    subprocess.run([*command, *words(whole)], env=bare_environment, check=True)
    process = subprocess.Popen([*command, *words(killed)], env=bare_environment)
    for _ in range(2400):
        if len(read_journal(killed.out / METRICS)) >= 3 or process.poll() is not None:
            break
        time.sleep(0.05)
    assert process.poll() is None  # or nothing was tested
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (killed.out / "result.json").exists()
    subprocess.run([*command, *words(killed)], env=bare_environment, check=True)
    assert lines(whole.out) == lines(killed.out)
    for one, two in zip(weights(whole.out), weights(killed.out)):
        np.testing.assert_array_equal(one, two)


def test_a_time_limit_stops_it_and_the_same_command_goes_on(smiles: Path, tmp_path: Path) -> None:
    # the model of ``trained``, whose programs are compiled
    settings = settings_of(smiles, tmp_path / "run", steps=30, arch="llama", precision="fp8-amax")
    assert main([*words(settings), "--time-limit", "0.001"]) == 75
    assert main(words(settings)) == 0
    before = (settings.out / MODEL).stat().st_mtime_ns
    assert main(words(settings)) == 0  # and does nothing more
    assert (settings.out / MODEL).stat().st_mtime_ns == before
    assert lines(settings.out)[-1]["step"] == 30


def test_fine_tuning_begins_with_a_run(trained: dict[str, Path], smiles: Path, tmp_path: Path) -> None:
    """In another precision: from FP8 to float32."""
    before = json.loads((trained["llama"] / "result.json").read_text())["validation_loss"]
    result = run(settings_of(smiles, tmp_path / "more", init=trained["llama"], steps=2, precision="f32"), quiet=True)
    assert result["validation_loss"] < before + 0.1  # two steps do not undo it
    with pytest.raises(UsageError, match="leave --arch out"):
        run(settings_of(smiles, tmp_path / "other", init=trained["gpt"], arch="llama"), quiet=True)
    strange = tmp_path / "strange.smi"
    strange.write_text("\n".join(f"{'C' * n}[Si](C)C" for n in range(1, 40)))
    with pytest.raises(UsageError, match=r"the vocabulary lacks: '\[Si\]'"):
        run(settings_of(strange, tmp_path / "silicon", init=trained["gpt"]), quiet=True)


def test_lines_that_cannot_be_tokenized_are_counted_and_change_nothing(
    smiles: Path, tmp_path: Path, capsys: Any
) -> None:
    mixed = tmp_path / "mixed.smi"
    mixed.write_text("C!\n" + smiles.read_text() + "!\n")
    settings = settings_of(mixed, tmp_path / "run", steps=2)
    assert main(words(settings)) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 3 and "--skip-unreadable" in said[0] and not (tmp_path / "run").exists()
    assert main([word for word in words(settings) if word != "-q"] + ["--skip-unreadable", "--json"]) == 0
    told = capsys.readouterr()
    assert f"2 of {len(smiles.read_text().splitlines()) + 2} lines cannot be tokenized and are left out" in told.err
    result = json.loads(told.out)
    assert result["unreadable"] == 2 and "2 lines were left out" in result_text(result)
    assert load_model(tmp_path / "run").about["unreadable"] == 2
    plain = run(settings_of(smiles, tmp_path / "plain", steps=2), quiet=True)
    assert plain["validation_loss"] == result["validation_loss"] and plain["unreadable"] == 0


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--precision", "fp8"], "fp8-amax"),
        (["--preset", "gpt"], "no preset is called"),
        (["--tokens", "many"], "tokens"),
        (["--tensor-parallel", "2"], "as many devices"),
        (["--data-parallel", "3"], "needs as many devices"),
        (["--context", "8"], "--context"),
        (["--device-memory", "0.001"], "needs"),
        (["--data", "nowhere.smi"], "no such file"),
        (["--init", "nowhere"], "no language model"),
        (["--scale-bias", "40"], "scale-bias"),
    ],
)
def test_mistakes_are_said_in_a_line_before_any_work(
    flags: list[str], said: str, smiles: Path, tmp_path: Path, capsys: Any
) -> None:
    base = words(settings_of(smiles, tmp_path / "run"))
    given = {word.split("=")[0] for word in flags}
    kept = [word for word in base if word.split("=")[0] not in given]
    if "--data" in given:
        kept = [word for k, word in enumerate(kept) if word != str(smiles)]
    assert main([*kept, *flags]) == 2
    told = capsys.readouterr().err.strip()
    assert said in told and len(told.splitlines()) == 1, told
    assert not (tmp_path / "run").exists()


def test_a_long_molecule_that_is_held_out_is_found_before_any_work(tmp_path: Path, capsys: Any) -> None:
    held_out = lambda text: Splitter(SPLIT_SEED, 0.2, 0.0).split(text, ()) == "validation"
    long = next(text for n in range(40, 200) if held_out(text := "C" * n))
    file = tmp_path / "one.smi"
    file.write_text("\n".join([*("C" * n for n in range(1, 30)), long]))
    assert main(words(settings_of(file, tmp_path / "run"))) == 2
    assert f"set --context {len(long) + 2} or more" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_another_training_is_not_mixed_in(trained: dict[str, Path], smiles: Path, capsys: Any) -> None:
    assert main([*words(settings_of(smiles, trained["gpt"], arch="gpt", steps=60, seed=5))]) == 2
    assert "holds trainings of other settings" in capsys.readouterr().err
    assert load_model(trained["gpt"]).about["seed"] == 0


TWO_DEVICES = """
import json, sys
from dataclasses import replace
from pathlib import Path
sys.path[:0] = [sys.argv[1]]
from small_models import settings_of
from qmgen.learning.lm.model import SMALL
from qmgen.learning.lm.train import run
smiles, out = map(Path, sys.argv[2:4])
found = {}
ways = {
    "one": {"data_parallel": 1},
    "data": {"data_parallel": 2},
    "tensor": {"data_parallel": 1, "tensor_parallel": 2},
    "sharded": {"data_parallel": 2, "fully_sharded": True},
}
# two heads of keys and values, so that they can be cut, and fewer layers, to compile faster
SMALL["mini"] = {name: replace(shape, kv_heads=2, layers=2) for name, shape in SMALL["mini"].items()}
for arch, precision, *chosen in map(str.split, sys.argv[4:]):
    base = {"arch": arch, "precision": precision, "steps": 8, "watch_every": 1}
    for way in chosen:
        more = ways[way]
        folder = out / arch / precision / way
        result = run(settings_of(smiles, folder, **base, **more), quiet=True)
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        losses = [line["loss"] for line in lines if "loss" in line] + [result["validation_loss"]]
        biases = [line["scales"] for line in lines if "scales" in line]
        found[f"{arch} {precision} {way}"] = {"devices": result["devices"], "losses": losses, "biases": biases}
print(json.dumps(found))
"""


@pytest.mark.parametrize(
    ("case", "tolerance"),
    [
        # float32 sums in another order, through eight steps of AdamW, which divides small gradients by themselves
        ("llama f32 one data tensor sharded", 1e-5),
        # besides, a bias of FP8 that flips at its edge moves a loss by more
        ("gpt fp8-amax one data tensor", 2e-4),
        pytest.param("gpt f32 one data tensor", 1e-5, marks=pytest.mark.slow),
        pytest.param("llama fp8-delayed one tensor sharded", 2e-4, marks=pytest.mark.slow),
    ],
)
def test_two_devices_give_the_losses_of_one(
    case: str, tolerance: float, smiles: Path, tmp_path: Path, bare_environment: dict[str, str]
) -> None:
    """Data parallel, with weights cut up, and tensor parallel; scales are of the whole tensor on any number of them."""
    environment = {**bare_environment, "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    command = [sys.executable, "-c", TWO_DEVICES, str(Path(__file__).parent), str(smiles), str(tmp_path), case]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    for name, other in found.items():
        one = found[f"{name.rpartition(' ')[0]} one"]
        assert other["devices"] == (1 if name.endswith("one") else 2)
        np.testing.assert_allclose(other["losses"], one["losses"], rtol=tolerance, err_msg=name)
        if one["biases"]:
            assert other["biases"][0] == one["biases"][0], name


def test_devices_must_divide_what_they_share(monkeypatch: pytest.MonkeyPatch) -> None:
    import jax

    monkeypatch.setattr(jax, "device_count", lambda: 3)
    shape = published("tiny", "gpt").of(23, 64)  # 128 wide
    with pytest.raises(UsageError, match="must divide the width of 128"):
        mesh_of(3, 1, shape, 33, sharded=True)
    assert mesh_of(None, 1, shape, 33, sharded=True) is None  # three divide the rows alone
    with pytest.raises(UsageError, match="must divide the batch of 32"):
        mesh_of(3, 1, shape, 32)
    with pytest.raises(UsageError, match="must divide 4 heads"):
        mesh_of(1, 3, shape, 33)


def test_a_signal_is_heard(smiles: Path, tmp_path: Path, bare_environment: dict[str, str]) -> None:
    settings = settings_of(smiles, tmp_path / "run", steps=100000)
    process = subprocess.Popen([sys.executable, "-m", "qmgen", *words(settings)], env=bare_environment)
    for _ in range(2400):
        if len(read_journal(settings.out / METRICS)) >= 1 or process.poll() is not None:
            break
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(timeout=120) == 75
    assert (settings.out / "checkpoint.safetensors").exists() and not (settings.out / MODEL).exists()
