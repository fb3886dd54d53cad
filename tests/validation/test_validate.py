"""Whole validations of small corpora, whose labels are PySCF's own, some of them bent by a known amount."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from qmgen.constants import BOHR_TO_ANGSTROM
from qmgen.corpus.columns import PROPERTY_COLUMNS
from qmgen.corpus.plan import FAILURES, SPLITS, Unit
from qmgen.corpus.reader import open_corpus
from qmgen.corpus.schema import failure_schema, failure_table, row_schema, row_table
from qmgen.corpus.unit_records import write_unit
from qmgen.dft.level import LevelOfTheory
from qmgen.errors import UsageError
from qmgen.labeling.level import resolved_level
from qmgen.labeling.types import Label, Settings
from qmgen.molecules.types import Conformer
from qmgen.pipeline.level import described, level_of_theory
from qmgen.pipeline.rows import CONSTANTS, row
from qmgen.validation import Tolerances, validate
from qmgen.validation.oracle import Reference, own_density, solve
from qmgen.validation.run import FILE_NAME, ReferenceTask, _target, _write, draw, level_of, recompute

ROWS = 6
LEVEL = LevelOfTheory("b3lyp5", "sto-3g", 0)
NUMBERS = np.array([8, 1, 1], dtype=np.uint8)
WATER = np.array([[0.0, 0.0, 0.1173], [0.0, 0.7572, -0.4692], [0.0, -0.7572, -0.4692]]) / BOHR_TO_ANGSTROM
#: a report without contents
REPORT: Any = SimpleNamespace(to_json=lambda: "{}")


def conformer(index: int) -> Conformer:
    stretched = (WATER * (1 + 0.02 * index)).astype(np.float32).astype(np.float64)
    return Conformer(index // 2, index % 2, "water", "O", NUMBERS, stretched)


def properties_of(found: Reference) -> dict[str, np.ndarray]:
    """PySCF's in atomic units; zeros of three atoms for those that are not compared."""
    return {
        column.name: found.values.get(column.name, np.zeros(column.shape(3))) / column.from_property(np.ones(()))
        for column in PROPERTY_COLUMNS
    }


@cache
def label(index: int) -> Label:
    found = solve(NUMBERS, conformer(index).positions, LEVEL)
    return Label(
        energy=found.energy,
        homo=found.homo,
        lumo=found.lumo,
        energy_std=0.0,
        properties=properties_of(found),
        n_orbitals=7,
        converged=True,
        cycles=found.cycles,
        orbital_gradient=1e-8,
        precision="float64",
    )


Bend = Callable[[int, Label], Label]


@pytest.fixture
def corpus(tmp_path: Path) -> Callable[..., Path]:
    """``corpus(bend, rows=..., units=..., **metadata)`` writes one, alternately into all splits."""

    def write(bend: Bend = lambda index, found: found, rows: int = ROWS, units: int = 2, **changes: Any) -> Path:
        metadata = {"level_of_theory": level_of_theory(Settings(grid_level=0)), "constants": CONSTANTS} | changes
        directory = tmp_path / "corpus"
        for number in range(units):
            mine = [index for index in range(rows) if index % units == number]
            tables = {
                split: row_table(
                    [row(conformer(i), bend(i, label(i))) for i in mine if i % 3 == place], row_schema(metadata)
                )
                for place, split in enumerate(SPLITS)
            }
            tables[FAILURES] = failure_table([], failure_schema(metadata))
            write_unit(directory, Unit(number, units, 0, 0), tables)
        return directory

    return write


def test_labels_of_pyscf_itself_pass(corpus, capsys):
    directory = corpus()
    report = validate(directory, sample=4, seed=1, jobs=1)
    assert report.passed
    assert len(report.rows) == 4 and report.corpus_rows == ROWS
    assert report.comparison.statistics["energy"].maximum < 1e-9
    assert report.comparison.statistics["dipole"].maximum < 1e-6
    assert capsys.readouterr().out == ""
    written = json.loads((directory / "validation.json").read_text())
    assert written == json.loads(report.to_json())
    assert written["passed"] and written["rows"]["compared"] == 4
    assert written["level_of_theory"] == {"xc": "b3lyp5", "basis": "sto-3g", "grid_level": 0}
    assert "passed" in report.table()


def test_one_label_too_high_fails_and_is_named(corpus):
    directory = corpus(lambda index, found: replace(found, energy=found.energy + (3e-6 if index == 3 else 0)))
    report = validate(directory, sample=ROWS, jobs=1, progress=False)
    assert not report.passed and report.restarted == 0
    assert [row.conformer_id for row in np.array(report.rows)[report.comparison.outside]] == [1]
    np.testing.assert_allclose(report.comparison.statistics["energy"].maximum, 3e-6, rtol=1e-3)
    assert "outside: molecule 1, conformer 1" in report.table()
    assert validate(directory, sample=ROWS, jobs=1, tolerances=Tolerances(energy=1e-5), progress=False).passed


def test_dipoles_are_compared_as_vectors(corpus):
    turned = validate(
        corpus(
            lambda index, found: replace(found, properties={**found.properties, "dipole": -found.properties["dipole"]})
        ),
        sample=2,
        jobs=1,
    )
    failed = [name for name, found in turned.comparison.statistics.items() if not found.passed]
    assert failed == ["dipole"]


def test_a_label_below_pyscf_is_an_error_only_after_pyscf_was_restarted(corpus):
    directory = corpus(lambda index, found: replace(found, energy=found.energy - (1e-3 if index == 0 else 0)))
    report = validate(directory, sample=ROWS, jobs=1)
    assert not report.passed
    assert (report.below, report.restarted, report.lowered) == (1, 1, 0)
    assert "below: 1 row" in report.table()


