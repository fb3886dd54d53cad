"""Which rank a process is, from the variables that Slurm 22.05 was seen to set and those that Kubernetes documents."""

from __future__ import annotations

import pytest

from qmgen.errors import UsageError
from qmgen.pipeline.ranks import Rank, rank_of

#: what a batch script of ``--ntasks=4`` finds: it looks like a process of four, and is alone
BATCH = {
    "SLURM_JOB_ID": "12",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
    "SLURM_NTASKS": "4",
    "SLURM_NPROCS": "4",
    "SLURM_TASKS_PER_NODE": "4",
}


def array(index: int, first: int, last: int, step: int = 1, count: int | None = None) -> dict[str, str]:
    found = {
        "SLURM_ARRAY_JOB_ID": "12",
        "SLURM_ARRAY_TASK_ID": str(index),
        "SLURM_ARRAY_TASK_MIN": str(first),
        "SLURM_ARRAY_TASK_MAX": str(last),
        "SLURM_ARRAY_TASK_STEP": str(step),
    }
    return found if count is None else found | {"SLURM_ARRAY_TASK_COUNT": str(count)}


def step(process: int, count: int) -> dict[str, str]:
    """What a process that srun started finds."""
    return BATCH | {
        "SLURM_PROCID": str(process),
        "SLURM_NTASKS": str(count),
        "SLURM_STEP_ID": "0",
        "SLURM_STEPID": "0",
        "SLURM_STEP_NUM_TASKS": str(count),
    }


@pytest.mark.parametrize(
    ("given", "environment", "expected"),
    [
        ((None, None), {}, Rank(0, 1)),
        ((None, 1), {}, Rank(0, 1)),
        ((2, 5), {}, Rank(2, 5)),
        ((2, 5), array(1, 0, 3, count=4), Rank(2, 5)),
        ((2, 5), {"JOB_COMPLETION_INDEX": "9"}, Rank(2, 5)),
        ((2, 5), array(2, 2, 7, count=2), Rank(2, 5)),
        ((None, None), array(1, 0, 3, count=4), Rank(1, 4)),
        ((None, 4), array(1, 0, 3, count=4), Rank(1, 4)),
        ((None, None), array(3, 1, 4, count=4), Rank(2, 4)),
        ((None, None), array(13, 3, 18, step=5, count=4), Rank(2, 4)),
        ((None, None), array(5, 5, 5, count=1), Rank(0, 1)),
        ((None, None), array(2, 0, 3), Rank(2, 4)),
        ((None, None), BATCH, Rank(0, 1)),
        ((None, None), BATCH | array(2, 0, 3, count=4), Rank(2, 4)),
        ((None, None), step(3, 4), Rank(3, 4)),
        ((None, None), step(0, 1), Rank(0, 1)),
        ((None, None), step(1, 2) | array(3, 0, 3, count=4), Rank(7, 8)),
        ((None, None), step(0, 4) | {"SLURM_STEP_ID": "4294967290"}, Rank(0, 1)),
        ((None, None), step(1, 4) | {"JOB_COMPLETION_INDEX": "0"}, Rank(1, 4)),
        ((None, 6), {"JOB_COMPLETION_INDEX": "5"}, Rank(5, 6)),
        ((None, None), {"SLURM_ARRAY_TASK_ID": "", "JOB_COMPLETION_INDEX": ""}, Rank(0, 1)),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else str(value),
)
def test_rank(given: tuple[int | None, int | None], environment: dict[str, str], expected: Rank) -> None:
    assert rank_of(*given, environment) == expected


@pytest.mark.parametrize(
    ("given", "environment", "message"),
    [
        ((1, None), {}, "--world-size"),
        ((1, None), array(1, 0, 3, count=4), "--world-size"),
        ((4, 4), {}, "from 0 to 3"),
        ((-1, 4), {}, "from 0 to 3"),
        ((0, 0), {}, "below 1"),
        ((None, 0), {}, "below 1"),
        ((None, 4), {}, "--rank"),
        ((None, 4), BATCH, "--rank"),
        ((None, 8), array(1, 0, 3, count=4), "--rank"),
        ((None, None), array(2, 2, 7, count=2), "gaps"),
        ((None, None), array(2, 0, 7, step=3, count=3), "gaps"),
        ((None, None), array(3, 0, 6, step=2), "gaps"),
        ((None, None), {"SLURM_ARRAY_TASK_ID": "3"}, "bounds"),
        ((None, None), {"SLURM_ARRAY_TASK_ID": "three"}, "SLURM_ARRAY_TASK_ID"),
        ((None, None), step(4, 4), "SLURM_PROCID"),
        ((None, None), {"JOB_COMPLETION_INDEX": "3"}, "QMGEN_WORLD_SIZE"),
        ((None, 3), {"JOB_COMPLETION_INDEX": "3"}, "from 0 to 2"),
    ],
)
def test_half_an_answer_or_a_wrong_one_is_refused_in_one_line(
    given: tuple[int | None, int | None], environment: dict[str, str], message: str
) -> None:
    with pytest.raises(UsageError) as refused:
        rank_of(*given, environment)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_arrays_and_steps_together_give_each_rank_once() -> None:
    found = [rank_of(None, None, step(p, 3) | array(i, 2, 8, 2, 4)) for i in (2, 4, 6, 8) for p in range(3)]
    assert sorted(r.rank for r in found) == list(range(12))
    assert {r.world_size for r in found} == {12}
