"""Submitting to Slurm: an array job for the ranks (several, if one cannot have as many tasks), then a job that merges.

A rank ends in one of three ways. If the run ends by itself (exit code 0, 1, 2, 3), the job ends. If Slurm warns before
the time limit (USR1) or asks the job to leave (TERM), the script passes the signal on, the run stops with exit code 75,
and the script queues the job again. If Slurm preempts the job, Slurm queues it again itself, whether or not the run had
time to stop.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePath
from typing import Final

from qmgen import files
from qmgen.cluster.job import RESUMABLE, ClusterJob
from qmgen.config.corpus import SubmitConfig
from qmgen.errors import QmgenError, UsageError

#: Slurm's own MaxArraySize where slurm.conf sets none: the largest number of a task is one less
USUAL_ARRAY: Final = 1001
#: seconds that a controller has to answer
_PATIENCE: Final = 30


@dataclass(frozen=True)
class SlurmLimits:
    """``array``: most tasks of an array job; ``jobs``: the jobs that the controller holds, tasks counted one by one
    (None where it does not say)."""

    array: int = USUAL_ARRAY
    jobs: int | None = None


def limits() -> SlurmLimits:
    """The limits of this machine's Slurm, from ``scontrol show config``; the usual ones where there is no answer."""

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
        return SlurmLimits()
    if done.returncode:
        return SlurmLimits()
    numbers = re.findall(r"^\s*(MaxArraySize|MaxJobCount)\s*=\s*(\d{1,9})\s*$", done.stdout, re.MULTILINE)
    found = {name: int(number) for name, number in numbers}
    array = found.get("MaxArraySize", USUAL_ARRAY)
    # SchedulerParameters may allow fewer tasks than the numbers of tasks allow
    if tasks := re.search(r"^\s*SchedulerParameters\s*=.*\bmax_array_tasks=(\d{1,9})\b", done.stdout, re.MULTILINE):
        array = min(array, int(tasks[1]) or array)
    return SlurmLimits(array, found.get("MaxJobCount"))


def arrays_of(job: ClusterJob, there: SlurmLimits) -> list[range]:
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


_ARRAY: Final = r"""#!/bin/bash
{options}
# Written by qmgen submit: ranks {first} to {last} of {ranks}. Submitting it again continues the run.

this_rank=$(({first} + SLURM_ARRAY_TASK_ID))
max_requeues={max_requeues}
restarts=${{SLURM_RESTART_COUNT:-0}}
task=${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID # SLURM_JOB_ID would be the whole array in its last task
child='' told='' interrupted='' deadline=''

say() {{ echo "qmgen: $(date '+%F %T') task $task: $*"; }}

# Queues this job again, but only while it runs: one that Slurm preempts is in the queue already, and one that was
# cancelled shall not come back.
requeue() {{
    for attempt in 1 2 3 4 5; do
        state=$(scontrol show job -o "$task" | sed -n 's/.*JobState=\([A-Z_]*\).*/\1/p')
        case $state in
        RUNNING)
            if [ "$restarts" -ge "$max_requeues" ]; then
                say "stopped after $restarts restarts, as many as --max-requeues allows: submit again to continue"
                return 1
            fi
            say 'stopped, to be continued: requeue'
            scontrol requeue "$task" && return 0
            ;;
        ?*) return 0 ;;
        esac
        sleep {retry}
    done
    say 'could not be requeued: submit again to continue'
    return 1
}}

pass_on() {{
    told=$1 interrupted=1
    [ -z "$child" ] || kill -s "$1" "$child" 2>/dev/null
}}

# A batch in hand may outlast the warning, and a job that reaches its time limit is over for Slurm: give it back before.
warned() {{
    pass_on USR1
    [ -z "$deadline" ] || return
    (
        nap='' over='' # the run may end, and TERM come, before there is a nap to end
        trap 'over=1; [ -z "$nap" ] || kill "$nap"' TERM
        sleep {patience} >/dev/null &
        nap=$!
        [ -z "$over" ] || kill "$nap"
        wait "$nap" && [ -z "$over" ] && requeue
    ) &
    deadline=$!
}}
trap warned USR1
trap 'pass_on TERM' TERM
{setup}
code={resumable}
if [ -z "$told" ]; then
    say "rank $this_rank of {ranks} on $(hostname), restart $restarts"
    {command} &
    child=$!
    [ -z "$told" ] || kill -s "$told" "$child" 2>/dev/null
    while :; do # a trap ends the wait before the child has ended
        interrupted=''
        code=0
        wait "$child" || code=$?
        [ -n "$interrupted" ] || break
    done
    case $code in
    138 | 143) code={resumable} ;; # USR1 or TERM came before the run could listen
    esac
fi
[ -z "$deadline" ] || kill "$deadline" 2>/dev/null
[ "$code" -ne {resumable} ] || requeue || :
exit "$code"
"""

