"""``scripts/bench_device``: to its end on tiny molecules without RDKit and PySCF, and what it says of wrong input."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.device.child import MEASUREMENTS
from benchmarks.device.session import Options
from benchmarks.device.task import SHIPPED, Geometries, Task, load, toy
from benchmarks.device.throughput import problems
from benchmarks.device.waits import gpu4pyscf, needs
from qmgen.errors import UsageError
from qmgen.labeling.types import Settings

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "bench_device"

#: read by every interpreter at its start: importing either is an error, in all processes that the script starts
BLOCK = """
import sys
sys.modules["rdkit"] = sys.modules["pyscf"] = sys.modules["pydantic"] = None
"""


def bench(tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The script, where RDKit, PySCF and pydantic cannot be imported, as on a borrowed machine."""
    (tmp_path / "blocked").mkdir(exist_ok=True)
    (tmp_path / "blocked" / "sitecustomize.py").write_text(BLOCK)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "blocked")}
    for name in ("rdkit", "pyscf", "pydantic"):
        tried = subprocess.run(
            [sys.executable, "-c", f"import {name}"], env=environment, capture_output=True, check=False
        )
        assert tried.returncode != 0, f"{name} is not blocked"
    return subprocess.run(
        [sys.executable, str(SCRIPT), *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )


def test_a_toy_goes_to_its_end_without_rdkit_and_pyscf(tmp_path: Path) -> None:
    out = tmp_path / "device.json"
    done = bench(tmp_path, "--toy", "--minutes", "20", "--out", str(out))
    assert done.returncode == 0, done.stderr
    result = json.loads(out.read_text())
    assert result["schema"] == 1 and result["failed"] == [] and result["skipped"] == []
    assert {"date", "command", "machine", "versions", "device", "git_commit"} <= result.keys()
    found = {name: one["entries"] for name, one in result["measurements"].items()}
    assert list(found) == [name for name in MEASUREMENTS if name != "tests"]
    assert all(one["seconds"] > 0 for one in result["measurements"].values())
    assert all(found["ceilings"][name]["gflops"] > 0 for name in ("float64", "float32"))
    assert found["ceilings"]["copy"]["gb_s"] > 0
    for entry in (found["throughput"]["level 0"], found["batch_sizes"]["batch 1"], found["batch_sizes"]["batch 2"]):
        assert entry["conformers_per_second"]["median"] > 0 and entry["failures"] == {}
    # to PySCF's, which converges further: both are within 1e-9 of the minimum
    level = found["throughput"]["level 0"]
    assert level["compared"] == 4 and level["largest_energy_difference"] < 1e-8
    for precision in ("default", "highest"):
        trained = found["schnet"][f"tiny, batch 2, {precision}"]
        assert trained["molecules_per_second"] > 0 and trained["floor"] > 0
    stages = ["host lists", "integrals", "supermatrix", "grid", "field", "rows", "parquet"]
    assert [name for name in found["stages"] if name != "about"] == stages
    assert all(found["stages"][name]["floor"] > 0 for name in ("integrals", "supermatrix", "grid", "field"))
    reckoned = found["memory"]["batch 2"]["reckoned"]
    assert reckoned["sum"] == sum(part for name, part in reckoned.items() if name != "sum")
    energy = found["energy"]
    assert energy["preparing"]["geometries_per_second"] > 0
    assert energy["stopped"]["step"] == 0 and not energy["stopped"]["finished"]  # and goes on
    assert energy["training"]["step"] == 6 and energy["training"]["finished"]
    assert energy["training"]["seconds_per_step"] > 0
    after, before = (energy["training"][name] for name in ("excess_meV", "excess_meV_without_correction"))
    assert all(after[name] < before[name] for name in ("refine_0", "refine_3"))
    for name in ("layer of toy, 64×32×48", "step of toy, 2×32 tokens"):
        entry = found["fp8"][name]
        assert entry["ratio"] == entry["bf16_seconds"] / entry["fp8-amax_seconds"] > 0
        assert sum(entry["fp8-amax_products"].values()) >= 3  # forward and two backward
        assert entry["emulated"] or entry["fp8_product"]
    waits = found["first_label"]["first label"]
    assert waits["empty_cache"]["seconds"] > 0 and waits["filled_cache"]["seconds"] > 0
    assert "| throughput | level 0 |" in done.stdout


def test_only_what_was_asked_for_and_only_while_there_is_time(tmp_path: Path) -> None:
    out = tmp_path / "device.json"
    done = bench(tmp_path, "--toy", "--minutes", "0.01", "--only", "ceilings", "--out", str(out))
    assert done.returncode == 0 and "skipped" in done.stdout
    assert json.loads(out.read_text())["skipped"] == ["ceilings"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--only", "ceiling"], "no measurement is called 'ceiling'"),
        (["--minutes", "0"], "--minutes must be a positive number"),
        (["--minutes", "nan"], "--minutes must be a positive number"),
        (["--minutes", "soon"], "invalid float value: 'soon'"),
        (["--geometries", "nowhere.npz"], "cannot read nowhere.npz"),
        (["--geometries", str(SCRIPT)], "is not an .npz file"),
        (["--toy", "--geometries", "x.npz"], "leave out --geometries"),
        (["--toy", "--only", "tests"], "nothing is left to measure"),
        (["--out", str(ROOT)], "is not a file"),
        (["--keep", str(SCRIPT)], "is not a directory"),
        (["--fast"], "unrecognized arguments: --fast"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(words: list[str], said: str, capsys: pytest.CaptureFixture) -> None:
    from benchmarks.device.session import main

    assert main(words) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and said in shown.err and shown.err.count("\n") == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"positions": np.zeros((2, 3, 2))}, "are not (M, A) and (M, A, 3)"),
        ({"positions": np.zeros((2, 3, 3))}, "row 0: atoms"),
        ({"numbers": np.array([[0, 1, 1], [1, 1, 0]])}, "padding before an atom"),
        ({"energies": np.zeros((2, 1))}, "energies (2, 1) must be (2, 0)"),
        ({"names": np.zeros(3)}, "names (3,) must be (2,)"),
    ],
)
def test_a_file_of_another_form_is_refused(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    arrays = {"numbers": np.array([[1, 1, 0], [1, 1, 0]]), "positions": np.arange(18.0).reshape(2, 3, 3), **change}
    np.savez(tmp_path / "made.npz", **arrays)
    with pytest.raises(UsageError, match=r".*") as caught:
        load(tmp_path / "made.npz")
    assert said in str(caught.value)


def test_the_shipped_geometries_are_real_molecules_with_energies() -> None:
    shipped = load(SHIPPED)
    assert SHIPPED.stat().st_size < 400_000 and 200 <= len(shipped.conformers) <= 256
    assert all(9 <= np.sum(c.numbers > 1) <= 11 for c in shipped.conformers)
    assert {level for _, level in shipped.energies} == {0, 1, 3}
    _, chosen = shipped.of_one_shape(Settings(grid_level=1), 16)
    assert all((c.molecule_id, 1) in shipped.energies for c in chosen)


def test_conformers_of_one_shape_come_again_under_other_names() -> None:
    _, chosen = toy().of_one_shape(Settings(grid_level=0), 7)
    assert len({(c.molecule_id, c.conformer_id) for c in chosen}) == 7


def made_task(
    tmp_path: Path, ends: float, throughput: dict[str, float], accelerator: bool = False
) -> tuple[Task, dict]:
    found: dict[str, Any] = {}
    nothing = Geometries("none", (), {})
    put = found.__setitem__
    return Task(True, accelerator, nothing, ends, put, lambda what: None, throughput, tmp_path), found


def test_an_error_is_an_entry_and_nothing_is_begun_without_time(tmp_path: Path) -> None:
    task, found = made_task(tmp_path, float("inf"), {})

    def fail() -> dict[str, Any]:
        raise ValueError("two\nlines")

    assert task.entry("bad", fail) is None and task.entry("good", lambda: {"x": 1}) == {"x": 1}
    assert found["bad"]["error"] == "ValueError: two lines" and found["good"]["seconds"] >= 0
    task.ends = 0.0
    task.entry("late", lambda: {"x": 2})
    assert "skipped" in found["late"]


def test_wrong_energies_and_failures_are_errors() -> None:
    assert problems({}, [1e-9, 9e-7]) == "" and problems({}, []) == ""
    assert "2.0e-06" in problems({}, [1e-9, 2e-6])
    assert "nan" in problems({}, [float("nan"), 1e-9])
    assert problems({"not_converged": 3}, [1e-9]) == "3 conformers without a label (not_converged)"


def test_the_ratio_to_gpu4pyscf_needs_an_accelerator_and_names_its_source(tmp_path: Path) -> None:
    task, found = made_task(tmp_path, 0.0, {"level 3": 10.0})
    gpu4pyscf(task)
    assert found["ratio"]["value"] is None and found["ratio"]["note"]
    task, found = made_task(tmp_path, 0.0, {"level 3": 10.0}, accelerator=True)
    gpu4pyscf(task)
    assert found["ratio"]["value"] == [24.0, 43.0] and "A100" in found["ratio"]["note"]


def test_options_choose_and_leave_out() -> None:
    assert Options(False, 9.0, (), (), SHIPPED).wanted() == list(MEASUREMENTS)
    assert Options(False, 9.0, ("memory", "tests"), ("tests",), SHIPPED).wanted() == ["memory"]


def test_tests_that_need_what_is_missing_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "test_one.py").write_text("from pyscf import gto\n")
    (tmp_path / "test_two.py").write_text("from qmgen.molecules.embedding import embed\n")
    files = tmp_path / "test_one.py", tmp_path / "test_two.py"
    assert [needs(path, []) for path in files] == [False, False]
    assert [needs(path, ["pyscf", "rdkit"]) for path in files] == [True, True]
