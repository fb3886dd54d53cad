"""Failures tried again: what is gained are rows like others, and no failure counts twice or is lost."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pipeline_fakes
import pytest

from qmgen.config import GenerateConfig
from qmgen.config.generate import RetryConfig
from qmgen.corpus import open_corpus
from qmgen.corpus.schema import decode
from qmgen.errors import Interrupted, UsageError
from qmgen.pipeline.retry import harder_settings, retry
from qmgen.pipeline.run import generate
from qmgen.pipeline.stages import Stages
from qmgen.progress import RunProgress

Config = Callable[..., GenerateConfig]

TROUBLED = [
    "C_0 zero",
    "bad x",
    "stiff_1 one",
    "stiffer_2",
    "C_0 again",
    "flat_3",
    "slow_4",
    "big_5",
    *[f"C_{i}" for i in range(9)],
]
BEFORE = {"embedding_failed": 1, "embedding_timeout": 1, "not_converged": 4, "out_of_memory": 2, "unreadable": 1}


def counts(place: Path | str) -> dict[str, Any]:
    manifest = json.loads((Path(place) / "manifest.json").read_text())
    assert manifest["complete"]
    return manifest["counts"]


def rows(place: Path | str) -> list[dict[str, Any]]:
    return sorted(open_corpus(place).table().to_pylist(), key=lambda r: (r["molecule_id"], r["conformer_id"]))


def contents(place: Path | str) -> dict[str, bytes]:
    names = [*Path(place).glob("data/*"), *Path(place).glob("failures/*"), Path(place) / "SHA256SUMS"]
    return {str(path.relative_to(place)): path.read_bytes() for path in names}


def test_what_fails_is_tried_harder_and_harder(
    config: Config, stages: Stages, lines: RunProgress, tmp_path: Path
) -> None:
    settings = config(TROUBLED, conformers=2, units=3)
    first = generate(settings, lines, stages)
    assert first.failures == BEFORE
    before = contents(settings.out)
    asked = RetryConfig(directory=settings.out, workers=1)

    planned = retry(asked, lines, stages, dry_run=True)
    assert planned.tried == {"embedding_timeout": 1, "not_converged": 4, "out_of_memory": 2} and planned.rows == 0
    assert planned.settings == {"max_cycles": 200, "embed_time_limit": 600.0, "guess": "core", "batch_size": 1}
    assert contents(settings.out) == before and not (settings.out / "generations").exists()

    once = retry(asked, lines, stages)
    left = {"embedding_failed": 1, "not_converged": 2, "unreadable": 1}
    assert (once.number, once.tried, once.settings) == (1, planned.tried, planned.settings)
    assert (once.rows, once.failures) == (6, left)
    assert once.summary is not None and once.summary.complete and once.summary.failures == left
    assert counts(settings.out)["failures_by_reason"] == left
    twice = retry(asked, lines, stages)
    left = {"embedding_failed": 1, "unreadable": 1}
    assert (twice.number, twice.rows, twice.failures) == (2, 2, left) and twice.settings["max_cycles"] == 800
    assert counts(settings.out)["failures_by_reason"] == left
    done = retry(asked, lines, stages)
    assert (done.number, done.rows, done.failures) == (None, 0, left) and "nothing to retry" in done.text()

    # as if nothing had ever failed
    easy = config(
        TROUBLED, conformers=2, units=3, max_cycles=800, embed_time_limit=600.0, batch_size=1, out=tmp_path / "easy"
    )
    generate(easy, lines, stages)
    assert rows(settings.out) == rows(easy.out) and counts(settings.out) == counts(easy.out)
    assert open_corpus(settings.out).failures().to_pylist() == open_corpus(easy.out).failures().to_pylist()
    after = contents(settings.out)
    assert all(after[name] == data for name, data in before.items() if name != "SHA256SUMS")

    # its files say how they were made, and the corpus' own command finds it done
    corpus = open_corpus(settings.out)
    gained = decode(corpus.open(next(name for name in corpus.files() if "more-2" in name)).schema_arrow.metadata)
    assert gained["recipe"]["max_cycles"] == 800 and gained["recipe"]["conv_energy"] == 1e-9
    assert gained["more"]["kind"] == "retry" and gained["level_of_theory"] == corpus.level_of_theory
    assert tomllib.loads((settings.out / "config.toml").read_text())["max_cycles"] == 50
    again = generate(settings, lines, stages)
    assert (again.run_units, again.complete, again.failures) == (0, True, left)
    readme = (settings.out / "README.md").read_text()
    assert "2 entries got no label" in readme

    # and it can be extended, with its own settings
    more = generate(config(TROUBLED, conformers=3, units=3, extend=True), lines, stages)
    assert more.complete and more.failures == {**left, "embedding_timeout": 1, "not_converged": 2, "out_of_memory": 1}
    assert counts(settings.out)["molecules"] == counts(easy.out)["molecules"]
    last = retry(asked, lines, stages)
    # slow_4 has two conformers already, and gets the third
    assert last.failures == left and last.rows == 4
    keys = [(r["molecule_id"], r["conformer_id"]) for r in rows(settings.out)]
    assert len(set(keys)) == len(keys) == 3 * counts(easy.out)["molecules"]
    assert counts(settings.out)["molecules"] == counts(easy.out)["molecules"]


def test_stopped_and_continued_is_the_same_bytes(
    config: Config, stages: Stages, lines: RunProgress, tmp_path: Path
) -> None:
    stiff = [f"stiff_{i}" for i in range(24)]
    straight = config(stiff, out=tmp_path / "straight", conformers=2)
    stopped = config(stiff, conformers=2)
    generate(straight, lines, stages)
    generate(stopped, lines, stages)
    retry(RetryConfig(directory=straight.out, workers=1, max_cycles=300), lines, stages)
    slow = stages.replace(label=pipeline_fakes.label_slowly)
    with pytest.raises(Interrupted):
        retry(RetryConfig(directory=stopped.out, workers=1, max_cycles=300, time_limit=2.5), lines, slow)
    assert not json.loads((stopped.out / "manifest.json").read_text())["complete"]
    with pytest.raises(UsageError, match="max_cycles = 300 is not finished"):
        retry(RetryConfig(directory=stopped.out, max_cycles=400), lines, stages)
    with pytest.raises(UsageError, match=r"is not finished: qmgen retry"):
        generate(config(stiff, conformers=3, extend=True), lines, stages)
    found = retry(RetryConfig(directory=stopped.out, workers=1), lines, stages)
    assert (found.number, found.rows, found.failures) == (1, 48, {})
    assert contents(stopped.out) == contents(straight.out)


def test_given_geometries_are_tried_one_by_one(
    config: Config, stages: Stages, lines: RunProgress, tmp_path: Path
) -> None:
    """Two geometries of one molecule: the one that failed is tried again, and the other is left alone."""
    stubborn = stages.replace(label=pipeline_fakes.label_but_one)
    settings = config(["given_9_1", "given_9_0", "given_2_0", "given_9_1"], units=2)
    first = generate(settings, lines, stubborn)
    assert first.failures == {"not_converged": 1, "unreadable": 1}
    found = retry(RetryConfig(directory=settings.out, workers=1), lines, stubborn)
    assert (found.rows, found.failures, found.tried) == (1, {"unreadable": 1}, {"not_converged": 1})
    assert [(r["molecule_id"], r["conformer_id"]) for r in rows(settings.out)] == [(2, 0), (9, 0), (9, 1)]
    assert counts(settings.out)["molecules"] == 2


def test_what_cannot_be_retried_is_refused(config: Config, stages: Stages, lines: RunProgress) -> None:
    settings = config(["stiff_1", "C_0", "C_1"], units=2)
    with pytest.raises(UsageError, match="holds no finished corpus"):
        retry(RetryConfig(directory=settings.out), lines, stages)
    assert not settings.out.exists()
    generate(settings, lines, stages)
    before = contents(settings.out)
    Path(settings.molecules[0]).write_text("stiff_1\nC_0\nC_7\n")
    with pytest.raises(UsageError, match=r"is not what the corpus was made with .*source"):
        retry(RetryConfig(directory=settings.out), lines, stages)
    Path(settings.molecules[0]).unlink()
    with pytest.raises(UsageError, match=r"are no longer in .*source\.smi"):
        retry(RetryConfig(directory=settings.out), lines, stages)
    assert contents(settings.out) == before and not (settings.out / "generations").exists()
    next(settings.out.glob("failures/part-00001*")).unlink()
    with pytest.raises(UsageError, match="is not finished: qmgen generate"):
        retry(RetryConfig(directory=settings.out), lines, stages)


@pytest.mark.parametrize(
    ("reasons", "given", "changed"),
    [
        ({"not_converged"}, {}, {"max_cycles": 200, "guess": "core"}),
        ({"not_converged"}, {"max_cycles": 70, "guess": None}, {"max_cycles": 70, "guess": "core"}),
        ({"embedding_timeout"}, {}, {"embed_time_limit": 600.0}),
        ({"out_of_memory"}, {}, {"batch_size": 1}),
        ({"worker_crashed"}, {"guess": "core"}, {"batch_size": 1, "guess": "core"}),
    ],
)
def test_harder_where_it_helps(reasons: set[str], given: dict, changed: dict) -> None:
    before = {"max_cycles": 50, "embed_time_limit": 60.0, "guess": "atoms", "batch_size": None, "conv_energy": 1e-9}
    settings = {name: value for name, value in before.items() if name != "conv_energy"}
    assert harder_settings(before, reasons, given) == settings | changed
