"""Parameters as published, and what ``--plan`` prints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import pytest

from qmgen.cli.main import main
from qmgen.config import check
from qmgen.config.train import TrainLmConfig
from qmgen.errors import UsageError
from qmgen.learning.lm.model import SMALL, LmShape, init, published

#: arXiv 2304.03208 (Cerebras-GPT), 2307.09288 (Llama 2), with their vocabularies and 2048 positions; in millions
PUBLISHED = {
    "gpt-111m": 111.05, "gpt-590m": 590.3, "gpt-1.3b": 1315.7, "gpt-6.7b": 6658.0, "gpt-13b": 12853.0,
    "llama2-7b": 6738.4, "llama2-13b": 13015.9, "llama2-70b": 68976.6,
}  # fmt: skip


@pytest.mark.parametrize("preset", PUBLISHED)
def test_parameters_are_those_published(preset: str) -> None:
    shape = published(preset, None)
    assert shape.total() / 1e6 == pytest.approx(PUBLISHED[preset], rel=1e-3)
    weights = jax.eval_shape(lambda: init(jax.random.key(0), shape))
    assert sum(leaf.size for leaf in jax.tree.leaves(weights)) == shape.total()


@pytest.mark.parametrize("shape", [shape for both in SMALL.values() for shape in both.values()], ids=str)
def test_the_count_is_that_of_the_arrays(shape: LmShape) -> None:
    small = shape.of(23, 64)
    assert sum(leaf.size for leaf in jax.tree.leaves(init(jax.random.key(0), small))) == small.total()


def test_a_preset_too_large_is_said_before_any_work(tmp_path: Path, capsys: Any) -> None:
    file = tmp_path / "a.smi"
    file.write_text("\n".join("C" * n for n in range(1, 90)))
    words = ["train", "lm", "--data", str(file), "--out", str(tmp_path / "run"), "--preset", "llama2-70b"]
    assert main([*words, "--device-memory", "80"]) == 2
    said = capsys.readouterr().err.strip()
    assert len(said.splitlines()) == 1 and "needs" in said and "GB" in said
    assert "--plan" in said and "--arch llama" in said
    assert not (tmp_path / "run").exists()


def test_plan_is_printed_without_data(capsys: Any) -> None:
    import json

    assert main(["train", "lm", "--plan", "--preset", "llama2-70b"]) == 0
    told = capsys.readouterr().out
    assert "68,976,648,192" in told and "optimiser" in told and "devices" in told
    assert main(["train", "lm", "--plan", "--preset", "gpt-111m", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["parameters"] == 111_050_496
    assert set(found["training"]) == {"f32", "bf16", "fp8"}
    assert found["training"]["fp8"]["total_bytes"] == sum(found["training"]["fp8"]["bytes"].values())


def test_a_precision_of_another_size_has_its_column(capsys: Any) -> None:
    assert main(["train", "lm", "--plan", "--preset", "gpt-111m", "--precision", "fp8-block"]) == 0
    assert "fp8-block" in capsys.readouterr().out
    base = ["train", "lm", "--plan", "--preset", "gpt-111m", "--precision", "fp8-amax"]
    assert main([*base, "--activations", "float32"]) == 0
    assert "as given" in capsys.readouterr().out


def test_devices_asked_for_are_counted(smiles: Path, capsys: Any) -> None:
    import json

    base = ["train", "lm", "--plan", "--preset", "llama2-7b", "--json"]
    assert main([*base, "--tensor-parallel", "4", "--data-parallel", "2", "--fully-sharded"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["layout"] == {"tensor_parallel": 4, "data_parallel": 2, "fully_sharded": True}
    assert found["training"]["bf16"]["total_bytes"] / 8 < found["training"]["bf16"]["bytes_each"]
    assert found["training"]["bf16"]["bytes_each"] < found["training"]["bf16"]["total_bytes"] / 4
    assert main([*base, "--tensor-parallel", "3"]) == 2
    assert "must divide 32 heads" in capsys.readouterr().err
    assert main([*base, "--data", str(smiles)]) == 0  # counted with their few tokens
    small = json.loads(capsys.readouterr().out)
    assert small["training"]["bf16"]["bytes"]["logits"] < found["training"]["bf16"]["bytes"]["logits"] / 100


def test_presets_are_checked() -> None:
    with pytest.raises(UsageError, match="llama2-7b"):
        published("llama-7b", None)
    with pytest.raises(UsageError, match="leave --arch out"):
        published("gpt-111m", "llama")
    assert check(TrainLmConfig, {"plan": True}).preset == "tiny"
