"""Submitting to Slurm: the array job, then the job that merges once every rank has ended well."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from qmgen.cluster.job import Job
from qmgen.cluster.slurm_script import array_script, merge_script
from qmgen.config.submit import SubmitConfig
from qmgen.errors import QmgenError, UsageError

#: variables that go before the script's own options, and places in another job that qmgen may be called from
_NOT_INHERITED: Final = ("SBATCH_ARRAY_INX", "SBATCH_SIGNAL", "SBATCH_REQUEUE", "SBATCH_NO_REQUEUE", "SBATCH_OPEN_MODE")
_OF_ANOTHER_JOB: Final = ("SLURM_ARRAY_", "SLURM_STEP", "SLURM_PROCID", "SLURM_NTASKS", "SLURM_NPROCS")


@dataclass(frozen=True)
class Submitted:
    """Job numbers of the array and of the merge, and the folder of their scripts and logs."""

    array: str
    merge: str
    logs: Path


def submit(job: Job, settings: SubmitConfig) -> Submitted:
    """Submit ``job``. Raises ``UsageError`` where there is no Slurm, ``QmgenError`` with sbatch's words of refusal."""
    if shutil.which("sbatch") is None:
        raise UsageError("no sbatch on this machine: submit where Slurm is, or see the script with --dry-run")
    logs = job.make_logs()
    array = _sbatch(_written(logs / f"{job.name}.sh", array_script(job, settings)), "the array job")
    try:
        merge = _sbatch(
            _written(logs / f"{job.name}-merge.sh", merge_script(job, settings)),
            "the job that merges",
            # also after ranks that failed, or left more failures than allowed: it verifies, and says what is missing
            f"--dependency=afterany:{array}",
        )
    except QmgenError as error:
        raise QmgenError(f"{error}; the array runs as job {array}: call qmgen merge {job.out} after it") from error
    return Submitted(array, merge, logs)


def _written(path: Path, text: str) -> Path:
    try:
        path.write_text(text, encoding="utf-8")
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
