"""Whatever the files of a corpus hold, a command ends with what it can do, or with one line."""

from __future__ import annotations

import copy
import json
import os
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pyarrow.parquet as pq
import pytest

from qmgen.cli.main import main
from qmgen.corpus import open_corpus, write_manifest
from qmgen.corpus.identity import check_same, config_hash
from qmgen.corpus.merge import merge
from qmgen.corpus.plan import MOST_UNITS, Listing, Plan, parse, plan
from qmgen.corpus.revisions import RETRY, Revision, history_of
from qmgen.corpus.runs import rank_states, records
from qmgen.corpus.schema import encode
from qmgen.corpus.status import status
from qmgen.corpus.store import store_of
from qmgen.corpus.unit_records import write_table
from qmgen.corpus.verify import MOST_NAMED, inspect
from qmgen.corpus.verify_units import DAMAGE, NOTE, STALE
from qmgen.errors import QmgenError
from qmgen.validation.run import level_of

#: one of each kind that a field may hold instead of what belongs there
ODD: Final = (None, True, -1, 10**12, 10**400, 1e308, "a\nb", [[None], "x"], {"a": [1]})
DEEP: Final = 100_000
FAILED: Final = "failures/part-00000-of-00001.parquet"

RECIPE: Final = {"xc": "b3lyp5", "basis": "sto-3g", "conformers": 2}
LATER: Final = Revision(1, RETRY, config_hash(RECIPE), {**RECIPE, "max_cycles": 200}, Plan(4, 2, None, 1))
RECORD: Final = {
    "state": "running", "host": "node7", "pid": 4711, "rank": 0, "world_size": 1, "config_hash": config_hash(RECIPE),
    "licence": "CC0-1.0", "plan": {"entries": 10, "units": 1, "wanted": 10, "more": 0, "begin": 0},
    "written": "2026-01-01T00:00:00+00:00", "seconds": 2.5, "units_to_do": 4, "rows": 72, "failures": 4,
    "guess": {"run": "r", "sha256": "0"}, "deaths": [{"worker": 0}], "repaired": ["x"],
    "units": [{"index": 0, "rows": 18, "failures": {"embedding_failed": 1}, "seconds": 1.0, "sha256": "f" * 64}],
    "versions": {"qmgen": "0"},
}  # fmt: skip


@pytest.fixture
def hostile(written: Any, tmp_path: Path) -> Path:
    """A whole corpus of one unit, with a record of a run and a statement of what was added, to be spoiled."""
    small = type(written)(tmp_path / "small", plan(10, 2, 1))
    small.write(0)
    directory: Path = small.directory
    (directory / "config.toml").write_text("conformers = 2\n")
    small.manifest()
    for name, value in (("runs/a.json", RECORD), ("generations/more-1.json", LATER.as_json())):
        (directory / name).parent.mkdir()
        (directory / name).write_text(json.dumps(value))
    return directory


def commands(directory: Path) -> Iterator[tuple[str, Callable[[], Any]]]:
    """What commands do with a corpus before they come to its rows."""
    store = store_of(directory)
    yield "load", lambda: (len(open_corpus(directory).failures()), open_corpus(directory).level_of_theory)
    yield "validate", lambda: level_of(open_corpus(directory))
    yield "status", lambda: status(directory)
    yield "retry", lambda: history_of(store, Listing.of(store))
    yield "generate", lambda: check_same(store, {**RECIPE, "xc": "pbe"})
    yield "verify and merge", lambda: json.dumps(merge(directory).inspected.as_json()).encode()


def survived(directory: Path, what: str) -> None:
    """Each command is done, or refuses in one line."""
    for name, command in commands(directory):
        try:
            command()
        except QmgenError as error:
            assert len(error.lines) == 1 and error.exit_code in (1, 2), (name, what, error)
        except Exception as error:
            raise AssertionError(f"{name} with {what}") from error


def spoiled(value: Any, odd: Any, way: str = "") -> Iterator[tuple[str, Any]]:
    """``value`` with each of its members in turn replaced by ``odd``, or removed where that is ``...``."""
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(min(len(value), 1)):
            copied = copy.copy(value)
            if odd is ...:
                del copied[key]
            else:
                copied[key] = odd
            yield f"{way}.{key}", copied
            for place, inner in spoiled(value[key], odd, f"{way}.{key}"):
                whole = copy.copy(value)
                whole[key] = inner
                yield place, whole


