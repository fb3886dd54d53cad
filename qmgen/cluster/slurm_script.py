"""The text of the Slurm scripts: array jobs that do the ranks, and a job that merges when all are done.

A rank ends in one of three ways. Its own end (exit code 0, 1, 2, 3) is the job's end. Slurm's warning before the time
limit (USR1) or its request to leave (TERM) is passed on; the run stops with 75, and the script has the job queued
again. And Slurm requeues by itself what it preempts, whether or not the run had time to stop.
"""

from __future__ import annotations

import shlex
from typing import Final

from qmgen.cluster.job import RESUMABLE, Job
from qmgen.config.corpus import SubmitConfig

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


def array_script(job: Job, settings: SubmitConfig, ranks: range | None = None, retry: int = 5) -> str:
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


def merge_script(job: Job, settings: SubmitConfig) -> str:
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
