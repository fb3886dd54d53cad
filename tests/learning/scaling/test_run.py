"""From the plan to scaling.json, with stand-ins for the corpus and the training."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from qmgen.config.train import TrainSchnetConfig
from qmgen.corpus.locks import Lock
from qmgen.errors import Interrupted
from qmgen.learning.scaling import run as module
from qmgen.report import scaling


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, bool]]:
    """Which cells were trained, as (rows, seed, begun with another network): 1000 n^-0.5 meV, half as much so begun."""
    done: list[tuple[int, int, bool]] = []

    def train_cell(
        settings: TrainSchnetConfig,
        source: Any,
        rows: int,
        seed: int,
        folder: Path,
        stop: Any,
        progress: Any,
        init: Any,
    ) -> dict[str, Any]:
        if (folder / "result.json").exists():
            return dict(json.loads((folder / "result.json").read_text()))
        if stop.reason:
            raise Interrupted("stopped; the same command continues")
        assert (settings.init is None) == (init is None) and settings.preset == ("tiny" if init is None else None)
        done.append((rows, seed, init is not None))
        error = 1000 * rows**-0.5 * (0.5 if init else 1) * (1 + 0.01 * seed)
        target = {"unit": "meV", "validation_mae": error, "test_mae": error, "validation_rows": 99, "test_rows": 9}
        result = {"kind": "schnet", "rows": rows, "seed": seed, "preset": "tiny", "parameters": 99, "steps": 5}
        result |= {"best_step": 4, "seconds": 1.0, "targets": {"y": target}, "level_of_theory": {"xc": "b3lyp5"}}
        result |= {"init": {"path": "other"} if init else None}
        (folder / "result.json").write_text(json.dumps(result))
        return result

    counts = {"train": 800, "validation": 100, "test": 100}
    source = SimpleNamespace(
        count=counts.__getitem__,
        require=counts.__getitem__,
        place="/some/where/corpus",
        digest="d",
        corpus=SimpleNamespace(store=None),
    )
    record = {"rows": 100, "seconds": 50.0, "workers": [{"devices": ["cpu"]}], "platform": "Linux"}
    monkeypatch.setattr(module, "open_rows", lambda place, targets, splits: source)
    monkeypatch.setattr(module.Division, "molecules", lambda self, most: 100)
    monkeypatch.setattr(module, "check_splits", lambda source: None)
    monkeypatch.setattr(module, "load_model", lambda path: "a network")
    monkeypatch.setattr(module, "shape_of", lambda settings, targets, init: ("tiny", None))
    monkeypatch.setattr(module, "records", lambda store: [record])
    monkeypatch.setattr(module, "train_cell", train_cell)
    return done


def settings(out: Path, **others: object) -> TrainSchnetConfig:
    given = {"data": "d", "out": out, "rows": "100,400", "seeds": 2, "preset": "tiny", **others}
    return TrainSchnetConfig.model_validate(given)


def test_all_cells_then_the_report(tmp_path: Path, trained: list[Any]) -> None:
    summary = module.run(settings(tmp_path, target_error=10), quiet=True)
    assert trained == [(100, 0, False), (100, 1, False), (400, 0, False), (400, 1, False)]
    found = json.loads((tmp_path / "scaling.json").read_text())
    assert found == json.loads(json.dumps(summary.report)) and found["schema_version"] == 1
    target = found["targets"]["y"]
    assert target["fit"]["exponent"] == pytest.approx(0.5)  # the seeds differ by a factor, which moves no slope
    # (1005 / 10)^2 rows or so (seeds 0 and 1 are 1 % apart), 80 % of which train, 2 a second
    assert target["estimate"]["rows"] == pytest.approx(10_100, rel=1e-3)
    hours = target["estimate"]["generating"]["here"]["hours"]
    assert hours == pytest.approx(10_100 / 0.8 / 2 / 3600, rel=1e-3)
    assert found["corpus"]["place"] == "corpus" and found["transfer"] is None
    text = summary.text()
    assert "b = 0.50" in text and "IPU-hours" in text and "2 seeds" in text
    assert scaling.draw_run(tmp_path).exists()


def test_a_repeated_command_writes_the_report_again(tmp_path: Path, trained: list[Any]) -> None:
    module.run(settings(tmp_path), quiet=True)
    (tmp_path / "scaling.json").unlink()
    module.run(settings(tmp_path), quiet=True)
    assert len(trained) == 4 and (tmp_path / "scaling.json").exists()


def test_a_curve_grows(tmp_path: Path, trained: list[Any]) -> None:
    """More rows asked for later join those that are there; trainings of other rows to choose from do not."""
    module.run(settings(tmp_path, rows="100"), quiet=True)
    module.run(settings(tmp_path, rows="400", seeds=1), quiet=True)
    found = json.loads((tmp_path / "scaling.json").read_text())["targets"]["y"]
    assert [(point["rows"], len(point["seeds"])) for point in found["points"]] == [(100, 2), (400, 1)]
    other = tmp_path / "rows-100" / "seed-1" / "result.json"
    other.write_text(json.dumps({**json.loads(other.read_text()), "identity": {"data": "another corpus"}}))
    module.run(settings(tmp_path, rows="400", seeds=1), quiet=True)
    found = json.loads((tmp_path / "scaling.json").read_text())["targets"]["y"]
    assert [(point["rows"], len(point["seeds"])) for point in found["points"]] == [(100, 1), (400, 1)]


def test_no_report_while_another_is_at_work(tmp_path: Path, trained: list[Any]) -> None:
    with Lock(tmp_path / "rows-400" / "seed-1" / ".lock"):
        (tmp_path / "config.toml").write_text(settings(tmp_path).resolved_toml(tmp_path))
        summary = module.run(settings(tmp_path), quiet=True)
    assert summary.report is None and not (tmp_path / "scaling.json").exists()
    assert "400 rows, seed 1: in the hands of process" in summary.text()


def test_the_gain_is_part_of_the_report(tmp_path: Path, trained: list[Any]) -> None:
    summary = module.run(settings(tmp_path, init=tmp_path, preset=None), quiet=True)
    assert len(trained) == 8 and (tmp_path / "scratch" / "rows-400" / "seed-1" / "result.json").exists()
    point = json.loads((tmp_path / "transfer.json").read_text())["targets"]["y"]["points"][0]
    assert point["ratio"] == pytest.approx(0.5) and "54.1 to 27.6" in summary.text()
    assert scaling.draw_transfer_run(tmp_path).exists()
