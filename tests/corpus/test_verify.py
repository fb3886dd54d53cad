"""What is wrong with a corpus is found, named, and told from what is merely lost."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qmgen.corpus.merge import merge
from qmgen.corpus.plan import Plan
from qmgen.corpus.plan_recovery import manifest_of
from qmgen.corpus.revisions import RETRY, Revision
from qmgen.corpus.runs import new_record_name, write_record
from qmgen.corpus.seal import sealed
from qmgen.corpus.store import store_of
from qmgen.corpus.unit_records import FileRecord, digest, with_records, write_table
from qmgen.corpus.verify import VerificationReport, damaged_notes, description, inspect
from qmgen.corpus.verify_units import DAMAGE, NOTE, STALE, VerificationIssue, check_unit, doubled_keys
from qmgen.errors import QmgenError, UsageError

TRAIN, FAILED = "data/train-00001-of-00004.parquet", "failures/part-00001-of-00004.parquet"
Change = Callable[[dict[str, Any]], Any]


def said(found: VerificationReport, severity: str) -> list[str]:
    return [f"{finding.file}: {finding.what}" for finding in found.issues if finding.severity == severity]


def test_a_whole_corpus_is_sound(written: Any) -> None:
    found = inspect(written.directory)
    assert found.issues == [] and found.sound and found.complete and found.units == 4
    report = found.as_json()
    assert report["counts"]["rows"] == 72 and report["counts"]["failures"] == 4
    assert report["bytes"] == sum(path.stat().st_size for path in written.directory.glob("*/*.parquet"))
    json.dumps(report)


def test_progress_adds_up(written: Any) -> None:
    told: list[int] = []
    inspect(written.directory, begin=lambda total: told.append(-total), advance=told.append)
    assert told[0] < 0 and sum(told) == 0


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (lambda content: content[:-7], "has "),
        (lambda content: b"", "has 0 bytes"),
        (lambda content: content[:500] + bytes([content[500] ^ 1]) + content[501:], "its checksum differs"),
        (None, "is missing"),
    ],
)
def test_a_data_file_that_is_not_what_was_written(written: Any, spoil: Any, what: str) -> None:
    path = written.directory / TRAIN
    content = path.read_bytes()
    path.unlink()
    if spoil is not None:
        path.write_bytes(spoil(content))
    found = inspect(written.directory)
    assert [line for line in said(found, DAMAGE) if line.startswith(TRAIN) and what in line], found.issues
    assert not found.sound and all(finding.todo for finding in found.damaged)


def test_every_flipped_byte_is_found(written: Any) -> None:
    """With SHA256SUMS, wherever it is: magic, pages, footer, metadata."""
    chance = random.Random(5)
    undetected = []
    for name in (TRAIN, FAILED):
        path = written.directory / name
        good = path.read_bytes()
        places = [0, 3, 4, len(good) - 1, len(good) - 5, len(good) - 8, *chance.sample(range(len(good)), 24)]
        for place in places:
            path.write_bytes(_flipped(good, place, chance))
            if not any(name in line for line in said(inspect(written.directory), DAMAGE)):
                undetected.append((name, place))
        path.write_bytes(good)
    assert undetected == [] and inspect(written.directory).sound


def test_without_any_checksum_an_unfound_flip_has_changed_no_value(written: Any) -> None:
    """A lone failures file, with neither SHA256SUMS nor record: a Parquet footer has no checksum of its own. What is
    not found then are descriptions of columns, hints and the writer's name: nothing that is read as a value."""
    store, chance = store_of(written.directory), random.Random(6)
    path = written.directory / FAILED
    good = path.read_bytes()
    table = pq.read_table(path)
    found = 0
    for _ in range(60):
        path.write_bytes(_flipped(good, chance.randrange(len(good)), chance))
        if check_unit(store, (0, 4, 1), FAILED, {}, {}, None).issues:
            found += 1
            continue
        back = pq.read_table(path)
        assert back.equals(table) and back.schema.metadata == table.schema.metadata
    assert found > 30  # most of it


def _flipped(content: bytes, place: int, chance: random.Random) -> bytes:
    return content[:place] + bytes([content[place] ^ (1 << chance.randrange(8))]) + content[place + 1 :]


