"""Training SchNet on labels that are simple functions of the geometry: it learns, repeats itself, and continues."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from toy_corpus import write_corpus

from qmgen.config.train import TrainSchnetConfig
from qmgen.errors import Interrupted, QmgenError, UsageError
from qmgen.learning.data.source import open_rows
from qmgen.learning.fp8 import NOTE
from qmgen.learning.scaling.report import summary_text as table
from qmgen.learning.schnet import train as recipe_module
from qmgen.learning.schnet.model import StoredSchnet, load_model
from qmgen.learning.schnet.train import train_cell
from qmgen.learning.targets import targets_of
from qmgen.learning.training import checkpoint
from qmgen.learning.training.checkpoint import MODEL
from qmgen.learning.training.folder import METRICS, RESULT, read_journal, timeless
from qmgen.progress import TrainingProgress
from qmgen.signals import StopWatch

#: what each test here trains unless it says otherwise
SHORT: dict[str, Any] = {"preset": "tiny", "log_every": 5, "batch_size": 16, "validate_every": 25}


def settings_of(data: Path, out: Path, **more: Any) -> TrainSchnetConfig:
    return TrainSchnetConfig(data=str(data), out=str(out), **{**SHORT, "steps": 60, **more})


def train(
    settings: TrainSchnetConfig,
    folder: Path,
    rows: int = 200,
    seed: int = 0,
    init: StoredSchnet | None = None,
    stop: StopWatch | None = None,
) -> dict[str, Any]:
    source = open_rows(settings.data, targets_of(settings.target))
    return train_cell(settings, source, rows, seed, folder, stop or StopWatch(), TrainingProgress(quiet=True), init)


@pytest.fixture(scope="module")
def whole(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """One undisturbed training of 60 steps."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, train(settings_of(toy, folder), folder / "cell")


def spread(data: Path, name: str, split: str) -> float:
    """The mean absolute error of the mean of the training rows, in the column's unit."""
    source = open_rows(data, targets_of([name]))
    train_values, values = (source.read(part).values[name] for part in ("train", split))
    return float(np.mean(np.abs(values - train_values.mean())))


def test_it_beats_the_mean_by_far_on_molecules_it_has_not_seen(toy: Path, tmp_path: Path) -> None:
    """Measured when this was written: see the factor's comment."""
    result = train(settings_of(toy, tmp_path, steps=400, learning_rate=5e-3), tmp_path / "cell")
    found = result["targets"]["y"]
    for split in ("validation", "test"):
        # a third is far above what is reached, and far below what anything reaches that has learned nothing
        assert found[f"{split}_mae"] < spread(toy, "y", split) * 1000 / 3
    assert found["unit"] == "meV" and (found["validation_rows"], found["test_rows"]) == (40, 40)


def test_what_is_in_the_result_and_in_the_folder(whole: tuple[Path, dict[str, Any]]) -> None:
    folder, result = whole
    assert sorted(os.listdir(folder / "cell")) == ["metrics.jsonl", MODEL, RESULT]
    assert json.loads((folder / "cell" / RESULT).read_text()) == result
    assert (result["steps"], result["rows"], result["batch_size"]) == (60, 200, 16)
    assert result["epochs"] == pytest.approx(60 / 13, rel=0.05)  # 13 batches an epoch, the last of 8
    assert result["level_of_theory"] == {"xc": "b3lyp5", "basis": "sto-3g"} and result["init"] is None
    lines = read_journal(folder / "cell" / METRICS)
    assert [line["step"] for line in lines if "validation" in line] == [25, 50, 60]
    assert [line["step"] for line in lines if "loss" in line] == list(range(5, 61, 5))
    best = min((line for line in lines if "validation" in line), key=lambda line: line["validation"]["y"])
    assert best["step"] == result["best_step"]
    assert best["validation"]["y"] == result["targets"]["y"]["validation_mae"]


def test_the_identity_of_a_training_without_held_out_molecules_is_as_it_was(whole: tuple[Path, dict[str, Any]]) -> None:
    """Trainings from before that setting are recognized."""
    _, result = whole
    assert "validation_fraction" not in result["identity"] and result["targets"]["y"]["validation_molecules"] == 40