@pytest.mark.parametrize("name", ["manifest.json", "runs/a.json", "generations/more-1.json"])
@pytest.mark.parametrize("odd", [..., *ODD], ids=lambda odd: "absent" if odd is ... else repr(odd)[:12])
def test_any_field_of_any_type_ends_in_one_line(hostile: Path, name: str, odd: Any) -> None:
    path = hostile / name
    sound = json.loads(path.read_text())
    path.write_text(json.dumps(odd if odd is not ... else [odd is ...]))
    survived(hostile, f"{name} = {odd!r}")
    cases = list(spoiled(sound, odd))
    assert len(cases) > 10
    for place, value in cases:
        path.write_text(json.dumps(value))
        survived(hostile, f"{name}{place} = {odd!r}")


BEYOND: Final = ({"units": 10**12}, {"entries": 10**12, "units": 10**12}, {"begin": 10**30}, {"wanted": 10**12})


@pytest.mark.parametrize("beyond", BEYOND, ids=repr)
@pytest.mark.parametrize("name", ["manifest.json", "runs/a.json", "generations/more-1.json"])
def test_sizes_beyond_any_corpus_take_no_memory(hostile: Path, name: str, beyond: dict[str, int]) -> None:
    """With room for a process of this size and a little more, 10^12 units would end it."""
    value = json.loads((hostile / name).read_text())
    value["plan"].update(beyond)
    (hostile / name).write_text(json.dumps(value))
    survived(hostile, f"{name} {beyond}")
    assert sum(generation.count for generation in inspect(hostile).revisions) < 10


@pytest.mark.parametrize(
    "name",
    [
        "data/train-00000-of-999999999999.parquet", "failures/part-00000-of-99999999.parquet",
        "data/train-00000-of-00000.parquet", "failures/part-00000-of-00001.first-%s.parquet" % (10**19),
        "data/train-00000-of-00001.more-99999999.parquet", "data/train-0000٣-of-00004.parquet",
        "data/train-00000-of-00001.parquet\n",
    ],
)  # fmt: skip
def test_names_that_state_what_no_corpus_has_are_none_of_its_files(hostile: Path, name: str) -> None:
    (hostile / name).write_bytes(b"PAR1")
    assert parse(name) is None
    survived(hostile, name)
    assert name in inspect(hostile).listing.foreign()


@pytest.mark.parametrize("name", ["manifest.json", "runs/a.json", "generations/more-1.json", "config.toml"])
@pytest.mark.parametrize("text", ["[" * DEEP, '{"a":' * DEEP, "a = " + "[" * DEEP, "[" * 500 + "]" * 500])
def test_nesting_of_any_depth_ends_in_one_line(hostile: Path, name: str, text: str) -> None:
    (hostile / name).write_text(text)
    survived(hostile, name)


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero"), lambda path: path.mkdir()])
@pytest.mark.parametrize("name", ["manifest.json", "runs/a.json", "config.toml", "README.md", FAILED])
def test_what_is_no_file_is_not_waited_for(hostile: Path, name: str, make: Callable[[Path], Any]) -> None:
    (hostile / name).unlink()
    make(hostile / name)
    survived(hostile, name)


LONG: Final = (
    ("manifest.json", STALE, "cannot be read"), ("README.md", STALE, "cannot be read"),
    ("SHA256SUMS", STALE, "cannot be read"), ("config.toml", NOTE, "cannot be read"),
    ("runs/a.json", STALE, "cannot be read"), ("generations/more-1.json", STALE, "cannot be read"),
    (FAILED, DAMAGE, "cannot be read"), ("data/train-00000-of-00001.parquet", DAMAGE, f"has {2**40} bytes instead of"),
)  # fmt: skip


