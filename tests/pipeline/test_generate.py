"""A whole run with stand-ins for chemistry and physics: books, bytes, refusals."""

from __future__ import annotations

import hashlib
import json
import re
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pipeline_fakes
import pyarrow.parquet as pq
import pytest

from qmgen.config import GenerateConfig
from qmgen.constants import HARTREE_TO_EV
from qmgen.corpus import open_corpus
from qmgen.errors import Interrupted, QmgenError, UsageError
from qmgen.molecules.types import Molecule
from qmgen.pipeline import crash_policy
from qmgen.pipeline import estimate as estimate_module
from qmgen.pipeline.estimate import Estimate, estimate
from qmgen.pipeline.run import generate
from qmgen.pipeline.stages import Stages
from qmgen.progress import RunProgress

Config = Callable[..., GenerateConfig]


def contents(directory: Path | str) -> dict[str, str]:
    """Names and digests of what must not depend on how a run went."""
    directory = Path(directory)
    paths = [*directory.glob("data/*"), *directory.glob("failures/*"), directory / "SHA256SUMS"]
    return {str(p.relative_to(directory)): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(paths)}


def test_corpus_is_whole(config: Config, stages: Stages, lines: RunProgress) -> None:
    settings = config(conformers=2, units=3)
    summary = generate(settings, lines, stages)
    corpus = open_corpus(settings.out)
    assert (summary.rows, summary.molecules, summary.failed, summary.entries) == (80, 40, 0, 40)
    assert len(corpus) == 80 and len(corpus.files()) == 9
    manifest = json.loads((settings.out / "manifest.json").read_text())
    assert manifest["complete"] and manifest["plan"] == {"entries": 40, "units": 3, "wanted": 40}
    assert manifest["counts"]["rows"] == 80 and len(manifest["files"]) == 12
    for line in (settings.out / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((settings.out / name).read_bytes()).hexdigest() == digest
    assert tomllib.loads((settings.out / "config.toml").read_text())["conformers"] == 2
    assert "eV" in (settings.out / "README.md").read_text()
    (run,) = (settings.out / "runs").glob("*.json")
    assert json.loads(run.read_text())["state"] == "finished"
    assert not list((settings.out / ".tmp").iterdir())
    assert summary.seconds_to_first_row is not None and "80 rows" in summary.text()


def test_rows_hold_what_the_labels_said(config: Config, stages: Stages, lines: RunProgress) -> None:
    from pipeline_fakes import conformers as fake_conformers  # on the search path by the fixture
    from pipeline_fakes import make_label

    settings = config(["CCO ethanol"])
    generate(settings, lines, stages)
    (row,) = open_corpus(settings.out).table().to_pylist()
    (conformer,) = fake_conformers([Molecule(0, "ethanol", "CCO")], 1, 0, 60.0)
    assert row["pos"] == conformer.positions.reshape(-1).tolist()  # float32 on disk, exactly
    assert row["energy"] == make_label(conformer).energy * HARTREE_TO_EV
    assert row["y"] == row["lumo"] - row["homo"] == 0.375 * HARTREE_TO_EV
    assert (row["smile"], row["name"], row["atoms"], row["N"]) == ("CCO", "ethanol", "CHHHH", 9)


@pytest.mark.parametrize("workers", [2, 5])
def test_bytes_do_not_depend_on_workers_or_order(
    config: Config, stages: Stages, lines: RunProgress, tmp_path: Path, workers: int
) -> None:
    troubled = ["bad x", "flat_1", "diverge_1", *[f"C_{i}" for i in range(30)], "C_3 again"]
    one = generate(config(troubled, out=tmp_path / "one", units=6), lines, stages)
    many = generate(config(troubled, out=tmp_path / "many", units=6, workers=workers), lines, stages)
    assert contents(one.directory) == contents(many.directory)
    assert one.failures == many.failures == {"embedding_failed": 1, "not_converged": 1, "unreadable": 1}
    assert one.merged == 1 and one.rows == 30


def test_every_failure_is_a_row(config: Config, stages: Stages, lines: RunProgress) -> None:
    settings = config(
        ["bad hopeless", "C_1", "flat_1 plane", "diverge_1", "nan_1", "C_1"], conformers=2, max_failures=5
    )
    summary = generate(settings, lines, stages)
    failures = open_corpus(settings.out).failures().to_pylist()
    assert [(f["molecule_id"], f["conformer_id"], f["reason"]) for f in failures] == [
        (0, -1, "unreadable"),
        (2, -1, "embedding_failed"),
        (3, 0, "not_converged"),
        (3, 1, "not_converged"),
        (4, 0, "not_converged"),
        (4, 1, "not_converged"),
    ]
    assert failures[0]["name"] == "hopeless" and failures[1]["detail"] == "no geometry"
    assert summary.rows == 2 and summary.merged == 1 and summary.too_many_failures


def test_only_failures_still_make_a_readable_corpus(config: Config, stages: Stages, lines: RunProgress) -> None:
    settings = config(["bad", "flat_1"])
    assert generate(settings, lines, stages).rows == 0
    corpus = open_corpus(settings.out)
    assert corpus.table().num_rows == 0 and corpus.failures().num_rows == 2


@pytest.mark.parametrize(
    ("settings", "basis", "said"),
    [
        (["C", "CC", "CCO"], "def2-qzvp", "none of the 3 molecules (C with functions beyond s, p, d and f in basis"),
        (
            ["CCl", "CBr"],
            "lanl2dz",
            "none of the 2 molecules (Cl with an effective core potential in basis lanl2dz",
        ),
        (["C[K]", "O[K]"], "cc-pvdz", "none of the 2 molecules (K not in this basis: use another one, such as"),
        (["CCI", "CBr"], "6-31g", "none of the 2 molecules (I not in this basis"),
        (["[He]", "[He]"], "sto-3g", "leaves no orbital unoccupied"),
        ({"enumerate": "2", "elements": ["C", "N"]}, "def2-qzvp", "none of the 2 elements that are enumerated"),
    ],
)
def test_a_level_that_can_label_nothing_is_refused_before_any_work(
    config: Config, stages: Stages, lines: RunProgress, settings: list[str] | dict[str, Any], basis: str, said: str
) -> None:
    names = ("read", "parse", "check", "theory")
    real = stages.replace(**{name: getattr(Stages(), name) for name in names})
    if isinstance(settings, list):
        asked = config(settings, basis=basis, jk="exact")
    else:
        asked = config(basis=basis, jk="exact", molecules=[], **settings)
    for run in (lambda: generate(asked, lines, real), lambda: estimate(asked, real)):
        with pytest.raises(UsageError, match=re.escape(said)) as caught:
            run()
        assert "choose another --basis" in str(caught.value) and not asked.out.exists()


@pytest.mark.parametrize("lines_", [["bad", "C"], ["CCI", "O"], ["bad", "I", "bad", "O"]])
def test_a_level_that_can_label_one_of_them_is_not(
    config: Config, stages: Stages, lines: RunProgress, lines_: list[str]
) -> None:
    real = stages.replace(check=Stages().check, theory=Stages().theory)
    summary = generate(config(lines_, basis="6-31g"), lines, real)
    assert summary.rows == 1 and summary.nothing_made is None


def test_a_run_without_a_row_has_failed(config: Config, stages: Stages, lines: RunProgress) -> None:
    settings = config(["bad", "bad", "flat_1", "diverge_1"], conformers=2)
    for _ in range(2):  # also where nothing is left to do
        error = generate(settings, lines, stages).nothing_made
        assert type(error) is QmgenError and error.exit_code == 1
        assert "not one row was made: embedding_failed 1, not_converged 2, unreadable 2" in str(error)
    assert generate(config(["bad", "C_0"], out=settings.out.parent / "some"), lines, stages).nothing_made is None


def test_an_extension_without_a_row_has_failed_too(
    config: Config, stages: Stages, lines: RunProgress, tmp_path: Path
) -> None:
    first = config(["C_0", "bad"])
    assert generate(first, lines, stages).nothing_made is None
    more = tmp_path / "more.smi"
    for text, made in (("bad\nflat_2\n", 0), ("C_7\n", 1), ("C_0\n", 0)):
        more.write_text(text)
        asked = first.model_copy(update={"molecules": [str(more)], "extend": True})
        summary = generate(asked, lines, stages)
        assert summary.added_rows == made
        assert (summary.nothing_made is not None) == (text.startswith("bad"))
    assert summary.added_failures == {}  # a duplicate adds nothing, and fails nowhere


def test_what_may_be_the_machines_doing_is_tried_again_by_the_same_command(
    config: Config, stages: Stages, lines: RunProgress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = ["C_0", "starve_1 thin", "bad", "C_3", "diverge_4", "C_5", "C_6", "C_7"]
    monkeypatch.setenv("QMGEN_TEST_MEMORY", "enough")
    whole = generate(config(listed, units=2, out=tmp_path / "whole"), lines, stages)
    monkeypatch.delenv("QMGEN_TEST_MEMORY")
    settings = config(listed, units=2)
    first = generate(settings, lines, stages)
    assert first.failures == {"machine_trouble": 1, "not_converged": 1, "unreadable": 1} and first.rows == 5
    assert "machine     1 of them may be this machine's" in first.text()
    again = generate(settings, lines, stages)  # there is still too little memory
    assert (again.run_units, again.failures, again.rows) == (1, first.failures, 5) and again.complete
    monkeypatch.setenv("QMGEN_TEST_MEMORY", "enough")
    monkeypatch.setenv("QMGEN_TEST_COUNT", str(tmp_path / "count"))
    last = generate(settings, lines, stages.replace(label=pipeline_fakes.label_and_count))
    assert (last.run_units, last.failures, last.rows) == (1, {"not_converged": 1, "unreadable": 1}, 6)
    assert (tmp_path / "count").read_text() == "1 0\n"  # the others of the unit are as they were
    assert contents(last.directory) == contents(whole.directory)
    assert generate(settings, lines, stages).run_units == 0


def test_what_an_extension_stands_on_is_not_taken_back(
    config: Config, stages: Stages, lines: RunProgress, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config(["C_0", "starve_1", "C_2"], units=1)
    assert generate(settings, lines, stages).failures == {"machine_trouble": 1}
    monkeypatch.setenv("QMGEN_TEST_MEMORY", "enough")
    assert generate(settings.model_copy(update={"conformers": 2, "extend": True}), lines, stages).run_rows == 3
    before = contents(settings.out)
    assert generate(settings, lines, stages).run_units == 0 and contents(settings.out) == before


def test_the_same_command_continues(config: Config, stages: Stages, lines: RunProgress) -> None:
    settings = config(units=4)
    first = generate(settings, lines, stages)
    before = contents(first.directory)
    for name in ("data/test-00002-of-00004.parquet", "failures/part-00001-of-00004.parquet", "manifest.json"):
        (Path(first.directory) / name).unlink()
    again = generate(settings, lines, stages)
    assert again.run_units == 2 and again.rows == 40 and contents(again.directory) == before
    assert generate(settings, lines, stages).run_units == 0


def test_a_limit_is_continued_by_a_run_without_it(
    config: Config, stages: Stages, lines: RunProgress, tmp_path: Path
) -> None:
    whole = generate(config(out=tmp_path / "whole", units=4), lines, stages)
    short = generate(config(units=4, limit=13), lines, stages)
    assert (short.rows, short.entries) == (13, 13)
    assert (Path(short.directory) / "data/train-00001-of-00004.first-3.parquet").exists()
    assert generate(config(units=4, limit=13), lines, stages).run_units == 0
    assert generate(config(units=4, limit=12), lines, stages).run_units == 0  # the longer cut will do
    assert generate(config(units=4, limit=15), lines, stages).rows == 15
    full = generate(config(units=4), lines, stages)
    assert full.rows == 40 and contents(full.directory) == contents(whole.directory)


def test_several_sources_are_numbered_through(
    config: Config, stages: Stages, lines: RunProgress, tmp_path: Path
) -> None:
    more = tmp_path / "more.smi"
    more.write_text("C_1\nC_9\n")
    settings = config(["C_0", "C_1"])
    settings = settings.model_copy(update={"molecules": [*settings.molecules, str(more)]})
    summary = generate(settings, lines, stages)
    ids = open_corpus(settings.out).table(columns=["molecule_id"])["molecule_id"].to_pylist()
    assert sorted(ids) == [0, 1, 3]
    assert summary.merged == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"xc": "pbe", "conformers": 3}, "conformers: 1 -> 3; xc: b3lyp5 -> pbe"),
        ({"lines": ["C_0", "C_1", "C_2"]}, "source:"),
    ],
)
def test_another_corpus_in_the_directory_is_refused(
    config: Config, stages: Stages, lines: RunProgress, changes: dict, said: str
) -> None:
    first = generate(config(["C_0", "C_1"]), lines, stages)
    before = contents(first.directory)
    (Path(first.directory) / "manifest.json").unlink()  # the files say the same
    with pytest.raises(UsageError, match=r"holds another corpus \(" + said):
        generate(config(**{"lines": ["C_0", "C_1"], **changes}), lines, stages)
    assert contents(first.directory) == before


