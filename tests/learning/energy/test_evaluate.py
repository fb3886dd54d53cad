"""``qmgen evaluate`` of a predicted Hamiltonian: errors against fields that are converged here and now."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from few_molecules import LEVEL, SMALL, system, write_xyz

from qmgen.cli.main import main
from qmgen.config.predict import EvaluateConfig
from qmgen.dft.prepare import Shape
from qmgen.dft.scf import ScfOptions
from qmgen.dft.scf import solve as solve_scf
from qmgen.labeling.stream import label
from qmgen.labeling.types import Settings
from qmgen.learning.energy import evaluate as module
from qmgen.learning.energy.evaluate import CycleCounts, evaluate_hamiltonian, text
from qmgen.learning.energy.geometries import read_geometries
from qmgen.learning.energy.problems import CONVERGED, GeometryStore, References, case_of
from qmgen.learning.energy.stored import StoredHamiltonian, open_guess, save_model
from qmgen.learning.training.checkpoint import MODEL
from qmgen.molecules.types import Conformer, Failure


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that corrects nothing."""
    seen = [jax.tree.map(np.asarray, SMALL.describe(case_of(system("water"), Shape(8, 4, 4), LEVEL).inputs))]
    about = {
        "xc": "b3lyp5", "basis": "sto-3g", "basis_checksum": LEVEL.basis_set.checksum, "grid_level": 0,
        "loss": "energy",
        "elements": [1, 7, 8], "refine": 0, "geometries": 1,
    }  # fmt: skip
    folder = tmp_path_factory.mktemp("evaluated")
    save_model(folder / MODEL, StoredHamiltonian(SMALL, SMALL.init(jax.random.key(0)), SMALL.statistics(seen), about))
    return folder