@pytest.mark.parametrize(("name", "severity", "what"), LONG, ids=[name for name, _, _ in LONG])
def test_a_file_as_long_as_a_disk_is_not_read(hostile: Path, name: str, severity: str, what: str) -> None:
    """It is named, and all else is looked at as ever. That of a wanted addition is left out: it makes the corpus
    unfinished, and less is looked at."""
    if name != "generations/more-1.json":
        (hostile / "generations" / "more-1.json").unlink()
        write_manifest(
            hostile, plan(10, 2, 1), {"recipe": RECIPE, "level_of_theory": {}}, licence="CC0-1.0", versions={}
        )
    with (hostile / name).open("wb") as stream:
        stream.truncate(2**40)  # it takes no room
    found = [one for one in inspect(hostile).issues if one.file == name]
    assert len(found) == 1 and found[0].what.startswith(what) and found[0].severity in (severity, STALE), found
    survived(hostile, f"{name} of a terabyte")


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero"), lambda path: path.mkdir(),
                                  lambda path: os.truncate(os.open(path, os.O_CREAT | os.O_RDWR), 2**40)])  # fmt: skip
def test_settings_that_are_no_file_are_not_waited_for(
    tmp_path: Path, make: Callable[[Path], Any], capsys: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path / "config.toml")
    for command in ("generate", "submit"):
        assert main([command, str(tmp_path / "config.toml"), *(["--ranks", "2"] * (command == "submit"))]) == 2
        printed = capsys.readouterr().err
        assert printed.count("\n") == 1 and "cannot read the config file" in printed


@pytest.mark.parametrize("name", ["/dev/zero", "/dev/fd/%d"])
def test_settings_out_of_a_pipe_of_the_shell_are_read_as_far_as_settings_go(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reading, writing = os.pipe()
    os.write(writing, b'molecules = "none.smi"\r\nconformers = 0\r\n')
    os.close(writing)
    assert main(["generate", name % reading if "%" in name else name, "--out", str(tmp_path / "o")]) == 2
    os.close(reading)
    said = "conformers = 0" if "%" in name else "cannot read the config file /dev/zero: File too large"
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("name", ["manifest.json", "runs/a.json"])
def test_any_number_of_units_within_the_bounds_takes_neither_memory_nor_time(hostile: Path, name: str) -> None:
    """Each is within the bounds of one plan: made one by one, they would take gigabytes."""
    value = json.loads((hostile / name).read_text())
    value.pop("sha256", None)
    many = {"entries": MOST_UNITS, "units": MOST_UNITS, "begin": 0}
    if name == "manifest.json":
        value["more"] = [{**LATER.as_json(), "number": number, "plan": many} for number in range(2, 302)]
        units = 1 + 2 + 300 * MOST_UNITS
    else:
        value["plan"] = {**value["plan"], **many, "wanted": MOST_UNITS}
        units = 2 + MOST_UNITS
    (hostile / name).write_text(json.dumps(value))
    tracemalloc.start()
    found, state = inspect(hostile), status(hostile)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 64e6
    assert found.units == state.units == units and found.lacking == units - found.done
    assert not found.complete and not state.complete and len(found.missing) == MOST_NAMED
    survived(hostile, f"units of {name}")


@pytest.mark.parametrize("odd", ODD, ids=repr)
def test_metadata_of_a_failures_file_of_any_type_end_in_one_line(hostile: Path, odd: Any) -> None:
    path = hostile / FAILED
    table = pq.read_table(path)
    about = {
        "unit": {"entries": 10, "merged": 0, "pruned": 0, "decided": [[1, 0, "x"]], "again": {"train": 1}},
        "recipe": RECIPE, "level_of_theory": {"xc": "pbe", "basis": "sto-3g", "grid_level": 1}, "more": LATER.mark,
        "constants": {}, "files": json.loads(table.schema.metadata[b"qmgen.files"]),
        "config_hash": config_hash(RECIPE), "schema_version": 1,
    }  # fmt: skip
    for place, value in spoiled(about, odd):
        write_table(table.replace_schema_metadata(encode(value)), path)
        survived(hostile, f"{place} = {odd!r}")


def test_locks_of_ranks_that_nobody_has(hostile: Path) -> None:
    for name in ("rank-999999999999.lock", "rank-²²²²².lock", "rank-00000x.lock", "rank-1.lock"):
        (hostile / "runs" / name).write_text("[" * 4096)
    store = store_of(hostile)
    assert [state.rank for state in rank_states(store, list(records(store)))] == [0]


def test_plans_keep_within_the_bounds_that_are_read() -> None:
    made = plan(10**15, 10)
    assert made.count == MOST_UNITS and made.unit(MOST_UNITS - 1).stop == 10**15  # type: ignore[union-attr]
    assert made.unit(MOST_UNITS) is None and made.unit(-1) is None
