"""What Slurm takes at once: an array job has at most so many tasks, and a controller holds at most so many jobs."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from qmgen.cluster.job import Job
from qmgen.errors import UsageError

#: Slurm's own MaxArraySize where slurm.conf sets none: the largest number of a task is one less
USUAL_ARRAY: Final = 1001
#: seconds that a controller has to answer
_PATIENCE: Final = 30


@dataclass(frozen=True)
class Limits:
    """``array``: most tasks of an array job; ``jobs``: the jobs that the controller holds, tasks counted one by one
    (None where it does not say)."""

    array: int = USUAL_ARRAY
    jobs: int | None = None


def limits() -> Limits:
    """Those of this machine's Slurm, from ``scontrol show config``; the usual ones where there is none or it does not
    answer."""
    try:
        done = subprocess.run(
            ["scontrol", "show", "config"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return Limits()
    if done.returncode:
        return Limits()
    numbers = re.findall(r"^\s*(MaxArraySize|MaxJobCount)\s*=\s*(\d{1,9})\s*$", done.stdout, re.MULTILINE)
    found = {name: int(number) for name, number in numbers}
    array = found.get("MaxArraySize", USUAL_ARRAY)
    # SchedulerParameters may allow fewer tasks than the numbers of tasks allow
    if tasks := re.search(r"^\s*SchedulerParameters\s*=.*\bmax_array_tasks=(\d{1,9})\b", done.stdout, re.MULTILINE):
        array = min(array, int(tasks[1]) or array)
    return Limits(array, found.get("MaxJobCount"))


def arrays_of(job: Job, there: Limits) -> list[range]:
    """The ranks of each array job: as few arrays as hold all ranks, of like size.

    Raises ``UsageError`` where Slurm has no array jobs, or does not hold as many jobs.
    """
    if there.array < 1:
        raise UsageError("this Slurm takes no array jobs (MaxArraySize = 0): use --engine parsl --provider slurm")
    # Slurm keeps some room: the job that merges, and the arrays themselves
    if there.jobs is not None and job.ranks >= there.jobs:
        raise UsageError(
            f"--ranks {job.ranks} is more than this Slurm holds, {there.jobs} jobs (MaxJobCount): ask for fewer ranks"
        )
    count = -(-job.ranks // there.array)
    ends = [job.ranks * number // count for number in range(count + 1)]
    return [range(first, end) for first, end in pairwise(ends)]
