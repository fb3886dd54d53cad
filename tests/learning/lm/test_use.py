"""What a trained language model is used for: casting it to FP8, comparing, drawing molecules."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_models import SMILES

from qmgen.cli.main import main
from qmgen.config import check
from qmgen.config.predict import SampleConfig
from qmgen.errors import UsageError
from qmgen.learning.fp8 import AMAX, NOTE, Scaled8, dequantize
from qmgen.learning.lm.sampling import sample_run
from qmgen.learning.lm.stored import load_model, quantized
from qmgen.molecules.rules.ruleset import check_lines, load_rules
from qmgen.molecules.smiles import canonical, canonical_set
from qmgen.report.scales import draw_run

PNG = b"\x89PNG\r\n\x1a\n"


def quantize(trained: Path, out: Path, *flags: str) -> int:
    return main(["quantize", str(trained), "--out", str(out), *flags])


def test_weights_are_cast_once_and_stored_with_their_bias(
    trained: dict[str, Path], tmp_path: Path, capsys: Any
) -> None:
    assert quantize(trained["llama"], tmp_path / "small", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    before, after = load_model(trained["llama"]), load_model(tmp_path / "small")
    assert after.quantized and after.about["made_of_checksum"] == before.checksum
    linear = before.shape.parameters()["linear"]
    assert told["bytes"] < told["bytes_before"] - 2.9 * linear  # a byte for four, and some bytes of names
    for name in before.shape.linears():
        weight = after.params["weights"]["blocks"][name]["weight"]
        assert isinstance(weight, Scaled8) and weight.values.dtype == jnp.float8_e4m3fn
        assert np.asarray(weight.bias).tolist() == told["biases"][name]
        whole = np.asarray(before.params["weights"]["blocks"][name]["weight"])
        back = np.asarray(dequantize(weight))
        # four significant bits, and at the small end the least number: 2⁻⁹ of what was scaled to 224–448
        assert np.all(np.abs(back - whole) <= np.maximum(2.0**-4 * np.abs(whole), 2.0**-17 * np.abs(whole).max()))
    again = quantized(before, AMAX)
    for one, two in zip(jax.tree.leaves(again.params["weights"]), jax.tree.leaves(after.params["weights"])):
        np.testing.assert_array_equal(np.asarray(one).view(np.uint8), np.asarray(two).view(np.uint8))


def test_it_is_not_cast_twice_nor_over_what_is_there(trained: dict[str, Path], tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "small"
    assert quantize(trained["gpt"], out) == 0
    for words, said in (
        ([str(trained["gpt"]), "--out", str(out)], "is there already"),
        ([str(out), "--out", str(tmp_path / "smaller")], "is quantized already"),
        ([str(tmp_path / "none")], "no language model"),
        ([str(trained["gpt"]), "--out", str(trained["gpt"]), "--overwrite"], "is the model itself"),
    ):
        capsys.readouterr()
        assert main(["quantize", *words]) == 2
        told = capsys.readouterr().err.strip()
        assert said in told and len(told.splitlines()) == 1
    assert quantize(trained["gpt"], out, "--overwrite", "--recipe", "cscale", "--scale-bias", "5") == 0
    assert set(np.asarray(load_model(out).params["weights"]["blocks"]["up"]["weight"].bias)) == {5}


@pytest.mark.parametrize("formats", ["ocp", "ipu"])
def test_fp8_is_compared_with_16_bit(formats: str, trained: dict[str, Path], tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "small"
    assert quantize(trained["llama"], out, "--formats", formats) == 0
    assert NOTE in capsys.readouterr().err
    assert main(["sample", str(out), "-n", "8", "--out", str(tmp_path / "drawn.smi")]) == 0
    assert NOTE in capsys.readouterr().err
    words = ["--samples", "64", "--json", "--quiet"]
    assert main(["evaluate", str(out), "--molecules", str(_file(trained["llama"])), *words]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found["precisions"]) == ["fp8-amax", "bf16", "fp8-amax, quantised"]
    small, base = found["precisions"]["fp8-amax, quantised"], found["precisions"]["bf16"]
    assert found["emulated"] is True
    assert small["accuracy_of_16_bit"] == small["accuracy"] / base["accuracy"]
    assert abs(small["loss"] / base["loss"] - 1) < 0.02  # of 3 and 4 significant bits, through three blocks
    if formats == "ocp":  # the run's own products: its weights are scaled and cast in the same way at every use
        assert small["loss"] == pytest.approx(found["precisions"]["fp8-amax"]["loss"], rel=1e-6)
    assert main(["evaluate", str(trained["gpt"]), "--samples", "0"]) == 0
    told = capsys.readouterr().err
    assert "of 16 bit" in told and "emulated" in told


def _file(out: Path) -> Path:
    """The molecules that a run was trained on."""
    import tomllib

    return (out / tomllib.loads((out / "config.toml").read_text())["data"][0]).resolve()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--data", "corpus"], "a language model takes --molecules"),
        (["--molecules", "nowhere.smi"], "no such file"),
        (["--split", "test"], "none of the"),
    ],
)
def test_mistakes_of_evaluate(flags: list[str], said: str, trained: dict[str, Path], capsys: Any) -> None:
    assert main(["evaluate", str(trained["gpt"]), *flags]) == 2
    told = capsys.readouterr().err.strip()
    assert said in told and len(told.splitlines()) == 1


def test_molecules_come_out_each_once_and_valid(trained: dict[str, Path], tmp_path: Path, capsys: Any) -> None:
    words = ["sample", str(trained["gpt"]), "-n", "200", "--seed", "4"]
    assert main(words) == 0
    told = capsys.readouterr()
    lines = told.out.splitlines()
    assert lines and all(canonical(line) == line for line in lines) and len(set(lines)) == len(lines)
    assert "% valid" in told.err and "new" in told.err and NOTE not in told.err
    assert main([*words, "--out", str(tmp_path / "a.smi"), "--json"]) == 0
    counts = json.loads(capsys.readouterr().out)
    assert (tmp_path / "a.smi").read_text().splitlines() == lines
    assert counts["drawn"] == 200 and counts["kept"] == counts["unique"] == len(lines) <= counts["valid"]
    known = canonical_set(_file(trained["gpt"]).read_text().split()[::2])
    assert counts["novel"] == sum(line not in known for line in lines)
    assert main([*words, "--novel"]) == 0
    assert capsys.readouterr().out.splitlines() == [line for line in lines if line not in known]
    assert main([*words, "--rules", "gdb11"]) == 0
    accepted = [line for line, verdict in check_lines(lines, load_rules("gdb11")) if verdict == "ok"]
    assert capsys.readouterr().out.splitlines() == accepted
    assert main([*words, "--seed", "5"]) == 0
    assert capsys.readouterr().out.splitlines() != lines
    assert main([*words, "--keep-all"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 200


def test_what_is_drawn_can_be_labeled(
    trained: dict[str, Path], tmp_path: Path, bare_environment: dict[str, str]
) -> None:
    """Straight into the generator, which reads them from standard input."""
    import qmgen

    found: list[str] = []
    settings = check(SampleConfig, {"run": trained["gpt"], "number": 100, "temperature": 0.5})
    sample_run(settings, found.append, lambda done, total: None)
    small = [line for line in found if len(line) < 6][:2]
    words = ["generate", "--molecules", "-", "--grid-level", "0", "--workers", "1", "--out", str(tmp_path / "corpus")]
    command = [sys.executable, "-m", "qmgen", *words]
    subprocess.run(command, env=bare_environment, input="\n".join(small) + "\n", text=True, check=True)
    labeled = [
        smiles
        for split in ("train", "validation", "test")
        for smiles in qmgen.load(tmp_path / "corpus", split=split)["smile"].to_pylist()
    ]
    assert sorted(labeled) == sorted(small) and small


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--temperature", "0"], "temperature"),
        (["--rules", "gdb12"], "gdb12"),
        (["--json"], "standard output"),
        (["--data", "nowhere.smi"], "no such file"),
        (["--out", "/nowhere/a.smi"], "cannot write"),
        (["--out", "."], "is no file"),
        (["--out", "/dev/null"], "is no file"),
    ],
)
def test_mistakes_of_sample(flags: list[str], said: str, trained: dict[str, Path], capsys: Any) -> None:
    assert main(["sample", str(trained["gpt"]), "-n", "8", *flags]) == 2
    told = capsys.readouterr().err.strip()
    assert said in told and len(told.splitlines()) == 1, told


def test_novelty_needs_to_know_the_training(trained: dict[str, Path], tmp_path: Path, capsys: Any) -> None:
    """The run of a quantized model is found, where it is still there; a model file alone knows nothing."""
    assert quantize(trained["gpt"], tmp_path / "small") == 0
    assert main(["sample", str(tmp_path / "small"), "-n", "8", "--novel"]) == 0
    alone = tmp_path / "alone" / "model.safetensors"
    alone.parent.mkdir()
    alone.write_bytes((trained["gpt"] / "model.safetensors").read_bytes())
    capsys.readouterr()
    assert main(["sample", str(alone), "-n", "8", "--novel"]) == 2
    assert "give --data" in capsys.readouterr().err
    assert main(["sample", str(alone), "-n", "8", "--novel", "--data", str(_file(trained["gpt"]))]) == 0


def test_a_stopped_draw_leaves_nothing(
    trained: dict[str, Path], tmp_path: Path, bare_environment: dict[str, str]
) -> None:
    out = tmp_path / "a.smi"
    words = ["sample", str(trained["gpt"]), "-n", "10000000", "--out", str(out)]
    process = subprocess.Popen([sys.executable, "-m", "qmgen", *words], env=bare_environment)
    for _ in range(600):
        if list(tmp_path.iterdir()) or process.poll() is not None:
            break
        time.sleep(0.1)
    assert list(tmp_path.iterdir())
    process.terminate()
    assert process.wait(timeout=120) == 143
    assert not list(tmp_path.iterdir())


def test_molecules_of_the_enumerator_are_taken_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it wrote is canonical; anything else is read, each line of it."""
    from qmgen.learning.lm import sampling

    out = tmp_path / "three.smi"
    assert main(["enumerate", "--heavy-atoms", "3", "--out", str(out)]) == 0
    read: list[int] = []
    monkeypatch.setattr(sampling, "canonical_set", lambda texts: read.append(len(texts)) or canonical_set(texts))
    settings = check(SampleConfig, {"run": "somewhere", "data": [str(out)]})
    model: Any = SimpleNamespace(about={})
    known = sampling._known(settings, model)
    assert known and not read and known == canonical_set(sorted(known))
    with out.open("a") as stream:
        stream.write("OCCCC\n")
    assert sampling._known(settings, model) == known | {"CCCCO"} and read
    with out.open("a") as stream:
        stream.write("CC!\n")
    with pytest.raises(UsageError, match="'CC!' is no SMILES"):
        sampling._known(settings, model)
    model.about["unreadable"] = 1  # as in the training
    assert sampling._known(settings, model) == known | {"CCCCO"}


def test_figures_are_drawn(trained: dict[str, Path]) -> None:
    figures = {name: draw_run(out) for name, out in trained.items()}
    assert [path.name for path in figures["gpt"]] == ["loss.png"]
    assert [path.name for path in figures["llama"]] == ["loss.png", "scales.png", "scale-map.png"]
    assert all(path.read_bytes().startswith(PNG) for paths in figures.values() for path in paths)


def test_proposals_are_read_as_molecules() -> None:
    assert canonical("OCC") == "CCO"
    assert all(canonical(text) is None for text in ("", "C1CC", "c1cccc1", "C(C)(C)(C)(C)C", "é"))
    assert canonical_set(["OCC", "CCO", "x"]) == {"CCO"}
    assert canonical_set(["CCO"]) == {"CCO"}
    assert all(canonical(text) is not None for text in SMILES)