def test_the_stored_network_makes_the_stored_error(toy: Path, whole: tuple[Path, dict[str, Any]]) -> None:
    """By hand, one molecule at a time without padding: sums in another order, so to float32's rounding."""
    from qmgen.learning.schnet.model import predict_compiled

    folder, result = whole
    model = load_model(folder / "cell")
    rows = open_rows(toy, model.targets).read("validation")
    network = model.params, model.shape, model.targets, {}
    errors = []
    for number in range(len(rows)):
        one = rows.take(np.array([number]))
        numbers = one.numbers.astype(np.int32)[None]
        found = np.asarray(predict_compiled(*network, numbers, one.positions[None])["y"], np.float64)
        errors.append(abs(float(model.normalization.restore("y", found, numbers)[0, 0] - one.values["y"][0, 0])))
    assert 1000 * np.mean(errors) == pytest.approx(result["targets"]["y"]["validation_mae"], rel=1e-4)


def test_same_seed_same_numbers_another_seed_others(
    toy: Path, tmp_path: Path, whole: tuple[Path, dict[str, Any]]
) -> None:
    folder, result = whole
    again = train(settings_of(toy, tmp_path), tmp_path / "again")
    assert again["targets"] == result["targets"]
    arrays = [checkpoint.read(place / MODEL)[0] for place in (folder / "cell", tmp_path / "again")]
    assert all(np.array_equal(array, arrays[1][name]) for name, array in arrays[0].items())
    other = train(settings_of(toy, tmp_path), tmp_path / "other", seed=1)
    assert other["targets"] != result["targets"]


def test_a_finished_one_is_not_trained_again(toy: Path, whole: tuple[Path, dict[str, Any]]) -> None:
    folder, result = whole
    before = (folder / "cell" / MODEL).stat().st_mtime_ns
    assert train(settings_of(toy, folder), folder / "cell") == result
    assert (folder / "cell" / MODEL).stat().st_mtime_ns == before
    with pytest.raises(UsageError, match=r"another training \(loss differ\)"):
        train(settings_of(toy, folder, loss="mse"), folder / "cell")


def test_killed_and_continued_the_losses_are_those_of_an_undisturbed_training(
    toy: Path, tmp_path: Path, whole: tuple[Path, dict[str, Any]]
) -> None:
    """kill -9 of ``qmgen``'s own process as soon as so many lines are written; then the same call in this one."""
    folder, result = whole
    settings = settings_of(toy, folder)
    script = tmp_path / "child.py"
    script.write_text(
        "import sys\nfrom pathlib import Path\nfrom test_train import settings_of, train\n"
        "data, out, cell = map(Path, sys.argv[1:])\ntrain(settings_of(data, out, checkpoint_every=0.01), cell)\n"
    )
    cell = tmp_path / "cell"
    search = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    killed = []
    for lines in (2, 7):
        process = subprocess.Popen(
            [sys.executable, str(script), str(toy), str(folder), str(cell)], env={**os.environ, "PYTHONPATH": search}
        )
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            if len(read_journal(cell / METRICS)) >= lines and (cell / checkpoint.NAME).exists():
                break
            time.sleep(0.001)
        killed.append(process.poll() is None)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert killed[0]  # or nothing was tested
    continued = train(settings, cell)
    assert continued["targets"] == result["targets"] and continued["best_step"] == result["best_step"]
    lines_of = [timeless(read_journal(place / METRICS)) for place in (cell, folder / "cell")]
    assert lines_of[0] == lines_of[1]


def test_stopped_by_the_time_limit_it_continues(toy: Path, tmp_path: Path, whole: tuple[Path, dict[str, Any]]) -> None:
    folder, result = whole
    settings = settings_of(toy, folder)
    with pytest.raises(Interrupted, match="the time limit at step 1 of 60"):
        train(settings, tmp_path / "cell", stop=StopWatch(time_limit=0.0))
    assert train(settings, tmp_path / "cell")["targets"] == result["targets"]


