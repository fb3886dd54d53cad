"""Submitting to Slurm: the array job, or several where one does not hold all ranks, then the job that merges once every
rank has ended."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Final

from qmgen import files
from qmgen.cluster.job import Job
from qmgen.cluster.slurm_limits import arrays_of, limits
from qmgen.cluster.slurm_script import array_script, merge_script
from qmgen.config.corpus import SubmitConfig
from qmgen.errors import QmgenError, UsageError

#: variables that go before the script's own options, and places in another job that qmgen may be called from
_NOT_INHERITED: Final = ("SBATCH_ARRAY_INX", "SBATCH_SIGNAL", "SBATCH_REQUEUE", "SBATCH_NO_REQUEUE", "SBATCH_OPEN_MODE")
_OF_ANOTHER_JOB: Final = ("SLURM_ARRAY_", "SLURM_STEP", "SLURM_PROCID", "SLURM_NTASKS", "SLURM_NPROCS")


@dataclass(frozen=True)
class Submitted:
    """Job numbers of the arrays and of the merge, and the folder of their scripts and logs."""

    arrays: tuple[str, ...]
    merge: str
    logs: Path


def submit(job: Job, settings: SubmitConfig) -> Submitted:
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


def array_scripts(job: Job, settings: SubmitConfig) -> Iterator[tuple[str, str]]:
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


def _written(job: Job, name: str, text: str) -> Path:
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
