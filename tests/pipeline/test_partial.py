"""The work of a unit that was left: kept, taken up again to the same bytes, never trusted where it is damaged."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from qmgen.corpus import Unit
from qmgen.molecules.embedding import Procedure
from qmgen.molecules.types import Failure, Reason
from qmgen.pipeline import checkpoint
from qmgen.pipeline.checkpoint import UnitCheckpoint, UnitContents, path_of, remove_checkpoint
from qmgen.pipeline.crash_policy import ConformerKey
from qmgen.pipeline.job import LabelJob
from qmgen.pipeline.messages import StopUnit, UnitListener
from qmgen.pipeline.source import UnitInput
from qmgen.pipeline.stages import Stages
from qmgen.pipeline.unit import do_unit

Jobs = Callable[..., LabelJob]
Works = Callable[..., list[UnitInput]]
Files = Callable[[LabelJob], dict[str, bytes]]

LINES = [
    "C_0",
    "bad no",
    "CC_1",
    "flat_1",
    "diverge_1",
    "nan_1",
    "CCC_2",
    "given_9_1",
    "given_9_0",
    "given_2_7",
    "CO_3",
]


class Ear(UnitListener):
    """Says stop after ``patience`` pauses, and remembers what went to the device."""

    def __init__(self, patience: float = float("inf")) -> None:
        self.patience = patience
        self.batches: list[tuple[ConformerKey, ...]] = []
        self.stages: list[str] = []
        self.told: list[tuple[int, int]] = []

    @property
    def keys(self) -> list[ConformerKey]:
        return [key for batch in self.batches for key in batch]

    def progress(self, rows: int, failures: int) -> None:
        self.told.append((rows, failures))

    def on_device(self, keys: tuple[ConformerKey, ...], rows: int, failures: int) -> None:
        self.batches += [keys] if keys else []

    def stage(self, name: str) -> None:
        self.stages += [name] if self.stages[-1:] != [name] else []

    def between_batches(self) -> None:
        self.patience -= 1
        if self.patience < 0:
            raise StopUnit


def stopped(job: LabelJob, work: UnitInput, patience: int) -> Ear:
    """An attempt that is told to stop after ``patience`` pauses."""
    ear = Ear(patience)
    with pytest.raises(StopUnit):
        do_unit(job, work, ear)
    return ear


@pytest.mark.parametrize("procedure", [Procedure(), Procedure(prune_rms=0.5)], ids=["plain", "pruning"])
def test_stopped_anywhere_it_goes_on_to_the_same_bytes(
    job: Jobs, works: Works, files: Files, procedure: Procedure
) -> None:
    (work,) = works(LINES)
    plain = job("plain", conformers=3, procedure=procedure)
    whole = Ear()
    expected = do_unit(plain, work, whole)
    for patience in range(1000):
        mine = job(f"stopped-{patience}", conformers=3, procedure=procedure)
        first, second = Ear(patience), Ear()
        try:
            do_unit(mine, work, first)
            break
        except StopUnit:
            assert not files(mine)
        result = do_unit(mine, work, second)
        assert files(mine) == files(plain) and not list(mine.partials.glob("*"))  # type: ignore[union-attr]
        # nothing is labelled twice, and the batch in hand had been finished
        assert sorted(first.keys + second.keys) == sorted(whole.keys)
        assert result.resumed == first.told[-1][0] and second.told[0][0] == result.resumed
        assert (result.rows, result.failures, result.pruned) == (expected.rows, expected.failures, expected.pruned)
    assert patience > 10  # there was something to be stopped


def test_complete_molecules_are_not_embedded_again(job: Jobs, works: Works, stages: Stages) -> None:
    asked: list[int] = []
    embed = stages.conformers

    def noted(molecules: Any, *rest: Any, **more: Any) -> Any:
        return embed((asked.append(m.molecule_id) or m for m in molecules), *rest, **more)

    mine = job(conformers=3, stages=stages.replace(conformers=noted))
    (work,) = works([f"C_{i}" for i in range(8)])  # batches of 4: the fourth is of molecules 4 and 5
    stopped(mine, work, patience=20)
    assert asked == [0, 1, 2, 3, 4, 5]
    asked.clear()
    do_unit(mine, work)
    assert asked == [5, 6, 7]


def test_stages_are_told(job: Jobs, works: Works) -> None:
    ear = Ear()
    do_unit(job(), works(["C_0", "C_1"])[0], ear)
    assert ear.stages == ["embed", "label", "write", "commit"]


@pytest.mark.parametrize("conformers", [1, 3])
def test_suspected_come_first_and_alone(job: Jobs, works: Works, files: Files, conformers: int) -> None:
    (work,) = works(LINES)
    plain, mine, ear = job("plain", conformers=conformers), job(conformers=conformers), Ear()
    do_unit(plain, work)
    suspected = ((6, 0), (2, conformers - 1), (9, 1))
    do_unit(mine, replace(work, suspected=suspected), ear)
    assert {batch[0] for batch in ear.batches[:3]} == set(suspected) and all(len(b) == 1 for b in ear.batches[:3])
    assert len(ear.keys) == len(set(ear.keys)) and files(mine) == files(plain)


def test_excluded_conformers_become_failures_and_are_not_kept(job: Jobs, works: Works) -> None:
    (work,) = works(LINES)
    mine, ear = job(conformers=2), Ear()
    excluded = {
        (2, 1): (Reason.WORKER_CRASHED, "SIGSEGV twice while it was being labelled"),
        (9, 0): (Reason.MACHINE_TROUBLE, "SIGKILL for want of memory twice"),
    }
    work = replace(work, excluded={key: Failure(*key, "", "", *why) for key, why in excluded.items()})
    with pytest.raises(StopUnit):
        do_unit(mine, work, Ear(11))
    saved = UnitCheckpoint(mine.partials, work.unit, mine.metadata).load()  # type: ignore[arg-type]
    assert saved is not None
    keys = saved.keys()
    assert (2, 0) in keys and not keys & excluded.keys()
    assert 2 not in saved.complete and 0 in saved.complete
    result = do_unit(mine, replace(work, suspected=((2, 0),)), ear)
    assert result.failures["worker_crashed"] == result.failures["machine_trouble"] == 1
    assert not set(ear.keys) & excluded.keys()
    table = pq.read_table(Path(mine.place) / work.unit.files()["failures"]).to_pylist()
    found = {(f["molecule_id"], f["conformer_id"]): (f["reason"], f["detail"]) for f in table}
    assert {key: found[key] for key in excluded} == excluded


def kept(job: LabelJob, work: UnitInput) -> Path:
    """The file of an attempt that was stopped after 8 pauses."""
    stopped(job, work, patience=8)
    assert job.partials is not None
    path = path_of(job.partials, work.unit)
    assert path.name == "part-00000-of-00001.partial.parquet" and path.is_file()
    return path


def same(one: UnitContents, other: UnitContents) -> bool:
    def plain(found: UnitContents) -> Any:
        rows = {
            split: [{k: np.asarray(v).tolist() for k, v in row.items()} for row in rows]
            for split, rows in found.rows.items()
        }
        return rows, found.failures, found.pruned_of, found.complete

    return plain(one) == plain(other)  # type: ignore[no-any-return]


def test_what_is_damaged_is_removed_and_said(
    job: Jobs, works: Works, files: Files, capfd: pytest.CaptureFixture[str]
) -> None:
    (work,) = works(LINES)
    plain, mine = job("plain", conformers=2), job(conformers=2)
    do_unit(plain, work)
    path = kept(mine, work)
    content = path.read_bytes()
    keeper = UnitCheckpoint(mine.partials, work.unit, mine.metadata)  # type: ignore[arg-type]
    sound = keeper.load()
    assert sound is not None
    capfd.readouterr()
    refused = 0
    places = np.random.default_rng(0).choice(len(content), 300, replace=False).tolist()
    for place, cut in [(place, False) for place in places] + [(place, True) for place in places[:20]]:
        flipped = bytes([content[place] ^ 0x20])
        path.write_bytes(content[:place] if cut else content[:place] + flipped + content[place + 1 :])
        found = keeper.load()
        # some bytes of a Parquet file say nothing: who wrote it, statistics
        assert found is None or (same(found, sound) and not cut)
        assert path.exists() == (found is not None)
        refused += found is None
    said = capfd.readouterr().err.splitlines()
    assert len(said) == refused > 100
    assert set(said) == {"qmgen: work unit 0: partial work was removed, it is damaged; the unit begins anew"}
    path.write_bytes(content[: len(content) // 2])
    do_unit(mine, work)
    assert files(mine) == files(plain)


@pytest.mark.parametrize("what", ["config", "range", "columns"])
def test_what_belongs_to_something_else_is_removed_and_said(
    job: Jobs, works: Works, what: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (work,) = works(LINES)
    mine = job()
    path = kept(mine, work)
    unit = replace(work.unit, stop=12) if what == "range" else work.unit
    metadata = {"config_hash": "b" * 64} if what == "config" else mine.metadata
    if what == "columns":
        from qmgen.corpus import row_schema

        monkeypatch.setattr(checkpoint, "row_schema", lambda metadata: row_schema(metadata, forces=True))
    assert UnitCheckpoint(mine.partials, unit, metadata).load() is None  # type: ignore[arg-type]
    assert not path.exists()
    (said,) = capfd.readouterr().err.splitlines()
    assert ("another configuration" in said or "other columns" in said) and "work unit 0" in said


def test_a_cut_unit_keeps_its_own(tmp_path: Path) -> None:
    whole, cut = Unit(3, 64, 30, 40), Unit(3, 64, 30, 40, first=5)
    assert path_of(tmp_path, whole).name == "part-00003-of-00064.partial.parquet"
    assert path_of(tmp_path, cut) != path_of(tmp_path, whole)


@pytest.mark.parametrize("how", ["full", "no folder"])
def test_what_cannot_be_saved_hurts_nobody(
    job: Jobs,
    works: Works,
    files: Files,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    how: str,
) -> None:
    (work,) = works(LINES)
    monkeypatch.setattr(checkpoint, "CHECKPOINT_EVERY", 0.0)
    monkeypatch.setattr(checkpoint, "_SPARING", 0)
    (tmp_path / "file").write_text("")
    mine = job(partials=tmp_path / ("file/below" if how == "no folder" else "partials"))
    if how == "full":
        (tmp_path / "partials").mkdir()

        def refuse(handle: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patch:
            patch.setattr(checkpoint.os, "fsync", refuse)
            stopped(mine, work, patience=8)
        assert not list((tmp_path / "partials").iterdir())
    else:
        stopped(mine, work, patience=8)
    (said,) = capfd.readouterr().err.splitlines()
    assert "partial work was not saved: " in said
    assert do_unit(mine, work).resumed == 0 and len(files(mine)) == 4


def test_saving_is_rare_and_cheap(job: Jobs, works: Works, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: now[0])
    (work,) = works(["C_0"])
    mine = job()
    keeper = UnitCheckpoint(mine.partials, work.unit, mine.metadata)  # type: ignore[arg-type]
    assert not keeper.due() and keeper.due(hurried=True)
    now[0] = checkpoint.CHECKPOINT_EVERY
    assert keeper.due()
    keeper.save(UnitContents(), set())  # nothing is new
    assert not keeper.due() and not mine.partials.exists()  # type: ignore[union-attr]

    def slowly(*_: Any) -> memoryview:
        now[0] += 3.0
        return memoryview(b"")

    monkeypatch.setattr(keeper, "_content", slowly)
    keeper.save(UnitContents(complete={1}), {1})
    now[0] += 149.0  # 2 % of the time: not before 150 s have gone by
    assert not keeper.due() and not keeper.due(hurried=True)
    now[0] += 1.0
    assert keeper.due() and keeper.due(hurried=True)


def test_forgetting_takes_what_killed_writers_left(tmp_path: Path) -> None:
    mine, other = Unit(0, 9, 0, 5), Unit(1, 9, 5, 10)
    for unit in (mine, other):
        path_of(tmp_path, unit).write_bytes(b"")
        path_of(tmp_path, unit).with_name(f".{path_of(tmp_path, unit).name}.host-12").write_bytes(b"")
    remove_checkpoint(tmp_path, mine)
    assert len(list(tmp_path.iterdir())) == 2 and path_of(tmp_path, other).exists()
    remove_checkpoint(tmp_path / "nowhere", mine)