@pytest.mark.parametrize(("xc", "basis"), [("lda,vwn", "STO3G"), ("LDA", "sto3g"), (" svwn ", "Sto-3g")])
def test_an_alias_is_the_same_corpus(config: Config, stages: Stages, lines: RunProgress, xc: str, basis: str) -> None:
    real = stages.replace(theory=Stages().theory)
    first = config(["C_0"], xc="lda", basis="sto-3g")
    assert generate(first, lines, real).run_rows == 1
    written = (first.out / "config.toml").read_text()
    assert generate(config(["C_0"], xc=xc, basis=basis), lines, real).run_rows == 0
    assert (first.out / "config.toml").read_text() == written


def test_what_changes_no_row_is_not_refused(config: Config, stages: Stages, lines: RunProgress, tmp_path: Path) -> None:
    generate(config(), lines, stages)
    moved = tmp_path / "elsewhere.smi"
    moved.write_bytes((tmp_path / "source.smi").read_bytes())
    settings = config(workers=2, licence="CC0-1.0", limit=40, max_failures=1).model_copy(
        update={"molecules": [str(moved)]}
    )
    assert generate(settings, lines, stages).run_units == 0


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"molecules": ["nowhere.smi"]}, "no such file: nowhere.smi"),
        ({"molecules": ["."]}, "is a directory"),
        ({"lines": []}, "is empty"),
        ({"xc": "b3lpy"}, "did you mean 'b3lyp'"),
    ],
)
def test_wrong_input_is_refused_before_any_work(
    config: Config, stages: Stages, lines: RunProgress, settings: dict, said: str
) -> None:
    wrong = config(**settings)
    with pytest.raises(UsageError, match=said):
        generate(wrong, lines, stages)
    assert not wrong.out.exists()


