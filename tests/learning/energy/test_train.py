"""``qmgen train energy`` and ``labels`` from settings to results: it learns, continues with the same numbers, and does
not do again what is done. Geometries of water, which cost a millisecond a step."""

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
from few_molecules import ALIKE, system, write_xyz

from qmgen.config.train import TrainEnergyConfig, TrainHamiltonianConfig, TrainLabelsConfig
from qmgen.errors import Interrupted, UsageError
from qmgen.learning.energy import train as module
from qmgen.learning.energy.stored import load_model
from qmgen.learning.energy.train import run
from qmgen.learning.training import checkpoint
from qmgen.learning.training.checkpoint import MODEL
from qmgen.learning.training.folder import METRICS, RESULT, read_journal, timeless

#: 24 geometries, 6 of them held out, 4 of these watched
SHORT: dict[str, Any] = {
    "model": "blocks-tiny",
    "steps": 40,
    "batch_size": 4,
    "validation_fraction": 0.25,
    "monitor": 4,
    "log_every": 5,
    "validate_every": 20,
    "xc": "b3lyp5",
    "basis": "sto-3g",
}


@pytest.fixture(scope="module")
def water(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_xyz(tmp_path_factory.mktemp("water") / "water.xyz", [system("water", seed) for seed in range(24)])


def settings_of(
    water: Path, out: Path, kind: type[TrainHamiltonianConfig] = TrainEnergyConfig, **more: Any
) -> TrainHamiltonianConfig:
    return kind(molecules=[str(water)], out=str(out), **{**SHORT, **more})


@pytest.fixture(scope="module")
def whole(water: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """One undisturbed training."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    return folder, run(settings_of(water, folder), quiet=True)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"basis": "def2-svp", "jk": "exact"}, "basis def2-svp has d functions here, and networks know s and p alone"),
        ({"basis": "6-31g*", "jk": "exact"}, "use --basis 6-31g"),
    ],
)
def test_d_functions_are_refused_in_one_line(water: Path, tmp_path: Path, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        run(settings_of(water, tmp_path / "no", **settings), quiet=True)
    assert "\n" not in str(caught.value) and not (tmp_path / "no").exists()


def test_it_learns_from_geometries_alone(whole: tuple[Path, dict[str, Any]]) -> None:
    folder, result = whole
    before, after = (result[key]["refine_0"] for key in ("excess_meV_without_correction", "excess_meV"))
    # a tenth is reached on geometries that were held out; nothing that has not learned comes near a fifth
    assert after < before / 5 and result["times_lower"]["refine_0"] == pytest.approx(before / after)
    assert after > -1e-8 * 27211  # above the converged energies, to what those are converged to
    assert (result["geometries"], result["held_out"], result["monitored"]) == (18, 6, 4)
    assert result["loss"] == "energy" and result["steps"] == 40 and result["seconds_labelling"] == 0
    assert not result["skipped"] and result["without_reference"] == 0
    assert sorted(path.name for path in folder.iterdir() if path.name[0] != ".") == [
        "config.toml", "metrics.jsonl", MODEL, RESULT,
    ]  # fmt: skip
    lines = read_journal(folder / METRICS)
    losses = [line["loss"] for line in lines if "loss" in line]
    assert losses[-1] < 0.5 * losses[0] < 0  # energies below those without a correction
    errors = [line["validation"] for line in lines if "validation" in line]
    assert errors[-1]["excess"] < before and len(errors) == 2


def test_the_model_is_what_the_result_says(whole: tuple[Path, dict[str, Any]]) -> None:
    folder, result = whole
    model = load_model(folder)
    assert model.network.preset == "blocks-tiny" and model.about["elements"] == [1, 8]
    best = [line for line in read_journal(folder / METRICS) if line["step"] == result["best_step"]]
    told = next(line["validation"] for line in best if "validation" in line)
    # the same weights on the same geometries: the same program
    excess = result["excess_meV"]
    assert told == pytest.approx({"excess": excess["refine_0"], "excess_refined_3": excess["refine_3"]})


def test_a_finished_one_is_not_trained_again(water: Path, whole: tuple[Path, dict[str, Any]]) -> None:
    folder, result = whole
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir() if path.name[0] != "."}
    assert run(settings_of(water, folder), quiet=True) == result
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_other_settings_are_one_line(water: Path, whole: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    folder, result = whole
    other = write_xyz(tmp_path / "water.xyz", [system("water", seed) for seed in range(1, 25)])
    for settings, said in (
        (settings_of(water, folder, steps=60), r"other settings \(steps.*--overwrite"),
        (settings_of(water, folder, seed=1), r"other settings \(seed.*--overwrite"),
        (settings_of(other, folder), r"another training \(geometries differ\).*--overwrite"),
        (settings_of(water, folder, TrainLabelsConfig), "something that this `qmgen train` did not write"),
    ):
        with pytest.raises(UsageError, match=said) as raised:
            run(settings, quiet=True)
        assert "\n" not in str(raised.value)
    # what was refused has left the training as it was
    assert run(settings_of(water, folder), quiet=True) == result


def arrays_of(folder: Path) -> dict[str, np.ndarray]:
    return checkpoint.read(folder / MODEL)[0]


def same(folder: Path, whole: tuple[Path, dict[str, Any]]) -> None:
    """The weights, statistics and lines are those of the undisturbed training, to the last bit."""
    found, expected = arrays_of(folder), arrays_of(whole[0])
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[name], array) for name, array in expected.items())
    lines = [timeless(read_journal(place / METRICS)) for place in (folder, whole[0])]
    assert lines[0] == lines[1]


def test_killed_and_continued_it_is_as_if_undisturbed(
    water: Path, tmp_path: Path, whole: tuple[Path, dict[str, Any]]
) -> None:
    """kill -9 of qmgen's own process as soon as so many lines are written; then the same call in this one."""
    script = tmp_path / "child.py"
    script.write_text(
        "import sys\nfrom pathlib import Path\nfrom test_train import settings_of, run\n"
        "water, out = map(Path, sys.argv[1:])\nrun(settings_of(water, out, checkpoint_every=0.01), quiet=True)\n"
    )
    out = tmp_path / "run"
    search = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    process = subprocess.Popen(
        [sys.executable, str(script), str(water), str(out)], env={**os.environ, "PYTHONPATH": search}
    )
    deadline = time.monotonic() + 300
    while process.poll() is None and time.monotonic() < deadline:
        if read_journal(out / METRICS) and (out / checkpoint.NAME).exists():
            break
        time.sleep(0.001)
    killed = process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert killed and not (out / RESULT).exists()  # or nothing was tested
    result = run(settings_of(water, out), quiet=True)
    assert result["excess_meV"] == whole[1]["excess_meV"] and result["best_step"] == whole[1]["best_step"]
    same(out, whole)


def test_stopped_by_the_time_limit_it_continues(
    water: Path, tmp_path: Path, whole: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Interrupted, match="the time limit while preparing geometries: the same command continues"):
        run(settings_of(water, tmp_path, time_limit=1e-9), quiet=True)
    patched = module.train

    def at_once(*words: Any) -> Any:
        words[8].reason = "the time limit"  # the stop watch
        return patched(*words)

    monkeypatch.setattr(module, "train", at_once)
    with pytest.raises(Interrupted, match="the time limit at step 1 of 40"):
        run(settings_of(water, tmp_path), quiet=True)
    monkeypatch.undo()
    with pytest.raises(UsageError, match="its training is not finished"):
        load_model(tmp_path)
    run(settings_of(water, tmp_path), quiet=True)
    same(tmp_path, whole)


def test_little_memory_changes_no_number_and_overwrite_starts_anew(
    water: Path, tmp_path: Path, whole: tuple[Path, dict[str, Any]]
) -> None:
    run(settings_of(water, tmp_path, steps=1), quiet=True)
    (tmp_path / "mine.txt").write_text("kept")
    run(settings_of(water, tmp_path, overwrite=True, memory=1e-4), quiet=True)  # a few geometries
    same(tmp_path, whole)
    assert (tmp_path / "mine.txt").exists()


def test_with_labels_it_learns_too_and_keeps_them(water: Path, tmp_path: Path) -> None:
    settings = settings_of(water, tmp_path, TrainLabelsConfig, steps=60)
    result = run(settings, quiet=True)
    before, after = (result[key]["refine_0"] for key in ("excess_meV_without_correction", "excess_meV"))
    # the Hamiltonian is what is learned, the energy follows: a third, where nothing learned would leave it as it is
    assert after < before / 3
    assert result["loss"] == "labels" and result["geometries"] == 18
    with np.load(tmp_path / "labels.npz") as archive:
        assert sum(name.startswith("fock") for name in archive.files) == 18  # of what is held out none
    assert run(settings, quiet=True) == result


def test_it_begins_where_another_ended(water: Path, tmp_path: Path, whole: tuple[Path, dict[str, Any]]) -> None:
    folder, before = whole
    result = run(settings_of(water, tmp_path, init=str(folder), steps=1, learning_rate=1e-9), quiet=True)
    assert result["excess_meV"] == pytest.approx(before["excess_meV"], rel=1e-3)  # but for a step of 1e-9
    other = write_xyz(tmp_path / "ammonia.xyz", [system("ammonia", seed) for seed in range(3)])
    with pytest.raises(UsageError, match="knows no element 7"):
        run(settings_of(other, tmp_path / "no", init=str(folder)), quiet=True)
    with pytest.raises(UsageError, match="is for sto-3g and not for 6-31g"):
        run(settings_of(water, tmp_path / "no", init=str(folder), basis="6-31g"), quiet=True)
    assert not (tmp_path / "no").exists()


def test_geometries_moved_by_a_network_are_learned_from_too(
    water: Path, tmp_path: Path, whole: tuple[Path, dict[str, Any]]
) -> None:
    settings = settings_of(water, tmp_path, init=str(whole[0]), steps=1, augment=3, augment_steps=1)
    result = run(settings, quiet=True)
    assert (result["geometries"], result["held_out"], result["augmented"]) == (18 + 3, 6, 3)
    assert not result["augmented_dropped"]
    with np.load(tmp_path / "augmented.npz") as archive:
        assert archive["walker2"].shape == (3, 3)
    assert run(settings, quiet=True) == result


def test_different_molecules_are_learned_together_and_bad_ones_counted(tmp_path: Path) -> None:
    """Whole molecules may be held out; a radical and a charged one are skipped."""
    path = write_xyz(tmp_path / "mixed.xyz", [system(name, seed) for seed in range(4) for name in ALIKE])
    path.write_text(path.read_text() + "1\n\nH 0 0 0\n2\ncharge=1\nO 0 0 0\nH 0 0 1\n")
    result = run(settings_of(path, tmp_path / "run", held_out="molecules", steps=4, monitor=2), quiet=True)
    assert result["skipped"] == {"odd_electrons": 1, "net_charge": 1}
    assert (result["geometries"], result["held_out"]) == (8, 4)
    assert json.loads((tmp_path / "run" / RESULT).read_text()) == result