def _set(table: pa.Table, column: str, values: Any) -> pa.Table:
    index = table.column_names.index(column)
    return table.set_column(index, table.schema.field(column), pa.array(values, type=table.schema.field(column).type))


def infinite_energy(tables: dict[str, Any]) -> None:
    energy = tables["train"]["energy"].to_pylist()
    tables["train"] = _set(tables["train"], "energy", [float("-inf"), *energy[1:]])


def infinite_charge(tables: dict[str, Any]) -> None:
    charges = tables["test"]["charges"].to_pylist()
    tables["test"] = _set(tables["test"], "charges", [[0.0, float("inf"), 0.0], *charges[1:]])


def short_positions(tables: dict[str, Any]) -> None:
    positions = tables["train"]["pos"].to_pylist()
    tables["train"] = _set(tables["train"], "pos", [positions[0][:6], *positions[1:]])


def wide_positions(tables: dict[str, Any]) -> None:
    wide = pa.field("pos", pa.list_(pa.field("element", pa.float64(), nullable=False)), nullable=False)
    index = tables["train"].column_names.index("pos")
    tables["train"] = tables["train"].set_column(index, wide, tables["train"]["pos"].cast(wide.type))


def nullable_energy(tables: dict[str, Any]) -> None:
    index = tables["train"].column_names.index("energy")
    field = tables["train"].schema.field("energy").with_nullable(True)
    tables["train"] = tables["train"].set_column(index, field, tables["train"]["energy"])


def one_column_less(tables: dict[str, Any]) -> None:
    tables["train"] = tables["train"].drop_columns(["dipole"])


def doubled_row(tables: dict[str, Any]) -> None:
    conformers = tables["train"]["conformer_id"].to_pylist()
    tables["train"] = _set(tables["train"], "conformer_id", [0, 0, *conformers[2:]])


def doubled_in_another_split(tables: dict[str, Any]) -> None:
    tables["validation"] = tables["train"].slice(3, 1)


def row_and_failure(tables: dict[str, Any]) -> None:
    tables["failures"] = _set(_set(tables["failures"], "conformer_id", [1]), "molecule_id", [13])


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (infinite_energy, "column energy holds 1 number(s) that are NaN or infinite"),
        (infinite_charge, "column charges holds 1 number(s) that are NaN or infinite"),
        (short_positions, "column pos does not hold 3 value(s) per atom"),
        (wide_positions, "has other columns, types or nullability"),
        (nullable_energy, "has other columns, types or nullability"),
        (one_column_less, "has other columns, types or nullability"),
        (doubled_row, "molecule 13, conformer 0 stands twice"),
        (doubled_in_another_split, "molecule 14, conformer 1 stands twice"),
        (row_and_failure, "molecule 13, conformer 1 stands both as row and as failure"),
    ],
)
def test_rows_that_are_wrong_though_their_checksums_are_right(written: Any, change: Change, what: str) -> None:
    written.write(1, change)
    written.manifest()
    (line,) = said(inspect(written.directory), DAMAGE)
    assert what in line and "00001-of-00004" in line


def test_nan_in_a_list_though_all_checksums_are_right(written: Any) -> None:
    """``write_unit`` would not write it: the files are forged."""
    table = pq.read_table(written.directory / TRAIN)
    dipole = table["dipole"].to_pylist()
    write_table(_set(table, "dipole", [[0.0, float("nan"), float("nan")], *dipole[1:]]), written.directory / TRAIN)
    failures = pq.read_table(written.directory / FAILED)
    kept = {key: value for key, value in failures.schema.metadata.items() if key != b"qmgen.files"}
    failures = failures.replace_schema_metadata(kept)
    records = []
    for name in (TRAIN, *(TRAIN.replace("train", split) for split in ("validation", "test"))):
        path = written.directory / name
        rows = pq.read_table(path)
        molecules = len(set(rows["molecule_id"].to_pylist()))
        records.append(FileRecord(name, rows.num_rows, molecules, path.stat().st_size, digest(path)))
    write_table(with_records(failures, records), written.directory / FAILED)
    written.manifest()
    assert said(inspect(written.directory), DAMAGE) == [
        f"{TRAIN}: column dipole holds 2 number(s) that are NaN or infinite"
    ]