def test_out_that_is_a_file_or_foreign_is_refused(
    config: Config, stages: Stages, lines: RunProgress, tmp_path: Path
) -> None:
    (tmp_path / "corpus").write_text("mine")
    with pytest.raises(UsageError, match="is a file"):
        generate(config(), lines, stages)
    foreign = tmp_path / "foreign" / "data"
    foreign.mkdir(parents=True)
    (foreign / "other.parquet").write_bytes(b"PAR1")
    with pytest.raises(UsageError, match="did not write"):
        generate(config(out=tmp_path / "foreign"), lines, stages)


@pytest.mark.parametrize(
    ("line", "kind", "said", "state"),
    [
        ("lose_1", RuntimeError, "neither row nor failure", "failed"),
        ("raise_1", RuntimeError, "a bug", "failed"),
        ("full_1", QmgenError, "smaller --batch-size", "failed"),
        (
            "sink_1",
            Interrupted,
            r"2 workers in a row died in work unit 1 \(molecules 2 to 3\).*: exit code 4",
            "stopped",
        ),
    ],
)
def test_a_broken_worker_is_reported_and_nothing_partial_kept(
    config: Config,
    stages: Stages,
    lines: RunProgress,
    monkeypatch: pytest.MonkeyPatch,
    line: str,
    kind: type[Exception],
    said: str,
    state: str,
) -> None:
    monkeypatch.setattr(crash_policy, "MAX_DEATHS_WITHOUT_PROGRESS", 2)
    settings = config(["C_0", "C_1", "C_2", line, "C_4", "C_5"], units=3)
    with pytest.raises(kind, match=said):
        generate(settings, lines, stages)
    assert (settings.out / "failures/part-00000-of-00003.parquet").exists()
    assert not list(settings.out.glob("*/*-00001-of-00003*"))
    (run,) = (settings.out / "runs").glob("*.json")
    assert json.loads(run.read_text())["state"] == state
    assert not list((settings.out / ".tmp").glob("*"))


