"""Errors and predictions are those of a direct computation; every way into the network gives the same."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from toy_corpus import write_corpus

from qmgen.cli.main import main
from qmgen.constants import BOHR_TO_ANGSTROM
from qmgen.errors import UsageError
from qmgen.learning.data.source import open_rows
from qmgen.learning.evaluate.corpus import evaluate_corpus
from qmgen.learning.evaluate.run import predict_molecules
from qmgen.learning.schnet.model import SchnetPredictor, StoredSchnet, predict_compiled, units_of
from qmgen.molecules.types import Failure, Molecule, Reason

WATER = np.array([[0.0, 0.0, 0.1173], [0.0, 0.7572, -0.4692], [0.0, -0.7572, -0.4692]])
#: float32 sums of some ten terms, times scales of up to some ten eV
ROUNDING = 1e-4


def xyz(path: Path, *geometries: np.ndarray, symbols: str = "OHH") -> Path:
    lines = []
    for table in geometries:
        lines += [str(len(symbols)), "made"]
        lines += [" ".join([s, *(f"{x:.6f}" for x in row)]) for s, row in zip(symbols, table, strict=True)]
    path.write_text("\n".join(lines) + "\n")
    return path


def sdf(path: Path, table: np.ndarray) -> Path:
    atoms = [f"{x:10.4f}{y:10.4f}{z:10.4f} {s:<3} 0  0" for s, (x, y, z) in zip("OHH", table, strict=True)]
    head = ["made", "  qmgen", "", "  3  2  0  0  0  0  0  0  0  0999 V2000"]
    path.write_text("\n".join([*head, *atoms, "  1  2  1  0", "  1  3  1  0", "M  END", "$$$$", ""]))
    return path


def test_values_are_those_of_one_molecule_at_a_time(stored: StoredSchnet, toy: Path) -> None:
    source = open_rows(toy, stored.targets)
    packed = source.read("test")
    found = SchnetPredictor(stored, batch_size=16)(packed)
    for row in range(0, len(packed), 7):
        one = packed.take(np.array([row]))
        direct = predict_compiled(
            stored.params, stored.shape, stored.targets, units_of(stored.targets, stored.normalization),
            one.numbers[None].astype(np.int32), one.positions[None],
        )  # fmt: skip
        for name, value in direct.items():
            here = found[name][packed.atoms_of(np.array([row])) if name == "forces" else [row]]
            expected = stored.normalization.restore(name, np.asarray(value).reshape(here.shape), one)
            np.testing.assert_allclose(here, expected, atol=ROUNDING)


def test_errors_are_those_of_all_rows_at_once(stored: StoredSchnet, toy: Path) -> None:
    packed = open_rows(toy, stored.targets).read("test")
    predictor = SchnetPredictor(stored)
    found = predictor(packed)
    report = evaluate_corpus(predictor, toy)
    assert (report.split, report.rows, report.not_compared) == ("test", 40, [])
    difference = 1000 * (found["y"] - packed.values["y"])[:, 0]
    y = report.errors["y"]
    assert y["mae"] == pytest.approx(np.abs(difference).mean(), abs=1000 * ROUNDING)
    assert y["rmse"] == pytest.approx(np.sqrt(np.mean(difference**2)), abs=1000 * ROUNDING)
    assert y["largest"]["molecule_id"] == packed.molecule_id[np.argmax(np.abs(difference))]
    labels = 1000 * packed.values["y"][:, 0]
    assert y["trivial_mae"] == pytest.approx(np.abs(labels - 1000 * stored.normalization.mean["y"]).mean())
    assert y["r2"] == pytest.approx(1 - np.mean(difference**2) / labels.var(), rel=1e-4)
    assert sum(part["count"] for part in y["by_heavy_atoms"].values()) == 40
    length = np.linalg.norm(found["dipole"] - packed.values["dipole"], axis=1)
    assert report.errors["dipole"]["mae"] == pytest.approx(length.mean(), abs=ROUNDING)
    forces = np.abs(found["forces"] - packed.values["forces"])
    assert report.errors["forces"]["count"] == forces.size
    assert report.errors["forces"]["mae"] == pytest.approx(1000 * forces.mean(), abs=1000 * ROUNDING)


def test_training_rows_are_said_to_be_seen(stored: StoredSchnet, toy: Path) -> None:
    predictor = SchnetPredictor(stored)
    assert any("seen in training" in note for note in evaluate_corpus(predictor, toy, "train").notes)
    assert evaluate_corpus(predictor, toy, "validation").notes == []


def test_another_level_of_theory_is_refused(stored: StoredSchnet, tmp_path: Path) -> None:
    other = write_corpus(tmp_path / "other", 20, 4, 4, level="pbe", forces=False)
    predictor = SchnetPredictor(stored)
    with pytest.raises(UsageError, match=r"xc b3lyp5 against pbe.*--other-level"):
        evaluate_corpus(predictor, other)
    report = evaluate_corpus(predictor, other, other_level=True)
    assert report.not_compared == ["forces"] and "another level of theory" in report.notes[0]


def test_files_and_rotations_of_one_molecule_agree(stored: StoredSchnet, tmp_path: Path) -> None:
    turn, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    turn *= np.sign(np.linalg.det(turn))
    table = WATER.round(4)
    one, turned = predict_molecules(SchnetPredictor(stored), xyz(tmp_path / "w.xyz", table, table @ turn))
    (same,) = predict_molecules(SchnetPredictor(stored), sdf(tmp_path / "w.sdf", table))
    assert not one.reason and not same.reason
    for name, value in one.values.items():
        np.testing.assert_allclose(same.values[name], value, atol=ROUNDING)
        expected = value @ turn if name in ("dipole", "forces") else value
        np.testing.assert_allclose(turned.values[name], expected, atol=ROUNDING)


def test_order_and_bad_entries_are_kept(stored: StoredSchnet) -> None:
    numbers = np.array([8, 1, 1], np.uint8)
    good = [Molecule(n, f"m{n}", "", numbers, WATER / BOHR_TO_ANGSTROM * (1 + n / 50)) for n in (0, 2, 4)]
    strange = Molecule(3, "m3", "", np.array([16, 1, 1], np.uint8), WATER / BOHR_TO_ANGSTROM)
    charged = Failure(1, -1, "m1", "[OH-]", Reason.NET_CHARGE, "charge -1")
    rows = list(predict_molecules(SchnetPredictor(stored), [good[0], charged, good[1], strange, good[2]]))
    assert [row.molecule_id for row in rows] == [0, 1, 2, 3, 4]
    assert [bool(row.values) for row in rows] == [True, False, True, False, True]
    assert rows[1].reason == "net_charge: charge -1" and rows[3].reason.endswith("not trained on S")
    (alone,) = predict_molecules(SchnetPredictor(stored), [good[1]])
    np.testing.assert_allclose(rows[2].values["y"], alone.values["y"], atol=ROUNDING)


@pytest.mark.parametrize("suffix", [".csv", ".json", ".parquet", ".xyz", "-"])
def test_the_command_writes_what_it_predicts(
    stored: StoredSchnet, tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    source = xyz(tmp_path / "w.xyz", WATER, WATER * 1.02)
    expected = [float(row.values["y"][0]) for row in predict_molecules(SchnetPredictor(stored), source)]
    out = suffix if suffix == "-" else str(tmp_path / f"made{suffix}")
    assert main(["evaluate", str(stored.path), "--molecules", str(source), "--out", out]) == 0
    text = capsys.readouterr().out
    assert (text == "") == (suffix != "-")
    found: Any
    if suffix in (".csv", "-"):
        lines = text.splitlines() if suffix == "-" else Path(out).read_text().splitlines()
        found = [float(row["y [eV]"]) for row in csv.DictReader(lines)]
    elif suffix == ".json":
        written = json.loads(Path(out).read_text())
        assert written["units"]["forces"] == "eV/Angstrom" and len(written["predictions"][0]["forces"]) == 9
        found = [row["y"] for row in written["predictions"]]
    elif suffix == ".parquet":
        found = pq.read_table(out).column("y").to_pylist()
    else:
        found = [float(line.split(" y=")[1].split()[0]) for line in Path(out).read_text().splitlines() if " y=" in line]
    np.testing.assert_allclose(found, expected, rtol=1e-6)  # .xyz has ten digits, the network seven
    assert sorted(p.name for p in tmp_path.iterdir() if ".part" in p.name) == []


def test_the_summary_and_the_figure(
    stored: StoredSchnet, toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", str(stored.path), "--data", str(toy), "--json", "--figure", str(tmp_path / "p.png")]
    assert main([*words, "--out", str(tmp_path / "rows.parquet"), "--split", "all"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["rows"] == 280 and summary["targets"]["y"]["unit"] == "meV"
    assert pq.read_table(tmp_path / "rows.parquet").num_rows == 280
    assert (tmp_path / "p.png").stat().st_size > 5000
    assert main(["evaluate", str(stored.path), "--data", str(toy)]) == 0
    told = capsys.readouterr()
    assert told.out == "" and "MAE by heavy atoms" in told.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "give either --data DIR"),
        (["--data", "{toy}", "--molecules", "x.xyz"], "give either --data DIR"),
        (["--molecules", "{tmp}/none.xyz"], "there is no such file"),
        (["--molecules", "{tmp}/w.pdb"], "unknown kind of file"),
        (["--molecules", "{tmp}/empty.xyz"], "is empty"),
        (["--data", "{toy}", "--out", "{tmp}/rows.txt"], "unknown kind of file"),
        (["--data", "{toy}", "--out", "/dev/null/rows.csv"], "cannot write"),
    ],
)
def test_mistakes_are_one_line(
    stored: StoredSchnet, toy: Path, tmp_path: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty.xyz").touch()
    (tmp_path / "w.pdb").write_text("x")
    filled = [word.format(toy=toy, tmp=tmp_path) for word in words]
    assert main(["evaluate", str(stored.path), *filled]) == 2
    told = capsys.readouterr()
    assert told.out == "" and said in told.err and len(told.err.splitlines()) == 1


def test_a_run_that_is_none(tmp_path: Path, toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(tmp_path), "--data", str(toy)]) == 2
    assert "no trained network" in capsys.readouterr().err
    assert main(["evaluate", str(tmp_path / "nowhere")]) == 2  # before anything else that is missing
    told = capsys.readouterr().err
    assert "no trained network at" in told and "nowhere" in told and told.count("\n") == 1