_MERGE: Final = """#!/bin/bash
{options}
# Written by qmgen submit: one corpus of what {ranks} ranks wrote.
{setup}
exec {command}
"""


def array_script(job: ClusterJob, settings: SubmitConfig, ranks: range | None = None, retry: int = 5) -> str:
    """The script of the array job of ``ranks`` (by default all), whose tasks are numbered from 0. Where scontrol does
    not answer it is asked again after ``retry`` seconds."""
    ranks = range(job.ranks) if ranks is None else ranks
    options = [
        f"--job-name={job.name}",
        f"--array=0-{len(ranks) - 1}",
        f"--output={_pattern(job.logs)}/slurm-%A_%a.log",
        "--open-mode=append",
        "--requeue",
        f"--signal=B:USR1@{settings.grace}",
        "--nodes=1",
        "--ntasks=1",
        *_options(settings, ("time", "partition", "account", "qos", "constraint")),
    ]
    if settings.cpus is not None:
        options.append(f"--cpus-per-task={settings.cpus}")
    if settings.memory is not None:
        options.append(f"--mem={settings.memory}")
    if settings.gpus is not None:
        options.append(f"--gres=gpu:{settings.gpus}")
    return _ARRAY.format(
        options=_lines([*options, f"--chdir={job.directory}", *settings.sbatch]),
        ranks=job.ranks,
        first=ranks[0],
        last=ranks[-1],
        max_requeues=settings.max_requeues,
        retry=retry,
        patience=max(1, settings.grace * 3 // 4),
        setup="".join(f"\n{line}" for line in settings.setup),
        command=job.rank_line("this_rank"),
        resumable=RESUMABLE,
    )


def merge_script(job: ClusterJob, settings: SubmitConfig) -> str:
    """The script of the job that merges; what it waits for is said when it is submitted."""
    options = [
        f"--job-name={job.name}-merge",
        f"--output={_pattern(job.logs)}/slurm-%j-merge.log",
        "--nodes=1",
        "--ntasks=1",
        f"--time={settings.merge_time}",
        *_options(settings, ("partition", "account", "qos")),
        f"--chdir={job.directory}",
    ]
    return _MERGE.format(
        options=_lines(options),
        ranks=job.ranks,
        setup="".join(f"\n{line}" for line in settings.setup),
        command=shlex.join(job.merge_command()),
    )


def _options(settings: SubmitConfig, names: tuple[str, ...]) -> list[str]:
    return [f"--{name}={getattr(settings, name)}" for name in names if getattr(settings, name) is not None]


def _lines(options: list[str]) -> str:
    return "\n".join(f"#SBATCH {shlex.quote(option)}" for option in options)


def _pattern(folder: object) -> str:
    """A folder's name within a pattern of Slurm's, where % begins a variable."""
    return str(folder).replace("%", "%%")


#: variables that go before the script's own options, and places in another job that qmgen may be called from
_NOT_INHERITED: Final = ("SBATCH_ARRAY_INX", "SBATCH_SIGNAL", "SBATCH_REQUEUE", "SBATCH_NO_REQUEUE", "SBATCH_OPEN_MODE")
_OF_ANOTHER_JOB: Final = ("SLURM_ARRAY_", "SLURM_STEP", "SLURM_PROCID", "SLURM_NTASKS", "SLURM_NPROCS")


@dataclass(frozen=True)
class Submitted:
    """Job numbers of the arrays and of the merge, and the folder of their scripts and logs."""

    arrays: tuple[str, ...]
    merge: str
    logs: Path


def submit(job: ClusterJob, settings: SubmitConfig) -> Submitted:
    """Submit ``job``. Arrays that were taken before one was refused are cancelled.

    Raises ``UsageError`` where there is no Slurm or it cannot hold as many ranks, ``QmgenError`` with sbatch's words of
    refusal.
    """
    if shutil.which("sbatch") is None:
        raise UsageError("no sbatch on this machine: submit where Slurm is, or see the script with --dry-run")
    texts = list(array_scripts(job, settings))
    logs = job.make_logs()
    scripts = [_written(job, name, text) for name, text in texts]
    arrays: list[str] = []
    for script in scripts:
        try:
            arrays.append(_sbatch(script, "the array job"))
        except QmgenError as error:
            raise (_cancelled(arrays, len(scripts), error) if arrays else error) from error
    try:
        merge = _sbatch(
            _written(job, f"{job.name}-merge.sh", merge_script(job, settings)),
            "the job that merges",
            # also after ranks that failed, or left more failures than allowed: it verifies, and says what is missing
            f"--dependency=afterany:{':'.join(arrays)}",
        )
    except QmgenError as error:
        ours = f"array runs as job {arrays[0]}" if len(arrays) == 1 else f"arrays run as jobs {', '.join(arrays)}"
        raise QmgenError(f"{error}; the {ours}: call qmgen merge {job.out} after that") from error
    return Submitted(tuple(arrays), merge, logs)


def array_scripts(job: ClusterJob, settings: SubmitConfig) -> Iterator[tuple[str, str]]:
    """Name and text of the script of each array job. Raises ``UsageError`` as ``arrays_of``."""
    for number, ranks in enumerate(arrays_of(job, limits()), 1):
        yield f"{job.name}{f'-{number}' if number > 1 else ''}.sh", array_script(job, settings, ranks)


def _cancelled(arrays: list[str], wanted: int, error: QmgenError) -> QmgenError:
    """The refusal of an array when others run already: half of the ranks would be of no use."""
    try:
        cancelled = subprocess.run(["scancel", *arrays], capture_output=True, check=False).returncode == 0
    except OSError:  # it is not there, or cannot be started
        cancelled = False
    jobs = f"the {len(arrays)} of {wanted} array jobs before it ({', '.join(arrays)})"
    if not cancelled:
        return QmgenError(f"{error}; {jobs} could not be cancelled: call scancel {' '.join(arrays)}")
    return QmgenError(f"{error}; {jobs} were cancelled: ask for fewer --ranks")


def _written(job: ClusterJob, name: str, text: str) -> Path:
    path = job.logs / name
    try:
        files.write(job.top, str(PurePath(job.folder, name)), text.encode())
    except files.Linked:
        raise
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error
    return path


def _sbatch(script: Path, what: str, *options: str) -> str:
    """The number that Slurm gave the job."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in _NOT_INHERITED and not name.startswith(_OF_ANOTHER_JOB)
    }
    done = subprocess.run(
        ["sbatch", "--parsable", *options, str(script)], env=kept, capture_output=True, text=True, check=False
    )
    if done.returncode:
        words = [line.removeprefix("sbatch: ").removeprefix("error: ") for line in done.stderr.splitlines()]
        raise QmgenError(f"sbatch refused {what}: {'; '.join(w for w in words if w) or 'it does not say why'}")
    return done.stdout.strip().splitlines()[-1].partition(";")[0]