def test_a_molecule_that_kills_its_worker_twice_is_a_failure(
    config: Config, stages: Stages, lines: RunProgress
) -> None:
    settings = config(["C_0", "C_1", "C_2", "segfault_1", "C_4", "C_5"], units=3)
    summary = generate(settings, lines, stages)
    assert (summary.rows, summary.failures, summary.run_units) == (5, {"worker_crashed": 1}, 3)
    (failure,) = open_corpus(settings.out).failures().to_pylist()
    assert failure["molecule_id"] == 3 and failure["detail"] == "SIGSEGV twice while it was being labelled"


def test_file_metadata_name_the_level_of_theory(config: Config, stages: Stages, lines: RunProgress) -> None:
    settings = config(["C_0"])
    generate(settings, lines, stages)
    corpus = open_corpus(settings.out)
    assert corpus.level_of_theory == {"xc": "b3lyp5", "basis": "sto-3g", "grid_level": 1}
    assert corpus.metadata["constants"]["codata"] == 2018
    metadata = pq.read_schema(settings.out / corpus.files()[0]).metadata
    assert not any(b"workers" in value or str(settings.out).encode() in value for value in metadata.values())


def test_pruned_conformers_are_counted_and_are_no_failures(config: Config, stages: Stages, lines: RunProgress) -> None:
    settings = config(["C_0", "C_1", "bad", "C_0"], conformers=3, prune_rms=0.5, units=2)
    summary = generate(settings, lines, stages)
    assert (summary.rows, summary.pruned, summary.merged, summary.failed) == (2, 4, 1, 1)
    assert "4 pruned" in summary.text()
    assert json.loads((settings.out / "manifest.json").read_text())["counts"]["pruned"] == 4
    assert "4 conformers were pruned" in (settings.out / "README.md").read_text()
    again = generate(settings, lines, stages)
    assert (again.run_units, again.pruned) == (0, 4)  # the files alone say so


