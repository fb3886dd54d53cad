"""Networks and checkpoints in format 1 of ``model.safetensors`` (qmgen 0.1.0) are loaded, evaluated and continued: what
they predict is what stands beside them (tests/fixtures/networks_before)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from toy_corpus import write_corpus

from qmgen.cli.main import main
from qmgen.config import EvaluateConfig, check
from qmgen.learning.hamiltonian import Inputs
from qmgen.learning.kinds import KINDS, network_kind
from qmgen.learning.lm.model import SMALL, LmShape
from qmgen.learning.schnet.model import PRESETS, SchNetShape
from qmgen.learning.training import checkpoint
from qmgen.learning.training.folder import METRICS, read_journal, timeless

EARLIER = Path(__file__).resolve().parent.parent / "fixtures" / "networks_before"
#: another version of XLA may sum in another order
ROUNDING = {"rtol": 1e-5, "atol": 1e-6}
GEOMETRIES = """3

O 0 0 0
H 0.76 0.59 0
H -0.76 0.59 0
4

C 0 0 0
O 1.2 0 0
H -0.6 0.9 0
H -0.6 -0.9 0
"""


@pytest.fixture(scope="module")
def predicted() -> Any:
    return json.loads((EARLIER / "predictions.json").read_text())


@pytest.mark.parametrize(
    ("run", "kind"),
    [("schnet", "schnet"), ("hamiltonian-blocks", "energy"), ("hamiltonian-qpt", "energy"), ("lm", "lm"),
     ("lm-quantized", "lm")],
)  # fmt: skip
def test_the_kind_is_known_and_what_is_saved_again_is_the_same(run: str, kind: str, tmp_path: Path) -> None:
    stored = network_kind(EARLIER / run).load(EARLIER / run)
    assert KINDS[kind].network == network_kind(stored.path).network
    KINDS[kind].save(tmp_path / "model.safetensors", stored)
    (arrays, about), (again, now) = (checkpoint.read(file) for file in (stored.path, tmp_path / "model.safetensors"))
    assert about == now and arrays.keys() == again.keys()
    assert all(np.array_equal(array, again[name]) for name, array in arrays.items())


def test_schnet_predicts_what_it_did(predicted: Any, tmp_path: Path) -> None:
    (tmp_path / "two.xyz").write_text(GEOMETRIES)
    out = tmp_path / "found.json"
    settings = {"run": EARLIER / "schnet", "molecules": [str(tmp_path / "two.xyz")], "out": str(out)}
    assert (
        network_kind(EARLIER / "schnet").evaluate(check(EvaluateConfig, settings), quiet=True).plain["predicted"] == 2
    )
    for row, before in zip(json.loads(out.read_text())["predictions"], predicted["schnet"], strict=True):
        assert row.keys() == before.keys()
        for name, value in before.items():
            if isinstance(value, float | list):
                np.testing.assert_allclose(row[name], value, **ROUNDING, err_msg=name)
            else:
                assert row[name] == value


@pytest.mark.parametrize("kind", ["blocks", "qpt"])
def test_hamiltonians_are_corrected_as_they_were(kind: str) -> None:
    stored = KINDS["energy"].load(EARLIER / f"hamiltonian-{kind}")
    inputs = Inputs(**np.load(EARLIER / "water.npz"))
    network = stored.network
    correct = jax.jit(lambda params, inputs: network.correction(params, stored.statistics, network.describe(inputs)))
    found = correct(stored.params, inputs)
    before = np.load(EARLIER / "corrections.npz")[kind]
    assert np.abs(before).max() > 1e-3
    np.testing.assert_allclose(found, before, **ROUNDING)


@pytest.mark.parametrize("run", ["lm", "lm-quantized"])
def test_language_models_are_as_good_as_they_were(run: str, predicted: Any) -> None:
    settings = {"run": EARLIER / run, "molecules": [str(EARLIER / "small.smi")], "samples": 8}
    found = network_kind(EARLIER / run).evaluate(check(EvaluateConfig, settings), quiet=True).plain["precisions"]
    assert found.keys() == predicted[run].keys()
    for name, before in predicted[run].items():
        np.testing.assert_allclose(found[name]["loss"], before["loss"], rtol=1e-4)
        assert found[name]["valid"] == before["valid"]


@pytest.mark.parametrize("kind", ["schnet", "lm"])
def test_a_training_that_was_stopped_is_continued_to_the_same_end(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PRESETS, "tiny", SchNetShape(8, 8, 1, 8, 15.0))
    monkeypatch.setitem(SMALL, "mini", {"llama": LmShape("llama", 16, 1, 2, 1, 24, 32000, 2048)})
    if kind == "schnet":
        data = write_corpus(tmp_path / "toy")
        words = ["--preset", "tiny", "--batch-size", "8", "--rows", "16", "--target", "energy,forces,dipole,y"]
        cell = "rows-16/seed-0"
    else:
        data = EARLIER / "small.smi"
        words = ["--preset", "mini", "--arch", "llama", "--precision", "fp8-amax", "--context", "32"]
        words += ["--batch-size", "4", "--watch-every", "4", "--validation-fraction", "0.2"]
        cell = "."
    out = tmp_path / "run"
    shutil.copytree(EARLIER / f"{kind}-half", out)
    command = ["train", kind, "--data", str(data), "--out", str(out), *words]
    assert main([*command, "--steps", "6", "--log-every", "2", "--validate-every", "3", "-q"]) == 0
    found, before = (
        [line["loss"] for line in timeless(read_journal(place / cell / METRICS)) if "loss" in line]
        for place in (out, EARLIER / kind)
    )
    assert len(before) == 3
    np.testing.assert_allclose(found, before, rtol=1e-5)
    arrays, expected = (checkpoint.read(place / cell / "model.safetensors")[0] for place in (out, EARLIER / kind))
    assert arrays.keys() == expected.keys()
    for name, array in expected.items():
        if name.startswith("weights") or kind == "schnet":
            np.testing.assert_allclose(arrays[name], array, rtol=1e-3, atol=1e-5, err_msg=name)