def test_a_failure_that_says_its_key_is_taken_is_no_contradiction(written: Any) -> None:
    def twice(tables: dict[str, Any]) -> None:
        row_and_failure(tables)
        tables["failures"] = _set(tables["failures"], "detail", ["molecule_id 13 ... stands twice in the source"])

    written.write(1, twice)
    written.manifest()
    assert inspect(written.directory).sound


def test_keys_that_stand_in_two_units(written: Any) -> None:
    def of_another(tables: dict[str, Any]) -> None:
        ids = tables["train"]["molecule_id"].to_pylist()
        tables["train"] = _set(tables["train"], "molecule_id", [3, 3, *ids[2:]])  # of unit 0
        tables["test"] = _set(tables["test"], "molecule_id", [0, 12])
        tables["test"] = _set(tables["test"], "conformer_id", [-1, 1])  # failed in unit 0

    written.write(1, of_another)
    written.manifest()
    lines = said(inspect(written.directory), DAMAGE)
    assert any("molecule 3, conformer 0 (and 1 more) stands also in" in line for line in lines)
    assert any("molecule 0, conformer -1 is a row here and a failure in" in line for line in lines)
    assert len(lines) == 2


@pytest.mark.parametrize("window", [1, 7, 1000])
def test_windows_find_what_one_comparison_finds(written: Any, window: int) -> None:
    """Unit 2 as a copy of unit 1, under its own name: every key is doubled."""
    store = store_of(written.directory)
    for kind in ("data/train", "data/validation", "data/test", "failures/part"):
        one, two = (written.directory / f"{kind}-0000{index}-of-00004.parquet" for index in (1, 2))
        shutil.copy(one, two)
    checks = [check_unit(store, (0, 4, i), f"failures/part-0000{i}-of-00004.parquet", {}, {}, None) for i in range(4)]
    # the copied failures file names files of unit 1, so its data are read by name alone
    checks[2].low, checks[2].high, checks[2].keys = checks[1].low, checks[1].high, checks[1].keys
    (finding,) = doubled_keys(store, checks, window)
    assert "(and 17 more) stands also in failures/part-00002-of-00004.parquet" in finding.what


def test_units_of_other_settings_are_found(written: Any) -> None:
    written.write(2, recipe={"xc": "pbe"}, config_hash="f" * 64)
    written.write(3, level_of_theory={"xc": "pbe"})
    with pytest.raises(QmgenError, match="made with other settings"):
        written.manifest()
    lines = said(inspect(written.directory), DAMAGE)
    assert sum("made with other settings" in line for line in lines) == 2
    assert any("00002" in line and "not the one of its configuration hash" in line for line in lines)


def test_a_unit_that_accounts_for_other_entries(written: Any) -> None:
    def fewer(tables: dict[str, Any]) -> None:
        table = tables["failures"]
        metadata = {**table.schema.metadata, b"qmgen.unit": b'{"entries":9,"merged":0}'}
        tables["failures"] = table.replace_schema_metadata(metadata)

    written.write(1, fewer)
    written.manifest()
    assert said(inspect(written.directory), DAMAGE) == [f"{FAILED}: accounts for 9 entries instead of 10"]


@pytest.mark.parametrize("lost", ["manifest.json", "SHA256SUMS", "README.md"])
def test_a_lost_description_is_stale_not_damage(written: Any, lost: str) -> None:
    (written.directory / lost).unlink()
    found = inspect(written.directory)
    assert found.complete and not found.sound and not found.damaged
    assert said(found, STALE) == [f"{lost}: is lost"] and "qmgen merge" in found.issues[0].todo


@pytest.mark.parametrize(
    ("file", "spoil", "what"),
    [
        ("SHA256SUMS", lambda text: text.replace("train-00000", "train-00009"), "does not list the files"),
        ("SHA256SUMS", lambda text: "\n".join(text.splitlines()[:-1]) + "\n", "does not list the files"),
        ("manifest.json", lambda text: text[:-9], "cannot be read"),
        ("manifest.json", lambda text: text.replace('"rows": 14', '"rows": 15'), "says otherwise than the files"),
        ("manifest.json", lambda text: text.replace('"complete": true', '"complete": false'), "not complete"),
        ("manifest.json", lambda text: text.replace("sto-3g", "sto-6g"), "another corpus"),
    ],
)
def test_a_description_that_is_out_of_date(written: Any, file: str, spoil: Callable[[str], str], what: str) -> None:
    path = written.directory / file
    before = path.read_text()
    path.write_text(spoil(before))
    assert path.read_text() != before
    found = inspect(written.directory)
    assert not found.damaged and any(what in line for line in said(found, STALE)), found.issues


