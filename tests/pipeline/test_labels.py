"""What ``qmgen.label`` returns is aligned with what it was given."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import qmgen
from qmgen.errors import UsageError
from qmgen.pipeline.stages import Stages

MIXED = ["C_0", "bad", "C_0", "flat_1", "CC_2", "diverge_3", "C_0"]
REASONS = [None, "unreadable", None, "embedding_failed", None, "not_converged", None]
H2 = np.array([1, 1], dtype=np.uint8)
APART = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 1.5]])


@pytest.mark.parametrize("workers", [None, 1, 2])
def test_each_molecule_has_its_result_in_its_place(stages: Stages, workers: int | None) -> None:
    labels = qmgen.label(MIXED, workers=workers, stages=stages)
    assert [row["reason"] for row in labels] == REASONS
    assert [row["molecule_id"] for row in labels] == list(range(7))
    assert [row["smile"] for row in labels] == MIXED
    assert labels[1]["detail"] == "not a SMILES string" and labels[0]["detail"] is None
    assert labels[1]["energy"] is None and labels[1]["pos"] is None
    for place in (2, 6):  # duplicates are labelled once, and said of each
        assert {**labels[place], "molecule_id": 0} == labels[0]
    assert labels[0]["energy"] != labels[4]["energy"] and isinstance(labels[0]["energy"], float)
    assert labels.merged == 2
    assert labels.table["molecule_id"].to_pylist() == [0, 4]
    assert labels.failures["molecule_id"].to_pylist() == [1, 3, 5]
    assert repr(labels) == "<7 results: 4 labels, 3 failures>"


def test_slices_and_wrong_indices(stages: Stages) -> None:
    labels = qmgen.label(MIXED, stages=stages)
    everything = list(labels)
    for part in (slice(0, 2), slice(None), slice(-2, None), slice(None, None, -3), slice(5, 2), slice(3, 100)):
        assert labels[part] == everything[part]
    assert labels[-1] == labels[np.int64(6)] == everything[6]
    for wrong in ("energy", 1.0, None, (0, 1)):
        with pytest.raises(TypeError, match=r"labels\[i\], labels\[a:b\], or labels\.results\[name\] for a column"):
            labels[wrong]  # type: ignore[call-overload]
    for beyond in (7, -8):
        with pytest.raises(IndexError, match=f"no result {beyond}: there are 7"):
            labels[beyond]


@pytest.mark.parametrize("conformers", [2, 3])
def test_conformers_stand_next_to_one_another(stages: Stages, conformers: int) -> None:
    labels = qmgen.label(MIXED, conformers=conformers, stages=stages)
    assert [(row["molecule_id"], row["conformer_id"]) for row in labels] == [
        (molecule, conformer) for molecule in range(7) for conformer in range(conformers)
    ]
    assert [row["reason"] for row in labels] == [reason for reason in REASONS for _ in range(conformers)]
    energies = labels.results["energy"].to_numpy().reshape(7, conformers)
    assert np.array_equal(energies[0], energies[2]) and np.all(np.isnan(energies[1]))
    assert energies[0, 0] != energies[0, 1]


def test_workers_change_no_result(stages: Stages) -> None:
    given = [f"{'C' * (place % 5 + 1)}_{place % 9}" for place in range(30)] + ["bad", "diverge_1"]
    here, there = (qmgen.label(given, conformers=2, workers=workers, stages=stages) for workers in (None, 2))
    assert here.results.equals(there.results) and here.table.equals(there.table)
    assert here.failures.equals(there.failures) and here.merged == there.merged


def test_a_molecule_that_ends_its_worker_is_a_failure_in_its_place(
    stages: Stages, capfd: pytest.CaptureFixture[str]
) -> None:
    labels = qmgen.label(["C_0", "exit_1", "C_2"], workers=2, stages=stages)
    assert [row["reason"] for row in labels] == [None, "worker_crashed", None]
    assert "a worker died" in capfd.readouterr().err


def test_pruned_conformers_are_counted_with_workers(stages: Stages) -> None:
    labels = qmgen.label(["C_0", "C_1"], conformers=4, energy_window=3.0, workers=2, stages=stages)
    assert (len(labels), labels.pruned) == (2, 6)


def test_geometries_of_one_molecule_are_results_of_their_own(stages: Stages) -> None:
    given = [qmgen.Molecule(0, "", "", H2, APART * scale, conformer_id=scale) for scale in (3, 1)]
    labels = qmgen.label([given[0], "C_0", given[1]], conformers=2, stages=stages)
    assert [(row["molecule_id"], row["conformer_id"]) for row in labels] == [(0, 3), (1, 0), (1, 1), (2, 1)]
    assert [row["pos"][5] for row in labels if row["smile"] == ""] == [4.5, 1.5]


def test_identifiers_that_a_file_gives_twice_are_a_failure(stages: Stages, tmp_path: Path) -> None:
    source = tmp_path / "source.smi"
    source.write_text("given_5_2\ngiven_3_0\ngiven_5_2\n")
    labels = qmgen.label(source, stages=stages)
    assert [(row["molecule_id"], row["conformer_id"], row["reason"]) for row in labels] == [
        (5, 2, None), (3, 0, None), (5, 2, "unreadable"),
    ]  # fmt: skip
    assert labels.table["molecule_id"].to_pylist() == [3, 5]


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_what_is_missing_is_a_failure_in_its_place(stages: Stages, missing: Any) -> None:
    labels = qmgen.label(["C_0", missing, "C_1"], stages=stages)
    assert [row["reason"] for row in labels] == [None, "unreadable", None]
    assert str(missing) in labels[1]["detail"]
    assert [row["reason"] for row in qmgen.label(None, stages=stages)] == ["unreadable"]


def test_as_a_data_frame(stages: Stages) -> None:
    pandas = pytest.importorskip("pandas")
    frame = qmgen.label(MIXED, stages=stages).to_pandas()
    assert list(frame["smile"]) == MIXED
    assert list(frame["reason"].isna()) == [reason is None for reason in REASONS]
    assert frame["energy"].dtype == np.float64 and frame["molecule_id"].dtype == np.int64
    assert list(frame["cycles"].isna()) == [reason is not None for reason in REASONS]
    assert list(frame[frame["converged"].fillna(False)]["cycles"]) == [9] * 4
    whole = qmgen.label(["C_0"], stages=stages).to_pandas()
    assert list(whole.dtypes.drop(["reason", "detail"])) == list(frame.dtypes.drop(["reason", "detail"]))
    assert len(qmgen.label([], stages=stages).to_pandas()) == 0
    series = pandas.Series(["C_0", "C_1"], index=[5, 7])
    assert list(qmgen.label(series, stages=stages).to_pandas()["smile"]) == ["C_0", "C_1"]


@pytest.mark.parametrize("kind", [list, tuple, iter, np.array, pa.array, lambda given: pa.chunked_array([given])])
def test_any_column_of_smiles(stages: Stages, kind: Any) -> None:
    assert [row["smile"] for row in qmgen.label(kind(["C_0", "CC_1"]), stages=stages)] == ["C_0", "CC_1"]


@pytest.mark.parametrize("table", [{"smiles": ["C_0"]}, pa.table({"smiles": ["C_0"]})])
def test_a_whole_table_is_refused(stages: Stages, table: Any) -> None:
    with pytest.raises(UsageError, match=f"molecules are a {type(table).__name__}: give a list or column"):
        qmgen.label(table, stages=stages)


def test_without_pandas_it_says_what_to_do(stages: Stages, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = qmgen.label("C_0", stages=stages)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UsageError, match="pip install pandas"):
        labels.to_pandas()


class Count:
    expected = rows = failures = 0
    closed = False

    def start(self, expected: int) -> None:
        self.expected = expected

    def advance(self, rows: int, failures: int) -> None:
        self.rows, self.failures = self.rows + rows, self.failures + failures

    def expect(self, more: int) -> None:
        pass

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize("workers", [1, 2])
def test_progress(stages: Stages, workers: int) -> None:
    count = Count()
    qmgen.label(
        [*MIXED, qmgen.Molecule(0, "", "", H2, APART)], conformers=2, workers=workers, progress=count, stages=stages
    )
    assert (count.expected, count.rows, count.closed) == (9, 5, True)  # four molecules twice, a geometry once
    assert count.failures == 3  # one of a whole molecule, one of each conformer of another


def test_a_bar_only_where_it_is_asked_for(stages: Stages, capfd: pytest.CaptureFixture[str]) -> None:
    qmgen.label(["C_0"], stages=stages)
    qmgen.label(["C_0"], progress=False, stages=stages)
    assert capfd.readouterr().err == ""
    qmgen.label(["C_0", "C_1"], progress=True, stages=stages)
    last = capfd.readouterr().err.split("\r")[-1]
    assert last.startswith("labeling: 100%") and "2/2" in last and "2 rows, 0 failures" in last


def test_progress_ends_with_an_error(stages: Stages) -> None:
    count = Count()
    with pytest.raises(KeyError):
        qmgen.label(["raise_0"], progress=count, stages=stages)
    assert count.closed


def test_what_messages_name_is_exported() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import qmgen, sys; print([n for n in ('numpy', 'rdkit', 'jax') if n in sys.modules]);"
         "print(qmgen.Molecule, qmgen.Labels, qmgen.Reason, issubclass(qmgen.UsageError, qmgen.QmgenError))"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    light, names = done.stdout.splitlines()
    assert light == "[]" and names.endswith("True")
    assert set(qmgen.__all__) <= set(dir(qmgen))
    for name in qmgen.__all__:
        assert getattr(qmgen, name)
    with pytest.raises(
        UsageError, match=r"molecule 0 is a bytes: give SMILES, qmgen\.Molecule, RDKit Mol or ASE Atoms"
    ):
        qmgen.label([b"CCO"])
    with pytest.raises(UsageError, match="molecules are a int"):
        qmgen.label(3)
