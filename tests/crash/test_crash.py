"""The kill test in its short form, with the stand-ins: whatever is killed when, the corpus is the same bytes.

The long form is ``scripts/crash_test``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from killing import PARENT, STAGES, WORKER, Torment, World, contents, environment_of, shots, table

pytestmark = pytest.mark.skipif(not Path("/proc/self/comm").exists(), reason="aims by /proc")

UNITS = 20
PROGRAM = """
import sys
from pathlib import Path
import pipeline_fakes
from qmgen.config import GenerateConfig
from qmgen.pipeline.run import generate
from qmgen.pipeline.stages import Stages
source, out, rank, world_size = sys.argv[1:]
names = ("read", "parse", "merge", "check", "conformers", "prepare", "theory")
stages = Stages(label=pipeline_fakes.label_slowly, **{n: getattr(pipeline_fakes, n) for n in names})
which = {"rank": int(rank), "world_size": int(world_size)}
generate(GenerateConfig(molecules=[source], out=Path(out), units=20, workers=2, **which), stages=stages, quiet=True)
"""
#: aimed kills: every stage once, and those in which a shard is written more often
AIMED = {(role, stage): 1 for role, stages in STAGES.items() for stage in stages} | {
    (WORKER, "write"): 3,
    (WORKER, "commit"): 3,
}
FEW = {(WORKER, "write"): 1, (WORKER, "commit"): 1, (PARENT, "run"): 1}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("crash") / "source.smi"
    path.write_text("".join(f"C_{i} mol{i}\n" for i in range(3 * UNITS - 3)) + "bad x\nflat_1\ndiverge_1\n")
    return path


@pytest.fixture(scope="module")
def torment(source: Path) -> Torment:
    """Against a corpus that nobody has disturbed."""
    here = str(Path(__file__).parents[1] / "pipeline")
    environment = environment_of({"PYTHONPATH": os.pathsep.join([here, *filter(None, sys.path)])})

    def command(corpus: Path, rank: int, world_size: int) -> list[str]:
        return [sys.executable, "-c", PROGRAM, str(source), str(corpus), str(rank), str(world_size)]

    undisturbed = source.parent / "undisturbed"
    subprocess.run(command(undisturbed, 0, 1), env=environment, check=True)
    known = contents(undisturbed)
    assert len(known) == 4 * UNITS + 1
    return Torment(command, environment, known, seconds=600.0)


def test_killed_in_every_stage(torment: Torment, tmp_path: Path) -> None:
    result = torment.run("alone", tmp_path, shots(AIMED, 5, seed=1))
    assert result.differences == [], table([result])
    assert result.missed == 0 and min(result.by_stage.values()) >= 1, table([result])
    assert len(result.kills) == sum(AIMED.values()) + 5 and result.writing >= 6


@pytest.mark.parametrize(
    "worlds",
    [(((0, 2), (1, 2)), ((0, 1), (1, 2))), (((0, 1),), ((0, 3), (1, 3), (2, 3)), ((0, 2), (1, 2)), ((0, 1),))],
    ids=["ranks that race", "world sizes that change"],
)
def test_killed_with_several_ranks(torment: Torment, source: Path, tmp_path: Path, worlds: tuple[World, ...]) -> None:
    several = Torment(torment.command, torment.environment, torment.undisturbed, worlds, seconds=600.0, seed=2)
    result = several.run("ranks", tmp_path, shots(FEW, 3, seed=2))
    assert result.differences == [], table([result])
    assert result.missed == 0 and len(result.kills) == 6, table([result])
