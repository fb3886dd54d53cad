"""A run over a sample, a share or the first of an enumeration: listed in the corpus, then read like a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from qmgen.config import GenerateConfig
from qmgen.corpus import open_corpus
from qmgen.pipeline.estimate import estimate
from qmgen.pipeline.run import generate
from qmgen.pipeline.stages import Stages
from qmgen.progress import RunProgress

#: GDB-11's molecules of two heavy atoms
TWO = 9


def config(out: Path, **settings: object) -> GenerateConfig:
    return GenerateConfig(**{"enumerate": "2", "out": out, "workers": 1, **settings})


@pytest.mark.parametrize("some", [{"limit": 5}, {"sample": 5}, {"sample_parts": "1/1"}])
def test_what_was_listed_is_labelled(
    tmp_path: Path, stages: Stages, lines: RunProgress, some: dict[str, object]
) -> None:
    settings = config(tmp_path / "corpus", **some)
    number = TWO if "sample_parts" in some else 5
    assert generate(settings, lines, stages).molecules == number
    listed = (settings.out / "source" / "enumerated.smi").read_text().split()
    wanted = set(listed[:number])
    assert set(open_corpus(settings.out).table()["smile"].to_pylist()) == wanted and len(wanted) == number
    again = generate(settings, lines, stages)
    assert again.run_rows == 0 and again.rows == number


def test_a_sample_is_of_the_asked_size_and_the_seeds(tmp_path: Path, stages: Stages, lines: RunProgress) -> None:
    drawn = []
    for seed in (0, 0, 1):
        settings = config(tmp_path / str(len(drawn)), sample=4, seed=seed)
        generate(settings, lines, stages)
        drawn.append(open_corpus(settings.out).table()["smile"].to_pylist())
    assert len(drawn[0]) == 4 and drawn[0] == drawn[1] and sorted(drawn[0]) != sorted(drawn[2])


def test_a_dry_run_writes_nothing(tmp_path: Path, stages: Stages) -> None:
    settings = config(tmp_path / "corpus", sample=TWO)
    assert estimate(settings, stages).molecules == TWO
    assert not settings.out.exists()