@pytest.fixture(scope="module")
def molecules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Water twice, ammonia, and hydrogen fluoride, an element of which the network knows nothing."""
    systems = [system("water", 1), system("water", 2), system("ammonia"), system("fluoride")]
    return write_xyz(tmp_path_factory.mktemp("xyz") / "some.xyz", systems)


def settings(run: Path, molecules: Path, **other: Any) -> EvaluateConfig:
    return EvaluateConfig.model_validate({"run": run, "molecules": [str(molecules)], **other})


@pytest.fixture(scope="module")
def report(run: Path, molecules: Path) -> module.HamiltonianReport:
    return evaluate_hamiltonian(settings(run, molecules))


def test_nothing_corrected_is_as_without_a_correction(report: module.HamiltonianReport) -> None:
    assert report.molecules == 3 and report.skipped == {"unseen_element": 1}
    for k in (0, 3):
        network, without = report.errors[f"network_refine_{k}"], report.errors[f"no_correction_refine_{k}"]
        assert network == pytest.approx(without, rel=1e-9)
        assert all(value > 0 for value in without.values())
    first, third = report.errors["network_refine_0"], report.errors["network_refine_3"]
    assert third["excess"] < first["excess"] <= first["excess_largest"]
    assert report.excess.shape == (3, 4) and report.excess[:, 0].mean() == pytest.approx(first["excess"])


def test_the_numbers_are_those_of_a_direct_computation(run: Path, tmp_path: Path) -> None:
    file = write_xyz(tmp_path / "one.xyz", [system("water", 5)])
    report = evaluate_hamiltonian(settings(run, file))
    store = GeometryStore([system("water", 5)], LEVEL, SMALL, 1e9)
    references = References(store)
    ready = store.get(0)
    assert ready is not None
    best = references.converge(ready.case)
    assert best is not None
    fock = references.fock(ready.case, best.density)
    off = np.abs(np.asarray(ready.case.inputs.initial) - fock)[:7, :7]
    # positions in the file are rounded to 1e-8 Angstrom
    assert report.errors["network_refine_0"]["hamiltonian"] == pytest.approx(1e6 * off.mean(), rel=1e-5)


def test_a_network_that_knows_the_answer_has_no_errors(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_xyz(tmp_path / "one.xyz", [system("water", 5)])

    def exact(self: Any, params: Any, ready: Any) -> np.ndarray:
        best = self.references.converge(ready.case)
        return np.asarray(self.references.fock(ready.case, best.density))

    class Exact:
        """The density that the field from atoms ends with."""

        def __init__(self, stored: Any) -> None:
            pass

        def __call__(self, problems: Any, numbers: Any) -> list[np.ndarray]:
            solve = jax.jit(lambda problem: solve_scf(LEVEL.functional, problem, ScfOptions()).density[0])
            return [np.asarray(solve(jax.tree.map(jax.numpy.asarray, problem))) for problem in problems]

    monkeypatch.setattr(module.HamiltonianTask, "predict", exact)
    monkeypatch.setattr(module, "LearnedGuess", Exact)
    report = evaluate_hamiltonian(settings(run, file))
    found = report.errors["network_refine_0"]
    # the reference's own orbital gradient is 1e-7 Ha: errors of first order are of that size, in µHa and meV
    assert abs(found["excess"]) < 1e-5 and found["hamiltonian"] < 1.0 and found["levels"] < 1.0 and found["gap"] < 0.05
    assert found["dipole"] < 1e-5
    assert report.cycles["network"] < report.cycles["atoms"] and report.cycles["saved"] > 0.25


def test_cycles_are_those_of_the_rows_that_are_labeled(
    run: Path, molecules: Path, report: module.HamiltonianReport
) -> None:
    """One definition: the same numbers as the column ``cycles``, geometry by geometry."""
    how, found = Settings("b3lyp5", "sto-3g", 0), {}
    conformers = [
        Conformer(number, 0, "", "", np.asarray(one.numbers, np.uint8), one.positions)
        for number, one in enumerate(read_geometries([molecules], None, LEVEL).geometries[:3])
    ]
    for side, guess in (("atoms", None), ("network", open_guess(run))):
        results = list(label(conformers, how, guess=guess))
        found[side] = [result[1].cycles for result in results if not isinstance(result, Failure)]
    assert len(found["atoms"]) == len(found["network"]) == report.molecules == 3
    assert report.cycles["atoms"] == np.mean(found["atoms"]) and report.cycles["network"] == np.mean(found["network"])
    assert report.cycles["saved"] == pytest.approx(1 - sum(found["network"]) / sum(found["atoms"]))
    assert "as `qmgen generate` counts them at this level" in text(report)


def test_a_molecule_without_a_label_is_in_neither_mean(
    run: Path, molecules: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = iter([CycleCounts(10, 8, 1.0, 1.0, 0.1), None, CycleCounts(12, 6, 3.0, 1.0, 0.3)])
    monkeypatch.setattr(module, "count_cycles", lambda geometry, how, guess: next(counted))
    found = evaluate_hamiltonian(settings(run, molecules))
    assert found.molecules == 3 and found.cycles == {"atoms": 11.0, "network": 7.0, "saved": pytest.approx(4 / 11)}
    assert found.seconds == pytest.approx({"network": 0.2, "scf_atoms": 2.0, "scf_network": 1.0})
    monkeypatch.setattr(module, "count_cycles", lambda geometry, how, guess: None)
    assert "not counted" in text(evaluate_hamiltonian(settings(run, molecules)))


def test_a_lower_solution_becomes_the_reference(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reference is made to be too high: every trial after rebuilds lies below it."""
    file = write_xyz(tmp_path / "one.xyz", [system("water", 5)])
    honest = References.converge
    calls = []

    def too_high(self: References, case: Any, guess: Any = None, options: Any = CONVERGED) -> Any:
        from dataclasses import replace

        found = honest(self, case, guess, options)
        calls.append(guess is None)
        return replace(found, energy=found.energy + 0.5) if len(calls) == 1 and found else found

    monkeypatch.setattr(References, "converge", too_high)
    report = evaluate_hamiltonian(settings(run, file))
    assert report.lower_solutions == 1
    assert min(of["excess"] for of in report.errors.values()) >= -1e-5


def test_command_table_json_rows_and_figure(
    run: Path, molecules: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, figure = tmp_path / "rows.csv", tmp_path / "excess.png"
    command = ["evaluate", str(run), "--molecules", str(molecules)]
    assert main([*command, "--out", str(out), "--figure", str(figure), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["molecules"] == 3 and told["errors"]["network_refine_0"]["excess"] > 0
    rows = list(csv.DictReader(out.open()))
    assert len(rows) == 3 and float(rows[0]["y [eV]"]) > 0
    assert float(rows[0]["lumo [eV]"]) - float(rows[0]["homo [eV]"]) == pytest.approx(float(rows[0]["y [eV]"]))
    assert figure.read_bytes().startswith(b"\x89PNG")


def test_the_table_says_what_was_compared(report: module.HamiltonianReport) -> None:
    told = text(report)
    assert "3 geometries, b3lyp5/sto-3g, grid level 0" in told and "skipped: 1 unseen_element" in told
    assert "W = 0, rebuilds 3" in told and "SCF cycles" in told


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--figure", "here.foo"], "--figure takes"),
        (["--out", "here.foo"], "unknown kind of file"),
        (["--limit", "0"], "limit"),
    ],
)
def test_wrong_flags_are_one_line(
    run: Path, molecules: Path, flags: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(run), "--molecules", str(molecules), *flags]) == 2
    told = capsys.readouterr().err.strip().splitlines()
    assert len(told) == 1 and said in told[0]


def test_nothing_that_it_can_predict(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_xyz(tmp_path / "hf.xyz", [system("fluoride")])
    assert main(["evaluate", str(run), "--molecules", str(file)]) == 2
    assert "no geometry that the network can predict" in capsys.readouterr().err
