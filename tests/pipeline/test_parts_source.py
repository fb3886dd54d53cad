"""A whole enumeration as a source: its parts are the work units, enumerated by a process of their own when needed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qmgen.config import GenerateConfig
from qmgen.config.enumerate import EnumerateConfig
from qmgen.corpus import open_corpus
from qmgen.corpus.plan import part_molecule_id, plan, plan_of_parts
from qmgen.errors import Interrupted, QmgenError, UsageError
from qmgen.molecules.enumeration.items import Part
from qmgen.molecules.types import Failure, Molecule, Reason
from qmgen.pipeline.enumeration import parts as parts_module
from qmgen.pipeline.enumeration.feeder import (
    MOST_UNITS,
    EnumerationFeed,
    EnumerationOrder,
    blocks,
    next_size,
    one_pass,
)
from qmgen.pipeline.enumeration.parts import EnumerationParts, expected_molecules, fingerprint
from qmgen.pipeline.enumeration.run import selection
from qmgen.pipeline.estimate import estimate
from qmgen.pipeline.run import generate
from qmgen.pipeline.source import UnitInput
from qmgen.pipeline.stages import Stages
from qmgen.progress import RunProgress

#: 4 + 19 + 94 molecules by valence alone
SMALL = "1-3"
#: one pass over its graphs takes minutes: nothing is there before a test has ended
LARGE = {"enumerate": "12", "units": 1000}


def config(out: Path, **settings: Any) -> GenerateConfig:
    return GenerateConfig(**{"enumerate": SMALL, "rules": "none", "units": 5, "out": out, "workers": 1, **settings})


def whole(sizes: str, rules: str = "gdb11") -> list[str]:
    return [
        text for piece in selection(EnumerateConfig(heavy_atoms=sizes, rules=rules)).pieces() for text in piece.smiles
    ]


def corpus_bytes(folder: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes() for kind in ("data", "failures") for p in (folder / kind).iterdir()
    }


def works_of(source: EnumerationParts) -> Iterator[UnitInput]:
    works = source._works(plan_of_parts(source.units), range(source.units), 1.0)
    return (work for work in works if work is not None)


@pytest.mark.parametrize(("sizes", "rules"), [("4-5", "gdb11"), ("1-4", "none")])
def test_a_block_of_parts_in_one_pass_is_its_parts_one_by_one(sizes: str, rules: str) -> None:
    alone = selection(EnumerateConfig(heavy_atoms=sizes, rules=rules))
    found = {}
    for block in ([2], [0, 3, 4], [1, 5, 6]):
        found |= one_pass(alone, 7, block)[0]
    for unit in (0, 2, 5):
        part = replace(alone, part=Part((unit + 1,), 7))
        assert found[unit] == [text for piece in part.pieces() for text in piece.smiles]
    assert Counter(text for unit in found.values() for text in unit) == Counter(whole(sizes, rules))


def test_the_units_hold_the_enumeration_each_molecule_once(tmp_path: Path, stages: Stages, lines: RunProgress) -> None:
    settings = config(tmp_path / "corpus")
    summary = generate(settings, lines, stages)
    table = open_corpus(settings.out).table()
    listed = whole(SMALL, "none")
    assert Counter(table["smile"].to_pylist()) == Counter(listed)
    assert summary.entries == summary.molecules == len(listed) and summary.units == 5
    assert not (settings.out / "source").exists()
    manifest = json.loads((settings.out / "manifest.json").read_text())
    assert manifest["plan"] == {"entries": 5, "units": 5, "wanted": 5, "enumeration": True}
    assert manifest["recipe"]["source"] == {"enumeration": fingerprint(parts_of(stages).config), "units": 5}
    assert "2^32" in (settings.out / "README.md").read_text()
    assert b"2^32" in table.schema.field("molecule_id").metadata[b"description"]
    assert generate(settings, lines, stages).run_units == 0


def parts_of(stages: Stages, sizes: str = SMALL, units: int | None = 5, **settings: Any) -> EnumerationParts:
    return EnumerationParts.of(EnumerateConfig(**{"heavy_atoms": sizes, "rules": "none", **settings}), 1, units, stages)


def test_an_identifier_is_unit_and_place(stages: Stages) -> None:
    source = parts_of(stages)
    alone = selection(source.config)
    for work in works_of(source):
        part = replace(alone, part=Part((work.unit.index + 1,), 5))
        smiles = [text for piece in part.pieces() for text in piece.smiles]
        assert [entry.smiles for entry in work.entries] == smiles and work.merged == 0
        ids = [entry.molecule_id for entry in work.entries]
        assert ids == [work.unit.index * 2**32 + place for place in range(len(smiles))]


def test_each_process_enumerates_what_it_has_to_do(
    tmp_path: Path, stages: Stages, lines: RunProgress, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[int]] = []

    class Listening(EnumerationFeed):
        def __enter__(self) -> EnumerationFeed:
            asked.append(list(self.units))
            return super().__enter__()

    monkeypatch.setattr(parts_module, "EnumerationFeed", Listening)
    one, two = config(tmp_path / "one"), config(tmp_path / "two")
    generate(one, lines, stages)
    for rank in (1, 0):
        last = generate(two.model_copy(update={"rank": rank, "world_size": 2}), lines, stages)
    assert last.complete and corpus_bytes(one.out) == corpus_bytes(two.out)
    for unit in (1, 4):
        (one.out / "failures" / f"part-{unit:05d}-of-00005.parquet").unlink()
    assert generate(one, lines, stages).run_units == 2
    assert corpus_bytes(one.out) == corpus_bytes(two.out)
    assert asked == [[0, 1, 2, 3, 4], [1, 3], [0, 2, 4], [1, 4]]


def test_another_enumeration_is_another_corpus(
    tmp_path: Path, stages: Stages, lines: RunProgress, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config(tmp_path / "corpus", enumerate="2", units=None, rules="gdb11")
    generate(settings, lines, stages)
    recipe = json.loads((settings.out / "manifest.json").read_text())["recipe"]
    assert recipe["units"] is None and recipe["source"]["units"] == 8
    assert recipe["source"]["molecules_expected"] == 9
    with pytest.raises(UsageError, match=r"source\.enumeration"):
        generate(settings.model_copy(update={"enumerate": "3"}), lines, stages)
    with pytest.raises(UsageError, match=r"source\.units: 8 -> 4"):
        generate(settings.model_copy(update={"units": 4}), lines, stages)
    monkeypatch.setitem(parts_module.expected_molecules.__globals__["KNOWN"], "gdb11", (4, 10, 20))
    with pytest.raises(UsageError, match=r"source\.molecules_expected: 9 -> 10"):  # silently it would be other units
        generate(settings, lines, stages)


def test_rules_are_known_by_their_text(tmp_path: Path) -> None:
    hashes = []
    for name, smarts in (("a.toml", "[F]"), ("b.toml", "[F]"), ("c.toml", "[O]")):
        rule = f'[[rule]]\nname = "no"\nsmarts = ["{smarts}"]\nwhy = "-"\nsource = "-"\nstage = "atoms"\n'
        (tmp_path / name).write_text(f'name = "mine"\nelements = ["C", "N", "O", "F"]\n{rule}')
        hashes.append(fingerprint(EnumerateConfig(heavy_atoms="3", rules=str(tmp_path / name))))
    assert hashes[0] == hashes[1] != hashes[2]
    assert fingerprint(EnumerateConfig(heavy_atoms="3", seed=0)) == fingerprint(EnumerateConfig(heavy_atoms="3-3"))


def parse_some(place: int, smiles: str, name: str) -> Molecule | Failure:
    if smiles == "CO":
        return Failure(place, -1, name, smiles, Reason.NO_VIRTUAL_ORBITAL, "a detail, \u00e4 one")
    return Molecule(place, name, "C" if smiles in ("CC", "CN") else smiles)


def test_refused_and_doubled_entries_are_kept_in_the_books(tmp_path: Path, stages: Stages) -> None:
    source = parts_of(stages.replace(parse=parse_some), "2", 1)
    order = EnumerationOrder(source.config.model_dump(), 1, str(tmp_path), source.stages)
    (block,) = blocks(order, iter([(0,), ()]).__next__)
    assert block == {0: 1}
    entries = list(parts_module._read(tmp_path / "0.jsonl", 0))
    listed = whole("2", "none")
    assert len(entries) == len(listed) - 1
    (failure,) = (entry for entry in entries if isinstance(entry, Failure))
    assert failure == parse_some(part_molecule_id(0, listed.index("CO")), "CO", "")
    (carbon,) = (entry for entry in entries if entry.smiles == "C")
    assert carbon.molecule_id == min(listed.index("CC"), listed.index("CN"))


def test_the_feeder_is_killed(stages: Stages) -> None:
    with EnumerationFeed(parts_of(stages).config.model_dump(), 5, range(5), stages, patience=1.0) as feed:
        feed.child.process.send_signal(signal.SIGKILL)
        with pytest.raises(QmgenError, match=r"the process that enumerates died: SIGKILL.*the same command continues"):
            list(feed.blocks())
    assert not feed.folder.exists()


def test_the_feeder_cannot_write(stages: Stages) -> None:
    with EnumerationFeed(parts_of(stages).config.model_dump(), 5, range(5), stages, patience=1.0) as feed:
        shutil.rmtree(feed.folder)
        with pytest.raises(
            QmgenError, match=r"cannot write to .*: No such file or directory; make room, or set TMPDIR"
        ):
            list(feed.blocks())
        feed.folder.mkdir()


def test_the_time_limit_ends_the_waiting(tmp_path: Path, stages: Stages, lines: RunProgress) -> None:
    with pytest.raises(Interrupted, match="stopped by the time limit with 1000 of 1000 work units left"):
        generate(config(tmp_path / "corpus", time_limit=3.0, **LARGE), lines, stages)


PROGRAM = """
import sys
from pathlib import Path
import pipeline_fakes
from qmgen.config import GenerateConfig
from qmgen.errors import QmgenError
from qmgen.pipeline.run import generate
from qmgen.pipeline.stages import Stages
names = ("parse", "merge", "check", "conformers", "label", "prepare", "theory")
stages = Stages(**{n: getattr(pipeline_fakes, n) for n in names})
try:
    generate(GenerateConfig(enumerate="12", units=1000, out=Path(sys.argv[1]), workers=1), stages=stages)