def test_a_corpus_from_before_there_was_pruning_is_continued(
    config: Config, stages: Stages, lines: RunProgress
) -> None:
    settings = config(["C_0", "C_1"], conformers=2)
    summary = generate(settings, lines, stages)
    assert summary.pruned == 0 and "pruned" not in summary.text()
    (name, *_) = sorted(settings.out.glob("failures/*"))
    metadata = {key: value for key, value in pq.read_schema(name).metadata.items() if b"config_hash" not in key}
    assert not any(b"prune" in value or b"stereo" in value for value in metadata.values())
    # a setting without effect is no other corpus either
    assert generate(config(["C_0", "C_1"], conformers=2, relax_steps=7), lines, stages).run_units == 0
    with pytest.raises(UsageError, match=r"prune_rms: none -> 0\.5"):
        generate(config(["C_0", "C_1"], conformers=2, prune_rms=0.5), lines, stages)


def test_an_estimate_comes_to_its_end_in_time(config: Config, stages: Stages, monkeypatch: pytest.MonkeyPatch) -> None:
    """The third molecule of the sample takes ten minutes; what was measured before counts."""
    monkeypatch.setattr(estimate_module, "MOST_SECONDS", 12.0)
    begin = time.monotonic()
    found = estimate(config(["C_0", "C_1", "stuck_2", "C_3"]), stages)
    assert time.monotonic() - begin < 60
    assert (found.sampled, found.sample_failures, found.rows) == (2, 0, 4) and found.hours is not None
    none = estimate(config(["stuck_0", "C_1"]), stages)
    assert none.sampled == 0 and none.hours is None and "the same command gets further" in none.text()


@pytest.mark.parametrize(
    ("hours", "gigabytes", "memory", "shown"),
    [
        (0.0089, 4.5e-05, 0.98, ["time        32 s", "disk        45 kB", "memory      980 MB a worker"]),
        (30.0, 12.5, 3.25, ["time        30 h", "disk        12.5 GB", "memory      3.25 GB a worker"]),
    ],
)
def test_an_estimate_speaks_in_units_that_fit(hours: float, gigabytes: float, memory: float, shown: list[str]) -> None:
    found = Estimate("corpus", 4, 8, 1, 1, 2, 0.5, 3.0, hours, gigabytes, memory, 4, 0)
    assert all(words in found.text() for words in shown)


def test_estimate_writes_nothing(config: Config, stages: Stages) -> None:
    settings = config(conformers=5)
    found = estimate(settings, stages)
    assert (found.rows, found.units, found.sampled) == (200, 8, 8)
    assert found.hours is not None and found.gigabytes is not None and "disk" in found.text()
    assert not settings.out.exists()
    many = estimate(config(conformers=1000), stages)
    assert (many.rows, many.sampled, many.sample_failures) == (40000, 8, 0)


def test_sources_may_bring_their_own_identifiers(
    config: Config, stages: Stages, lines: RunProgress, tmp_path: Path
) -> None:
    """Rows of another corpus keep their keys, in whatever order; a doubled key is a failure, not a second row."""
    given = ["given_9_1", "given_9_0", "given_2_0", "given_9_1", "given_2_1"]
    more = tmp_path / "more.smi"
    more.write_text("given_0_0\nC_1\n")
    settings = config(given, conformers=3, units=2, validation_fraction=0.0, test_fraction=0.0)
    settings = settings.model_copy(update={"molecules": [*settings.molecules, str(more)]})
    summary = generate(settings, lines, stages)
    table = open_corpus(settings.out).table(columns=["molecule_id", "conformer_id"]).to_pydict()
    keys = sorted(zip(table["molecule_id"], table["conformer_id"]))
    assert keys == [(2, 0), (2, 1), (9, 0), (9, 1), (10, 0), (11, 0), (11, 1), (11, 2)]
    (failure,) = open_corpus(settings.out).failures().to_pylist()
    assert "stands twice in the source" in failure["detail"]
    assert summary.entries == 7 and summary.failed == 1