def of_run(directory: Path) -> str:
    """The name of a record as a run writes it."""
    name = new_record_name()
    record = {"state": "finished", "host": "node7", "rank": 0, "versions": {"qmgen": "0"}, "seconds": 1.5}
    write_record(store_of(directory), name, record)
    return name


def of_addition(directory: Path) -> str:
    generation = Revision(1, RETRY, "f" * 64, {"xc": "pbe", "conformers": 2}, Plan(4, 2, None, 1))
    store_of(directory).write(generation.name, sealed(generation.as_json()))
    return generation.name


@pytest.mark.parametrize(
    "name", [lambda place: "README.md", lambda place: "manifest.json", lambda place: "config.toml", of_run, of_addition]
)
def test_every_changed_byte_of_what_describes_a_corpus_is_found(written: Any, name: Callable[[Path], str]) -> None:
    (written.directory / "config.toml").write_text(
        '# seed is not set\nconformers = 2\nlicence = "CC0-1.0"\nworkers = 1\n'
    )
    written.manifest()
    path = written.directory / name(written.directory)
    content, store, chance = path.read_bytes(), store_of(written.directory), random.Random(7)
    before = [finding.file for finding in inspect(store).issues]
    assert f"generations/{path.name}" not in before and path.name not in before
    checks = _describing(written.directory)
    places = {0, len(content) - 1, *chance.sample(range(len(content)), min(len(content), 250))}
    unseen = []
    for place in sorted(places):
        for changed in (_flipped(content, place, chance), content[:place] + content[place + 1 :]):
            path.write_bytes(changed)
            if not any(finding.file.endswith(path.name) and finding.severity == STALE for finding in checks()):
                unseen.append((place, changed[max(place - 10, 0) : place + 10]))
    assert unseen == []
    path.write_bytes(content)
    assert [finding.file for finding in inspect(store).issues] == before


def _describing(directory: Path) -> Callable[[], list[VerificationIssue]]:
    """The part of an inspection that looks at descriptions, for a complete corpus: its files are read once."""
    store = store_of(directory)
    found = inspect(store)
    return lambda: [
        *damaged_notes(store), *description(store, found.listing, manifest_of(store), found.unit_records, True)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("conformers = 4", "says conformers = 4, and the rows were made with 2"),
        ('xc = "pbe"', "says xc = 'pbe', and the rows were made with 'b3lyp5'"),
    ],
)
def test_settings_that_are_not_those_of_the_rows_are_named_even_without_a_checksum(
    written: Any, setting: str, said: str
) -> None:
    """As in corpora from before the manifest held one."""
    _unsealed(written.directory)
    assert inspect(written.directory).issues == []
    (written.directory / "config.toml").write_text(setting + "\n")
    assert said in said_of(written.directory, "config.toml")


def test_a_changed_config_is_taken_as_it_is_by_merge(written: Any) -> None:
    """Who moves the molecules writes their new place into it."""
    (written.directory / "config.toml").write_text('conformers = 2\nmolecules = ["elsewhere.smi"]\n')
    found = inspect(written.directory)
    assert [finding.file for finding in found.issues] == ["config.toml"] and not found.sound
    assert merge(written.directory).manifest is not None
    assert inspect(written.directory).sound


def test_a_level_of_theory_that_is_not_that_of_the_files_is_named_even_without_a_checksum(written: Any) -> None:
    _unsealed(written.directory)
    path = written.directory / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["level_of_theory"]["basis"] = "6-31g"
    path.write_text(json.dumps(manifest))
    assert "has another level_of_theory than the metadata of the files" in said_of(written.directory, "manifest.json")


def said_of(directory: Path, name: str) -> str:
    return "; ".join(finding.what for finding in inspect(directory).issues if finding.file == name)


def _unsealed(directory: Path) -> None:
    """The manifest as older versions wrote it: without checksums of itself and of what lies beside it."""
    path = directory / "manifest.json"
    kept = {key: value for key, value in json.loads(path.read_text()).items() if key not in ("described", "sha256")}
    path.write_text(json.dumps(kept, indent=2, ensure_ascii=False) + "\n")


