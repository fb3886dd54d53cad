"""Adding to a finished corpus: the rows are those of one run of the whole, whatever way they came."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pipeline_fakes
import pytest

from qmgen.config import GenerateConfig
from qmgen.corpus import open_corpus
from qmgen.errors import Interrupted, QmgenError, UsageError
from qmgen.pipeline.run import generate
from qmgen.pipeline.stages import Stages
from qmgen.progress import RunProgress

Config = Callable[..., GenerateConfig]
Make = Callable[..., GenerateConfig]

OLD = ["bad x", "C_0 zero", "flat_1", "diverge_2", "C_3", "C_0 again", "nan_4", *[f"CC_{i}" for i in range(10)]]
NEW = ["C_3 twice", "C_9 nine", "bad y", "CC_2", "diverge_9", "C_9"]


@pytest.fixture
def sources(tmp_path: Path) -> dict[str, str]:
    """Files of molecules by name: ``a`` (the old), ``b`` (the new)."""
    for name, lines in (("a", OLD), ("b", NEW)):
        (tmp_path / f"{name}.smi").write_text("".join(line + "\n" for line in lines))
    return {name: str(tmp_path / f"{name}.smi") for name in "ab"}


@pytest.fixture
def make(tmp_path: Path, sources: dict[str, str]) -> Make:
    """``make("ab", conformers=2)``: a configuration with these files."""

    def configured(names: str, out: str = "corpus", **settings: Any) -> GenerateConfig:
        files = [sources[name] for name in names]
        split = {"validation_fraction": 0.2, "test_fraction": 0.2}
        return GenerateConfig(
            **{"molecules": files, "out": tmp_path / out, "workers": 1, "units": 3, **split, **settings}
        )

    return configured


def rows(place: Path | str) -> dict[str, list[dict[str, Any]]]:
    """Rows by split, in order of their keys, and failures."""
    corpus = open_corpus(place)
    found = {split: corpus.table(split).to_pylist() for split in ("train", "validation", "test")}
    found["failures"] = corpus.failures().to_pylist()
    return {name: sorted(of, key=lambda r: (r["molecule_id"], r["conformer_id"])) for name, of in found.items()}


def counts(place: Path | str) -> dict[str, Any]:
    manifest = json.loads((Path(place) / "manifest.json").read_text())
    assert manifest["complete"]
    return manifest["counts"]


def contents(place: Path | str) -> dict[str, bytes]:
    """What must not depend on how it came to be."""
    names = [*Path(place).glob("data/*"), *Path(place).glob("failures/*"), Path(place) / "SHA256SUMS"]
    return {str(path.relative_to(place)): path.read_bytes() for path in names}


@pytest.mark.parametrize(
    ("names", "settings"),
    [
        ("ab", {}),
        ("b", {}),
        ("a", {"conformers": 3}),
        ("ab", {"conformers": 3}),
        ("b", {"conformers": 3}),
    ],
)
def test_rows_are_those_of_one_run(make: Make, stages: Stages, lines: RunProgress, names: str, settings: dict) -> None:
    whole = generate(make("a" if names == "a" else "ab", out="whole", **settings), lines, stages)
    first = generate(make("a"), lines, stages)
    before = contents(first.directory)
    added = generate(make(names, extend=True, **settings), lines, stages)
    assert rows(added.directory) == rows(whole.directory)
    assert counts(added.directory) == counts(whole.directory)
    assert (added.rows, added.molecules, added.failures, added.merged, added.entries, added.splits) == (
        whole.rows, whole.molecules, whole.failures, whole.merged, whole.entries, whole.splits,
    )  # fmt: skip
    after = contents(added.directory)
    assert added.complete and all(after[name] == data for name, data in before.items() if name != "SHA256SUMS")
    # the same again, the first command, and the extended one without the word: all find it done
    for again in (make(names, extend=True, **settings), make("a"), make("ab" if "b" in names else "a", **settings)):
        done = generate(again, lines, stages)
        assert (done.run_units, done.rows, done.complete) == (0, whole.rows, True)
    assert contents(added.directory) == after
    written = tomllib.loads((Path(added.directory) / "config.toml").read_text())
    assert written["conformers"] == settings.get("conformers", 1) and "extend" not in written
    assert len(written["molecules"]) == (2 if "b" in names else 1)
    assert (Path(added.directory) / written["molecules"][0]).samefile(make("a").molecules[0])


def test_steps_add_up(make: Make, stages: Stages, lines: RunProgress) -> None:
    whole = generate(make("ab", out="whole", conformers=4), lines, stages)
    generate(make("a"), lines, stages)
    generate(make("a", extend=True, conformers=2), lines, stages)
    generate(make("b", extend=True, conformers=2), lines, stages)
    last = generate(make("ab", extend=True, conformers=4), lines, stages)
    assert rows(last.directory) == rows(whole.directory) and counts(last.directory) == counts(whole.directory)
    manifest = json.loads((Path(last.directory) / "manifest.json").read_text())
    assert [(one["number"], one["kind"]) for one in manifest["more"]] == [(n, "extend") for n in (1, 2, 3)]
    assert manifest["recipe"]["conformers"] == 1 and manifest["more"][-1]["recipe"]["conformers"] == 4
    # each step again is done, and what was there before is not taken for something new
    for step in (
        make("a"),
        make("b", extend=True, conformers=2),
        make("ab", conformers=2),
        make("b", extend=True, conformers=4),
    ):
        assert generate(step, lines, stages).run_units == 0


def test_files_say_which_generation_they_are_of(make: Make, stages: Stages, lines: RunProgress) -> None:
    place = generate(make("a"), lines, stages).directory
    base = open_corpus(place).metadata
    generate(make("ab", extend=True, conformers=2), lines, stages)
    corpus = open_corpus(place)
    assert corpus.metadata == base and len(corpus.files()) == 18
    added = [name for name in corpus.files() if ".more-1." in name]
    from qmgen.corpus.schema import decode

    metadata = decode(corpus.open(added[0]).schema_arrow.metadata)
    assert metadata["more"] == {
        "number": 1, "kind": "extend", "base": base["config_hash"], "plan": {"entries": 23, "units": 3, "begin": 0},
    }  # fmt: skip
    assert metadata["config_hash"] != base["config_hash"] and metadata["recipe"]["conformers"] == 2
    assert metadata["level_of_theory"] == base["level_of_theory"]
    assert len((Path(place) / "SHA256SUMS").read_text().splitlines()) == 24
    assert sum(batch.num_rows for batch in corpus.batches()) == len(corpus)


def test_the_corpus_itself_stands_in_for_lost_sources(
    make: Make, stages: Stages, lines: RunProgress, sources: dict[str, str]
) -> None:
    whole = generate(make("ab", out="whole"), lines, stages)
    first = generate(make("a"), lines, stages)
    Path(sources["a"]).unlink()
    with pytest.raises(UsageError, match="more conformers of them need them"):
        generate(make("b", extend=True, conformers=2), lines, stages)
    added = generate(make("b", extend=True), lines, stages)
    assert added.directory == first.directory
    assert rows(added.directory) == rows(whole.directory) and counts(added.directory) == counts(whole.directory)
    assert generate(make("b", extend=True), lines, stages).run_units == 0


def test_isotopes_in_an_older_corpus_stand_for_their_molecule(
    make: Make, stages: Stages, lines: RunProgress, sources: dict[str, str]
) -> None:
    """Rows written before labels were left out; the reader of these stand-ins keeps a SMILES as it is."""
    Path(sources["a"]).write_text("C_0\n[13CH3]O\nCC_1\n[2H]/C=C/C\n")
    Path(sources["b"]).write_text("CO\nC_5\nC=CC\n")
    generate(make("a"), lines, stages)
    Path(sources["a"]).unlink()
    added = generate(make("b", extend=True), lines, stages)
    found = {row["smile"] for of in rows(added.directory).values() for row in of}
    assert found == {"C_0", "[13CH3]O", "CC_1", "[2H]/C=C/C", "C_5"}
    assert counts(added.directory)["merged"] == 2


def test_stopped_and_continued_is_the_same_bytes(make: Make, stages: Stages, lines: RunProgress) -> None:
    straight = make("ab", out="straight", extend=True, conformers=3)
    generate(make("a", out="straight"), lines, stages)
    generate(straight, lines, stages)
    generate(make("a"), lines, stages)
    slow = stages.replace(label=pipeline_fakes.label_slowly)
    stopped = make("ab", extend=True, conformers=3)
    with pytest.raises(Interrupted):
        generate(stopped.model_copy(update={"time_limit": 2.5}), lines, slow)
    manifest = json.loads((stopped.out / "manifest.json").read_text())
    assert not manifest["complete"] and manifest["more"][0]["number"] == 1
    assert tomllib.loads((stopped.out / "config.toml").read_text())["conformers"] == 1
    # another addition has to wait; the corpus as it was is done
    with pytest.raises(UsageError, match="is not finished"):
        generate(make("a", extend=True, conformers=9), lines, stages)
    assert generate(make("a"), lines, stages).run_units == 0
    (stopped.out / "manifest.json").unlink()
    (stopped.out / "generations/more-1.json").unlink()  # the files say the same
    generate(stopped, lines, stages)
    assert contents(stopped.out) == contents(straight.out)


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_share_an_addition(make: Make, stages: Stages, lines: RunProgress, world: int) -> None:
    alone = make("ab", out="alone", extend=True, conformers=2)
    generate(make("a", out="alone"), lines, stages)
    generate(alone, lines, stages)
    generate(make("a"), lines, stages)
    for rank in range(world):
        settings = make("ab", extend=True, conformers=2, rank=rank, world_size=world)
        assert generate(settings, lines, stages).complete == (rank == world - 1)
    assert contents(settings.out) == contents(alone.out)


@pytest.mark.parametrize(
    ("names", "settings", "said"),
    [
        ("a", {"xc": "pbe"}, "changes nothing else .*xc: b3lyp5 -> pbe"),
        ("ab", {"seed": 7}, "seed: 0 -> 7"),
        ("b", {"conformers": 1}, "conformers: 2 -> 1"),
        ("a", {"limit": 3}, "leave out --limit"),
        ("a", {"overwrite": True}, "give one of them"),
    ],
)
def test_other_changes_are_refused(
    make: Make, stages: Stages, lines: RunProgress, names: str, settings: dict, said: str
) -> None:
    place = generate(make("a", conformers=2), lines, stages).directory
    before = contents(place)
    with pytest.raises((UsageError, ValueError), match=said):
        generate(make(names, **{"conformers": 2, "extend": True, **settings}), lines, stages)
    assert contents(place) == before and not (Path(place) / "generations").exists()


@pytest.mark.parametrize(
    "kept", [{"prune_rms": 0.5}, {"energy_window": 3.0}, {"stereo": "enumerate"}, {"embed": "qm1b", "seed": 43}]
)
def test_conformers_that_depend_on_their_number_are_refused(
    make: Make, stages: Stages, lines: RunProgress, kept: dict
) -> None:
    generate(make("a", conformers=2, **kept), lines, stages)
    with pytest.raises(UsageError, match="cannot get more conformers"):
        generate(make("a", conformers=3, extend=True, **kept), lines, stages)
    whole = generate(make("ab", conformers=2, out="whole", **kept), lines, stages)
    added = generate(make("ab", conformers=2, extend=True, **kept), lines, stages)  # molecules are no matter
    assert rows(added.directory) == rows(whole.directory) and counts(added.directory) == counts(whole.directory)


def test_only_a_finished_corpus_is_extended(make: Make, stages: Stages, lines: RunProgress) -> None:
    with pytest.raises(UsageError, match="holds no finished corpus"):
        generate(make("a", extend=True), lines, stages)
    assert not make("a").out.exists()
    generate(make("a", limit=4), lines, stages)
    with pytest.raises(UsageError, match="only the first 4 of 17 molecules"):
        generate(make("ab", extend=True), lines, stages)
    generate(make("a"), lines, stages)
    os.remove(next(make("a").out.glob("failures/part-00001*")))
    with pytest.raises(UsageError, match=r"is not finished: qmgen generate .*config.toml .*goes on"):
        generate(make("ab", extend=True), lines, stages)
    generate(make("a"), lines, stages)
    assert generate(make("ab", extend=True), lines, stages).complete


def test_plain_refusal_names_the_word(make: Make, stages: Stages, lines: RunProgress) -> None:
    generate(make("a", conformers=2), lines, stages)
    for settings in (make("ab", conformers=2), make("b", conformers=2), make("a", conformers=3)):
        with pytest.raises(UsageError, match=r"holds another corpus .*--extend to add to it, or --overwrite"):
            generate(settings, lines, stages)
    with pytest.raises(UsageError) as refused:
        generate(make("a", conformers=1), lines, stages)
    assert "--extend" not in str(refused.value)


def test_given_geometries_are_not_made_more(config: Config, stages: Stages, lines: RunProgress, tmp_path: Path) -> None:
    given = ["given_9_1", "given_9_0", "C_1", "given_9_1", "given_7_1"]
    whole = generate(config(given, conformers=2, units=2, out=tmp_path / "whole"), lines, stages)
    generate(config(given, units=2), lines, stages)
    added = generate(config(given, conformers=2, units=2, extend=True), lines, stages)
    assert rows(added.directory) == rows(whole.directory) and counts(added.directory) == counts(whole.directory)


def test_damage_in_an_addition_is_mended(make: Make, stages: Stages, lines: RunProgress) -> None:
    generate(make("a"), lines, stages)
    settings = make("ab", extend=True, conformers=2)
    generate(settings, lines, stages)
    before = contents(settings.out)
    victim = next(settings.out.glob("data/train-00001-of-00003.more-1.parquet"))
    data = bytearray(victim.read_bytes())
    data[60] ^= 1
    victim.write_bytes(data)
    assert generate(settings, lines, stages).repaired == 1
    assert contents(settings.out) == before


def test_overwrite_removes_all_of_it(make: Make, stages: Stages, lines: RunProgress) -> None:
    generate(make("a"), lines, stages)
    generate(make("ab", extend=True), lines, stages)
    new = generate(make("a", overwrite=True), lines, stages)
    assert not list(Path(new.directory).glob("*/*more-*")) and "more" not in json.loads(
        (Path(new.directory) / "manifest.json").read_text()
    )


def test_a_failing_worker_leaves_the_addition_to_be_continued(
    make: Make, stages: Stages, lines: RunProgress, sources: dict[str, str]
) -> None:
    generate(make("a"), lines, stages)
    broken = stages.replace(label=pipeline_fakes.label_that_fails)
    with pytest.raises((QmgenError, RuntimeError)):
        generate(make("ab", extend=True), lines, broken)
    assert generate(make("ab", extend=True), lines, stages).complete


@pytest.mark.parametrize("relax", ["none", "mmff"])
def test_real_conformers_do_not_depend_on_how_many_there_are(relax: str) -> None:
    """What makes extending by conformers right at all; a chain, whose force field sees far apart atoms come near."""
    from qmgen.molecules.embedding import Procedure, make_conformers

    procedure = Procedure(relax=relax)  # type: ignore[arg-type]
    for smiles in ("CCO", "CCCCCCCC(C)O", "C"):
        (many,) = make_conformers(smiles, 5, 0, procedure)
        for count in (1, 2, 3):
            (few,) = make_conformers(smiles, count, 0, procedure)
            for one, other in zip(few.positions, many.positions, strict=False):
                assert one is not None and other is not None and (one == other).all()


@pytest.mark.slow
def test_real_molecules_give_the_very_rows_of_one_run(make: Make, tmp_path: Path, lines: RunProgress) -> None:
    """Water, methane and ethane, labelled: bit by bit, since a row knows nothing of its neighbours in a batch."""
    (tmp_path / "a.smi").write_text("O water\nC methane\nnot_smiles\n")
    (tmp_path / "b.smi").write_text("C again\nCC ethane\n")
    level = {"grid_level": 0, "units": 1}
    whole = generate(make("ab", out="whole", conformers=3, **level), lines)
    generate(make("a", **level), lines)
    added = generate(make("ab", extend=True, conformers=3, **level), lines)
    assert whole.rows == 9 and added.merged == 1 and added.run_rows == 7
    assert rows(added.directory) == rows(whole.directory) and counts(added.directory) == counts(whole.directory)