def test_another_recipe_is_another_training(
    toy: Path, whole: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A default that a later version changes must not be taken for what was trained."""
    folder, _ = whole
    monkeypatch.setitem(recipe_module.DEFAULTS, "tiny", replace(recipe_module.DEFAULTS["tiny"], warmup=3))
    with pytest.raises(UsageError, match="warmup differ"):
        train(settings_of(toy, folder), folder / "cell")


def test_a_bad_test_row_is_found_before_the_first_step(toy: Path, tmp_path: Path) -> None:
    shutil.copytree(toy, tmp_path / "toy")
    # what is in the first rows of a file: no training reads it
    file = next(f for f in sorted((tmp_path / "toy" / "data").glob("test-*")) if pq.read_metadata(f).num_rows)
    table = pq.read_table(file)
    values = [float("nan"), *table["y"].to_pylist()[1:]]
    pq.write_table(table.set_column(table.schema.get_field_index("y"), table.schema.field("y"), pa.array(values)), file)
    with pytest.raises(QmgenError, match="column y holds a number that is not finite"):
        train(settings_of(tmp_path / "toy", tmp_path / "run"), tmp_path / "cell")
    assert not (tmp_path / "cell" / METRICS).exists()


def test_a_rate_that_is_far_too_high_is_one_line(toy: Path, tmp_path: Path) -> None:
    with pytest.raises(QmgenError, match=r"the loss or its gradient is not finite at step \d+: .*--learning-rate"):
        train(settings_of(toy, tmp_path, learning_rate=1e30, schedule="constant", warmup=0), tmp_path / "cell")
    assert not (tmp_path / "cell" / MODEL).exists() and not (tmp_path / "cell" / RESULT).exists()


def test_all_targets_at_once(toy: Path, tmp_path: Path) -> None:
    """Energies of thousands of eV, a vector, and a gradient: each beats what the trivial predictor makes of it."""
    names = ["y", "homo", "lumo", "energy", "dipole", "forces"]
    settings = settings_of(toy, tmp_path, target=names, steps=300, learning_rate=5e-3, validate_every=100)
    result = train(settings, tmp_path / "cell")
    rows = open_rows(toy, targets_of(names)).read("validation")
    trivial = {
        "y": spread(toy, "y", "validation") * 1000,
        "lumo": spread(toy, "lumo", "validation") * 1000,
        "dipole": float(np.mean(np.linalg.norm(rows.values["dipole"], axis=1))),
        "forces": float(np.mean(np.abs(rows.values["forces"]))) * 1000,
    }
    for name, error in trivial.items():
        assert result["targets"][name]["validation_mae"] < 0.8 * error, name
    # thousands of eV, of which the atoms' share is taken off: eV would be left, tenths are reached
    assert result["targets"]["energy"]["validation_mae"] < 1000
    units = {name: found["unit"] for name, found in result["targets"].items()}
    assert units == {
        "y": "meV", "homo": "meV", "lumo": "meV", "energy": "meV", "dipole": "Debye", "forces": "meV/Angstrom"
    }  # fmt: skip


def test_float64_is_float64_all_through(toy: Path, tmp_path: Path) -> None:
    train(settings_of(toy, tmp_path, precision="float64", steps=5), tmp_path / "cell", rows=20)
    arrays, _ = checkpoint.read(tmp_path / "cell" / MODEL)
    assert {array.dtype for array in arrays.values()} == {np.dtype(np.float64)}
    assert load_model(tmp_path / "cell").metadata["rows"] == 20


def test_fine_tuning_begins_with_the_weights_of_another_level(
    toy: Path, tmp_path: Path, whole: tuple[Path, dict[str, Any]]
) -> None:
    folder, _ = whole
    other = write_corpus(tmp_path / "other", 60, 40, 0, level="pbe", forces=False)
    init = load_model(folder / "cell")
    settings = settings_of(other, tmp_path, preset=None, init=str(folder / "cell"), steps=1, learning_rate=1e-9)
    result = train(settings, tmp_path / "cell", rows=60, init=init)
    assert result["init"] == {
        "path": str(folder / "cell" / MODEL),
        "checksum": init.checksum,
        "targets": ["y"],
        "level_of_theory": {"xc": "b3lyp5", "basis": "sto-3g"},
        "rows": 200,
    }
    assert result["preset"] == "tiny" and result["targets"]["y"]["test_mae"] is None
    # a step of 1e-9 leaves the weights where they were, to weight decay and rounding
    for name, array in checkpoint.read(tmp_path / "cell" / MODEL)[0].items():
        assert np.allclose(array, checkpoint.read(folder / "cell" / MODEL)[0][name], atol=1e-6)
    with pytest.raises(UsageError, match=r"is a network of the preset 'tiny' and not of 'small'"):
        train(settings.model_copy(update={"preset": "small"}), tmp_path / "no", rows=60, init=init)


def test_one_network_begins_several_trainings(toy: Path, tmp_path: Path, whole: tuple[Path, dict[str, Any]]) -> None:
    """Steps take over the memory of what they begin with: it must not be the network's own."""
    init = load_model(whole[0] / "cell")
    # the rate and length of ``whole``, whose program serves here too
    settings = settings_of(toy, tmp_path, preset=None, init=str(whole[0] / "cell"), learning_rate=1e-3)
    first = train(settings, tmp_path / "first", init=init)
    assert train(settings, tmp_path / "second", init=init)["targets"] == first["targets"]


def test_another_number_of_outputs_gets_a_last_layer_of_its_own(
    toy: Path, tmp_path: Path, whole: tuple[Path, dict[str, Any]]
) -> None:
    init = load_model(whole[0] / "cell")
    settings = settings_of(toy, tmp_path, target=["homo", "lumo"], steps=1, learning_rate=1e-9)
    train(settings, tmp_path / "cell", rows=60, init=init)
    new, old = (checkpoint.read(place / MODEL)[0] for place in (tmp_path / "cell", whole[0] / "cell"))
    kept = {name for name in old if new[name].shape == old[name].shape}
    assert 0 < len(old) - len(kept) <= 2  # its weight and its bias
    assert all(np.allclose(new[name], old[name], atol=1e-6) for name in kept)


def test_a_network_is_found_in_a_run_and_what_is_none_is_one_line(
    whole: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    cell = whole[0] / "cell"
    for place in ("rows-10/seed-0", "rows-200/seed-3", "rows-200/seed-1"):
        shutil.copytree(cell, tmp_path / "run" / place)
    assert load_model(tmp_path / "run").path == tmp_path / "run/rows-200/seed-1" / MODEL
    again = load_model(cell / MODEL)
    assert replace(again.shape) == load_model(tmp_path / "run").shape and again.checksum
    (tmp_path / "empty").mkdir()
    (tmp_path / "cut.safetensors").write_bytes((cell / MODEL).read_bytes()[:1000])
    checkpoint.save(tmp_path / "other.safetensors", {"w": np.zeros(2, np.float32)}, {"step": 3})
    for place, said in (
        ("nothing", "no such file or directory"),
        ("empty", "it holds no training"),
        ("cut.safetensors", "is damaged"),
        ("other.safetensors", "is no trained SchNet"),
    ):
        with pytest.raises(UsageError, match=said) as raised:
            load_model(tmp_path / place)
        assert "\n" not in str(raised.value)


def test_it_learns_in_fp8(toy: Path, tmp_path: Path) -> None:
    settings = settings_of(toy, tmp_path, steps=200, learning_rate=5e-3, precision="fp8-amax")
    result = train(settings, tmp_path / "cell")
    found = result["targets"]["y"]
    assert found["validation_mae"] < 0.6 * found["trivial_mae"] and result["emulated"]
    assert NOTE in table([result], [], None) and load_model(tmp_path / "cell").metadata["precision"] == "fp8-amax"


def test_forces_are_refused_in_fp8(toy: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="use float32"):
        train(settings_of(toy, tmp_path, target=["energy", "forces"], precision="fp8-amax"), tmp_path / "cell")