def test_an_unfinished_corpus_is_sound_and_not_complete(written: Any) -> None:
    for name in ("SHA256SUMS", "manifest.json", FAILED):
        (written.directory / name).unlink()
    found = inspect(written.directory)
    assert found.sound and not found.complete and found.missing == ["00001-of-00004"]
    assert all("left unfinished" in line for line in said(found, NOTE)) and len(said(found, NOTE)) == 3


def test_a_unit_that_a_finished_corpus_has_lost_is_damage(written: Any) -> None:
    for path in written.directory.glob("*/*-00001-of-00004.parquet"):
        path.unlink()
    found = inspect(written.directory)
    assert not found.complete and said(found, DAMAGE) == [f"{FAILED}: is lost: SHA256SUMS lists it"]


def test_foreign_files_are_noted_and_other_divisions_are_damage(written: Any) -> None:
    (written.directory / "data" / "notes.txt").write_text("mine")
    assert said(inspect(written.directory), NOTE) == ["data/notes.txt: is not a file of this corpus and is passed over"]
    assert inspect(written.directory).sound
    shutil.copy(written.directory / TRAIN, written.directory / "data/train-00001-of-00007.parquet")
    (line,) = said(inspect(written.directory), DAMAGE)
    assert "00007" in line and "division into other work units than the 4 (base)" in line


def test_a_cut_unit_is_complete_and_its_leftovers_disturb_nobody(written: Any, tmp_path: Path) -> None:
    short = type(written)(tmp_path / "short", written.plan.__class__(40, 4, limit=13))
    for index in range(2):
        short.write(index)
    (short.directory / "config.toml").write_text("")
    short.manifest()
    assert inspect(short.directory).complete and inspect(short.directory).issues == []
    (short.directory / "manifest.json").unlink()
    assert inspect(short.directory).missing == []  # the names say where it was cut
    for index in range(1, 4):  # a run without the limit, stopped before it could clean up
        type(written)(short.directory, written.plan).write(index)
    found = inspect(short.directory)
    assert found.missing == [] and not found.damaged


def test_what_is_no_corpus_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a directory"):
        inspect(tmp_path / "nowhere")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "other.parquet").write_bytes(b"PAR1")
    with pytest.raises(UsageError, match="is not a qmgen corpus"):
        inspect(tmp_path)
    (tmp_path / "config.toml").write_text("")
    begun = inspect(tmp_path)
    assert begun.sound and not begun.complete and begun.units == 0


def test_checksums_are_known_from_the_records_before_there_are_any_sums(written: Any) -> None:
    content = (written.directory / FAILED).read_bytes()
    record = {
        "plan": {"entries": 40, "units": 4, "wanted": 40},
        "units": [{"index": 1, "rows": 18, "failures": {}, "sha256": hashlib.sha256(content).hexdigest()}],
    }
    (written.directory / "runs").mkdir()
    (written.directory / "runs" / "a.json").write_text(json.dumps(record))
    (written.directory / "SHA256SUMS").unlink()
    assert not inspect(written.directory).damaged
    at = content.index(b"no geometry"[:4]) if b"no geometry"[:4] in content else len(content) - 300
    (written.directory / FAILED).write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    assert any(FAILED in line for line in said(inspect(written.directory), DAMAGE))


def test_garbage_for_records_and_sums_is_survived(written: Any) -> None:
    (written.directory / "runs").mkdir()
    odd: list[Any] = [
        [], {"plan": 3}, {"plan": {"entries": "x", "units": 1, "wanted": 1}}, {"rank": "zero", "units": 7},
        {"plan": {"entries": 40, "units": 4, "wanted": 40}, "units": [{"index": 99}, {"index": "1"}, 5]},
    ]  # fmt: skip
    for number, value in enumerate(odd):
        (written.directory / "runs" / f"{number}.json").write_text(json.dumps(value))
    (written.directory / "runs" / "cut.json").write_text('{"plan": ')
    found = inspect(written.directory)
    assert [finding.file for finding in found.issues] == ["runs/0.json", "runs/cut.json"]  # those that are no record
    assert found.complete and not found.damaged
    (written.directory / "SHA256SUMS").write_bytes(b"\xff\xfe no sums\n\x00")
    assert not inspect(written.directory).damaged
