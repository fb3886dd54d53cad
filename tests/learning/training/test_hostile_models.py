"""Model files and checkpoints that may hold anything: they load, or are refused in one line."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import jax
import numpy as np
import pytest
from line_task import run

from qmgen.cli.main import main
from qmgen.errors import QmgenError, UsageError
from qmgen.learning.data.packed import Normalization
from qmgen.learning.energy import stored as hamiltonian
from qmgen.learning.fp8 import AMAX
from qmgen.learning.hamiltonian.network import Qpt
from qmgen.learning.hamiltonian.qpt import QptShape
from qmgen.learning.kinds import stated_kind
from qmgen.learning.lm import stored as lm
from qmgen.learning.lm.model import LmShape, init, probes_of
from qmgen.learning.lm.texts import SPECIAL, Vocabulary
from qmgen.learning.schnet import model
from qmgen.learning.schnet import model as schnet
from qmgen.learning.schnet.model import SchNetShape
from qmgen.learning.targets import targets_of
from qmgen.learning.training import checkpoint
from qmgen.pipeline.level import describe_network as about_guess

#: instead of what belongs there; sizes of which anything would take all memory, or all time
ODD: Final = (..., None, 0, -1, 10**9, 10**30, 0.5, "x", [], {"a": [None]})
FEW: Final = (..., None, 10**9, "x", [[]])
#: members that decide what is made; of the others a few odd values are enough
DEEP: Final = ("shape", "network", "recipe")


def _schnet(path: Path) -> None:
    shape = SchNetShape(hidden=4, filters=4, interactions=1, gaussians=3, cutoff=9.0, elements=9)
    normalization = Normalization({"y": 0.0}, {"y": 1.0}, {"y": {1: 0.5}}, (1, 8))
    about = {"preset": "tiny", "rows": 3, "level_of_theory": {"xc": "pbe"}, "digest": "d"}
    params = model.init(jax.random.key(0), shape)
    schnet.save_model(path, schnet.StoredSchnet(params, shape, targets_of(["y"]), normalization, about))


def _hamiltonian(path: Path) -> None:
    network = Qpt("qpt-tiny", QptShape(width=4, heads=2, layers=1))
    about = {"xc": "pbe", "basis": "sto-3g", "basis_checksum": "c", "grid_level": 0, "elements": [1, 8], "refine": 0}
    params = network.init(jax.random.key(0))
    level = {"level_of_theory": {"xc": "pbe", "basis": "sto-3g"}}
    hamiltonian.save_model(path, hamiltonian.StoredHamiltonian(network, params, (), {**about, **level}))


def _lm(path: Path) -> None:
    shape = LmShape("gpt", width=4, layers=1, heads=2, kv_heads=2, inner=4, vocabulary=5, context=8)
    params = {"weights": init(jax.random.key(0), shape), "probes": probes_of(shape, AMAX)}
    about = {"arch": "gpt", "precision": "fp8-amax", "activations": "float32", "longest": 7, "validation_fraction": 0.1}
    vocabulary = Vocabulary((*SPECIAL, "C", "O"))
    lm.save_model(path, lm.StoredLm(params, shape, vocabulary, AMAX, about))


Kind = tuple[Callable[[Path], None], Callable[[Path], Any]]
KINDS: Final[dict[str, Kind]] = {
    "schnet": (_schnet, schnet.load_model),
    "hamiltonian": (_hamiltonian, hamiltonian.load_model),
    "lm": (_lm, lm.load_model),
}


def spoiled(value: Any, odd: Any, way: str = "") -> Iterator[tuple[str, Any]]:
    """``value`` with each of its members in turn replaced by ``odd``, or removed where that is ``...``."""
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(min(len(value), 1)):
            copied = copy.copy(value)
            if odd is ...:
                del copied[key]
            else:
                copied[key] = odd
            if odd in FEW or way.partition(".")[0] in DEEP or key in DEEP:
                yield f"{way}.{key}".lstrip("."), copied
            for place, inner in spoiled(value[key], odd, f"{way}.{key}".lstrip(".")):
                whole = copy.copy(value)
                whole[key] = inner
                yield place, whole


def refused(act: Callable[[], Any], what: str) -> bool:
    """Whether ``act`` refuses, which it does in one line of exit code 1 or 2."""
    try:
        act()
    except QmgenError as error:
        assert len(error.lines) == 1 and error.exit_code in (1, 2), (what, error)
        return True
    except Exception as error:
        raise AssertionError(what) from error
    return False


@pytest.mark.parametrize("kind", KINDS)
def test_any_field_of_any_type_loads_or_is_refused_in_one_line(kind: str, tmp_path: Path) -> None:
    make, load = KINDS[kind]
    file = tmp_path / "model.safetensors"
    make(file)
    load(file)
    arrays, about = checkpoint.read(file)
    cases = [(place, value, odd) for odd in ODD for place, value in spoiled(about, odd)]
    assert len(cases) > 60
    for place, value, odd in cases:
        checkpoint.save(file, arrays, value)
        no = refused(lambda: load(file), f"{place} = {odd!r}")
        refused(lambda: about_guess(str(file)), f"{place} = {odd!r}")
        assert no or odd not in (10**9, 10**30) or place.partition(".")[0] not in DEEP, f"{place} = {odd!r} was loaded"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", ["[]", "null", "7", '"x"', "[" * 100_000, '{"a":' * 100_000, "{", "", "{}"])
def test_metadata_that_are_no_table_are_refused_in_one_line(
    kind: str, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from safetensors.numpy import save_file

    file = tmp_path / "model.safetensors"
    save_file({"w": np.zeros(2, np.float32)}, file, {checkpoint.KEY: text})
    assert stated_kind(file) == ""
    assert refused(lambda: KINDS[kind][1](file), text[:9]) and refused(lambda: about_guess(str(file)), text[:9])
    for words in (["evaluate", str(file), "--molecules", "x.smi"], ["sample", str(file)], ["quantize", str(file)]):
        assert main(words) == 2
        printed = capsys.readouterr().err
        assert printed.count("\n") == 1 and "bug" not in printed


@pytest.mark.parametrize("header", [2**62, 2**40, 10**8 + 8, 3])
def test_a_header_longer_than_the_file_takes_no_memory(header: int, tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(header.to_bytes(8, "little") + b'{"w":{"dtype":"F32","shape":[1]}}')
    for _, load in KINDS.values():
        assert refused(lambda load=load: load(file), str(header))  # type: ignore[misc]


@pytest.mark.parametrize("shape", [[10**12], [2**63], [-1], [2, 10**18], [[1]], None, "x"])
def test_a_tensor_larger_than_the_file_takes_no_memory(shape: Any, tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    text = json.dumps({"w": {"dtype": "F32", "shape": shape, "data_offsets": [0, 4]}}).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + bytes(4))
    for _, load in KINDS.values():
        assert refused(lambda load=load: load(file), str(shape))  # type: ignore[misc]


def test_heads_that_are_none_are_refused_by_name(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    for make, load in (KINDS["hamiltonian"], KINDS["lm"]):
        make(file)
        arrays, about = checkpoint.read(file)
        (about["network"]["shape"] if "network" in about else about["shape"])["heads"] = 0
        checkpoint.save(file, arrays, about)
        with pytest.raises(UsageError, match="a network has at least one of everything"):
            load(file)


@pytest.mark.parametrize("odd", FEW, ids=repr)
def test_a_checkpoint_of_any_metadata_is_continued_or_refused_in_one_line(odd: Any, tmp_path: Path) -> None:
    run(tmp_path, steps=2)
    (tmp_path / checkpoint.PREVIOUS).unlink(missing_ok=True)
    arrays, about = checkpoint.read(tmp_path / checkpoint.NAME)
    cases = [(place, value) for place, value in spoiled(about, odd) if not place.startswith("place.")]  # its feed's
    assert len(cases) > 7
    for place, value in cases:
        checkpoint.save(tmp_path / checkpoint.NAME, arrays, value)
        refused(lambda: run(tmp_path, steps=2), f"{place} = {odd!r}")


@pytest.mark.parametrize(
    "words",
    [
        ["evaluate", "run", "--molecules", "x.smi"], ["evaluate", "run/model.safetensors", "--data", "c"],
        ["sample", "run"], ["quantize", "run"],
        ["train", "energy", "--molecules", "x.smi", "--out", "o", "--init", "run"],
        ["generate", "--molecules", "x.smi", "--out", "o", "--guess", "run"],
    ],
    ids=lambda words: " ".join(words)[:30],
)  # fmt: skip
@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_a_model_that_is_no_file_is_not_waited_for(
    words: list[str],
    make: Callable[[Path], Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.smi").write_text("O\n")
    (tmp_path / "run").mkdir()
    make(tmp_path / "run" / "model.safetensors")
    assert main(words) in (1, 2)
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1 and "run" in printed, printed
    with pytest.raises(checkpoint.DamagedCheckpoint, match="Not a regular file"):
        checkpoint.read(tmp_path / "run" / "model.safetensors")
