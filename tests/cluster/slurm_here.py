"""A Slurm of our own on this machine: munged, slurmctld and slurmd with their state in a folder and their own ports.

Two partitions share one node of four pretended CPUs: jobs in ``high`` preempt those in ``low``, which are requeued.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

CPUS = 4

CONFIG = """\
ClusterName=qmgen
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# a requeued job waits for as long as its old credential holds: two minutes, if nothing is said
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,bf_interval=1,sched_interval=2,sched_min_interval=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=10
NodeName=node0 NodeHostname={host} NodeAddr=127.0.0.1 Port={node} CPUs={cpus} RealMemory=1000 State=UNKNOWN
PartitionName=low Nodes=node0 Default=YES PriorityTier=1 PreemptMode=REQUEUE State=UP
PartitionName=high Nodes=node0 PriorityTier=10 PreemptMode=OFF State=UP
"""


class Slurm:
    """The daemons, and Slurm's commands against them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cpus = CPUS
        host = socket.gethostname().partition(".")[0]
        ports = _free_ports(2)
        text = CONFIG.format(host=host, controller=ports[0], node=ports[1], folder=folder, cpus=CPUS)
        self.config = folder / "slurm.conf"
        self.config.write_text(text)
        self.environment = {**os.environ, "SLURM_CONF": str(self.config)}
        self.daemons: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start all three, and wait until the node takes jobs."""
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o600)
        places = [f"--{name}={self.folder}/munge.{name.removesuffix('-file')}" for name in ("pid-file", "log-file")]
        self._daemon(
            "munged", "--foreground", "--force", f"--key-file={key}", f"--socket={self.folder}/munge.socket",
            f"--seed-file={self.folder}/munge.seed", "--num-threads=2", *places,
        )  # fmt: skip
        if not within(20, (self.folder / "munge.socket").exists):
            pytest.skip(f"munged does not start here: {self.log('munged')}")
        (self.folder / "state").mkdir()
        (self.folder / "spool").mkdir()
        self._daemon("slurmctld", "-D", "-f", str(self.config))
        self._daemon("slurmd", "-D", "-N", "node0", "-f", str(self.config))
        ready = within(30, lambda: "idle" in self("sinfo", "-h", "-o", "%t", check=False))
        assert ready, f"Slurm did not start\n{self.log('slurmctld')}\n{self.log('slurmd')}"

    def __call__(self, *words: str, check: bool = True) -> str:
        """Standard output of one of Slurm's commands."""
        done = subprocess.run(
            words, env=self.environment, cwd=self.folder, capture_output=True, text=True, timeout=30, check=False
        )
        assert not check or done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
        return done.stdout

    def job(self, name: str) -> dict[str, str]:
        """What ``scontrol show job`` says of a job or a task of an array; nothing where it knows none."""
        return dict(re.findall(r"(\S+?)=(\S*)", self("scontrol", "show", "job", "-o", name, check=False)))

    def within(self, seconds: float, holds: Callable[[], object]) -> bool:
        """Whether ``holds()`` becomes true in time."""
        return within(seconds, holds)

    def log(self, daemon: str) -> str:
        """The end of a daemon's output."""
        path = self.folder / f"{daemon}.out"
        return path.read_text(errors="replace")[-2000:] if path.exists() else ""

    def stop(self) -> None:
        """End the jobs, the daemons, and whatever still knows this Slurm's configuration."""
        with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
            self("scancel", "-u", "root", check=False)
            within(15, lambda: not self("squeue", "-h", check=False))
        for daemon in reversed(self.daemons):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(daemon.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                daemon.wait(timeout=5)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(daemon.pid, signal.SIGKILL)
            daemon.wait()
        mark = f"SLURM_CONF={self.config}".encode()
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if mark in (process / "environ").read_bytes():
                    os.kill(int(process.name), signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _daemon(self, *words: str) -> None:
        with (self.folder / f"{words[0]}.out").open("wb") as stream:
            process = subprocess.Popen(
                words, env=self.environment, cwd=self.folder, stdout=stream, stderr=stream, start_new_session=True
            )
        self.daemons.append(process)


@contextlib.contextmanager
def slurm_here() -> Iterator[Slurm]:
    """A running Slurm; skips the test where there is none to start."""
    for program in ("munged", "slurmctld", "slurmd", "sbatch"):
        if shutil.which(program) is None:
            pytest.skip(f"no {program}: Debian's slurm-wlm and munge are not installed")
    if os.geteuid() != 0:
        pytest.skip("only root can start a Slurm of its own")
    # not the test's own folder: paths of sockets end at 107 characters
    slurm = Slurm(Path(tempfile.mkdtemp(prefix="qmgen-slurm-")))
    try:
        slurm.start()
        yield slurm
    finally:
        slurm.stop()


def within(seconds: float, holds: Callable[[], object]) -> bool:
    """Whether ``holds()`` becomes true in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if holds():
            return True
        time.sleep(0.3)
    return bool(holds())


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