except QmgenError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_ends_the_waiting_and_the_feeder(tmp_path: Path, stages: Stages, number: int) -> None:
    spool = tmp_path / "spool"
    spool.mkdir()
    search = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "corpus")],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": search, "TMPDIR": str(spool)},
    )
    deadline = time.monotonic() + 60
    while len(children := children_of(process.pid)) < 2:  # a worker and the feeder
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    if number != signal.SIGKILL:
        assert process.returncode == 75 and "1000 of 1000 work units left" in said, said
    while any(Path("/proc", str(pid)).exists() for pid in children) or list(spool.iterdir()):
        assert time.monotonic() < deadline + 30
        time.sleep(0.05)


def children_of(pid: int) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append(int(entry.parent.name))
    return found


def test_a_dry_run_samples_a_part(tmp_path: Path, stages: Stages) -> None:
    settings = config(tmp_path / "corpus", enumerate="5", units=None, rules="gdb11")
    found = estimate(settings, stages)
    assert (found.molecules, found.units, found.about) == (351, 8, True)
    assert found.sampled == 8 and found.rows == 351 and found.text().startswith("about 351 rows")
    assert not settings.out.exists()


def test_what_is_expected(tmp_path: Path) -> None:
    def of(sizes: str, **settings: Any) -> int:
        return expected_molecules(EnumerateConfig(heavy_atoms=sizes, **{"rules": "gdb11", **settings}))[0]

    assert of("9-11") == 453_567 + 3_114_041 + 22_796_628
    assert of("9", elements=["F", "O", "N", "C"]) == 453_567
    assert of("1-4", rules="none") == len(whole("1-4", "none"))
    assert of("12") > 22_796_628 * 7  # GDB-11 grew by 7.3 in its last step, and its growth grew
    # counted where nothing is known; the same set under another name comes to the same numbers
    mine = 'name = "mine"\nbase = "gdb11"\nelements = ["C", "N", "O", "F"]\ntautomers = "merge"\n'
    (tmp_path / "mine.toml").write_text(mine)
    assert of("11", rules=str(tmp_path / "mine.toml")) == 22_796_628
    # hydrocarbons: up to five atoms as counted, then about
    carbons = EnumerateConfig(heavy_atoms="1", elements=["C"], rules="none")
    counted = [
        sum(one.molecules for one in selection(carbons.model_copy(update={"heavy_atoms": str(size)})).counts())
        for size in range(1, 7)
    ]
    guessed = [of(str(size), rules="none", elements=["C"]) for size in range(1, 7)]
    assert guessed[:5] == counted[:5]
    assert counted[5] / 2 < guessed[5] < counted[5] * 2


def test_the_words_for_a_unit() -> None:
    assert [unit.holds for unit in plan_of_parts(2)] == ["part 1 of 2", "part 2 of 2"]
    assert [unit.holds for unit in plan(5, units=2)] == ["molecules 0 to 1", "molecules 2 to 4"]


def test_the_size_of_blocks() -> None:
    assert next_size(1, 1000, 55.0, 40.0) == 2  # at most twice the last
    assert next_size(16, 16000, 55.0, 40.0) == 14  # 55 s are less than a tenth of 14 x 40 s
    assert next_size(64, 64000, 55.0, 1.0) == MOST_UNITS
    assert next_size(1, 0, 55.0, 0.0) == 2  # an empty part says nothing
    assert next_size(4, 1_000_000, 55.0, 40.0) == 2  # what is held in memory