def test_a_corpus_that_lies_below_pyscf_throughout_costs_few_restarts(corpus, monkeypatch):
    monkeypatch.setattr("qmgen.validation.run.TRIED_FIRST", 2)
    report = validate(corpus(lambda index, found: replace(found, energy=found.energy - 0.04)), sample=ROWS, jobs=1)
    assert (report.below, report.restarted, report.lowered) == (ROWS, 2, 0)


@pytest.fixture
def excited(corpus) -> ReferenceTask:
    """A row of which PySCF has found a higher solution first."""
    entry = draw(open_corpus(corpus()), 1, 0).entries[0]
    first = recompute(ReferenceTask(0, entry, LEVEL, 1e-6)).reference
    assert first is not None
    return ReferenceTask(0, entry, LEVEL, 1e-6, replace(first, energy=first.energy + 0.1, guess="excited"))


def test_a_row_from_a_lower_solution_is_found_again_from_our_density(excited, monkeypatch):
    monkeypatch.setattr("qmgen.validation.oracle.OTHER_GUESSES", ())
    again = recompute(excited)
    assert again.below and again.restarted and again.reference is not None
    assert again.reference.guess == "given density"
    assert abs(again.reference.energy - excited.entry.energy) < 1e-9


def test_other_guesses_serve_where_we_have_no_density(excited, monkeypatch):
    def broken(*_: object) -> np.ndarray:
        raise MemoryError

    monkeypatch.setattr("qmgen.validation.run.own_density", broken)
    again = recompute(excited)
    assert again.reference is not None and again.reference.guess == "atom"
    assert abs(again.reference.energy - excited.entry.energy) < 1e-9


def test_our_density_is_what_pyscf_converges_to():
    positions = conformer(1).positions
    start = own_density(NUMBERS, positions, LEVEL)
    from_ours = solve(NUMBERS, positions, LEVEL, density=start)
    assert abs(from_ours.energy - label(1).energy) < 1e-10
    assert from_ours.cycles < label(1).cycles - 3


def test_rows_that_say_they_did_not_converge_are_left_out_and_counted(corpus):
    directory = corpus(lambda index, found: replace(found, converged=index != 2, energy=found.energy + (index == 2)))
    report = validate(directory, sample=ROWS, jobs=1)
    assert report.passed
    assert report.not_converged == 1 and len(report.rows) == ROWS - 1


def test_the_sample_depends_on_rows_and_seed_and_not_on_files(corpus):
    drawn = []
    for units in (1, 2):
        directory = corpus(units=units)
        found = draw(open_corpus(directory), 3, 7)
        drawn.append([(entry.molecule_id, entry.conformer_id) for entry in found.entries])
        for path in directory.rglob("*.parquet"):
            path.unlink()
    assert drawn[0] == drawn[1]
    assert len(set(drawn[0])) == 3


def test_energies_come_back_to_the_hartree_they_were_made_from(corpus):
    entry = draw(open_corpus(corpus()), ROWS, 0).entries[0]
    assert abs(entry.energy - label(0).energy) < 1e-12
    np.testing.assert_array_equal(entry.positions, conformer(0).positions)
    assert recompute(ReferenceTask(0, entry, LEVEL, 1e-6)).reference is not None


@pytest.mark.parametrize(
    "settings",
    [
        Settings(),
        Settings(basis="def2-svp"),
        Settings(basis="6-31g*", cartesian=True),
        Settings(jk="exact", basis="dzvp"),
    ],
)
def test_the_level_comes_back_from_the_metadata(corpus, settings):
    level = resolved_level(settings)
    assert level_of(open_corpus(corpus(level_of_theory=described(level, settings)))) == level


@pytest.mark.parametrize("changes", [{"auxbasis_checksum": "0"}, {"jk": "fitted"}, {"auxbasis": "cc-pvdz-jkfit"}])
def test_other_fitting_functions_are_one_line(corpus, changes):
    stated = described(resolved_level(settings := Settings(basis="def2-svp")), settings) | changes
    with pytest.raises(UsageError, match="was made with other fitting functions") as caught:
        validate(corpus(level_of_theory=stated), sample=1, jobs=1)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": 0}, "holds no rows"),
        ({"level_of_theory": {}}, "level of theory"),
        ({"level_of_theory": {"xc": "m06", "basis": "sto-3g", "grid_level": 1}}, "functional 'm06'"),
        ({"constants": {}}, "constants"),
    ],
)
def test_a_corpus_that_cannot_be_judged_is_one_line(corpus, changes, message):
    with pytest.raises(UsageError, match=message) as caught:
        validate(corpus(**changes), sample=1, jobs=1)
    assert "\n" not in str(caught.value)


def test_no_corpus_is_one_line(tmp_path):
    with pytest.raises(UsageError, match="not a qmgen corpus"):
        validate(tmp_path)
    with pytest.raises(UsageError, match="at least 1"):
        validate(tmp_path, sample=0)


def test_a_link_that_is_named_as_the_report_is_written_through_and_one_in_a_folder_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    target, precious = tmp_path / "elsewhere" / "kept.json", tmp_path / "elsewhere" / "precious"
    named, folder = tmp_path / "report.json", tmp_path / "folder"
    named.symlink_to(target)
    folder.mkdir()
    (folder / FILE_NAME).symlink_to(precious)
    for out in (named, folder, None):
        _write(REPORT, _target(folder, out))
    assert named.is_symlink() and json.loads(target.read_text()) == {}
    assert not (folder / FILE_NAME).is_symlink() and not precious.exists()
    named.unlink()
    named.symlink_to("report.json")  # to itself
    with pytest.raises(UsageError, match="choose another place with --out"):
        _write(REPORT, _target(folder, named / "x.json"))
