"""Where the workers of a run sit: one per core, each pinned to it with one thread, or one or more per GPU.

>>> layout(workers=None, devices="all", units=100)       # on a machine with two GPUs
(WorkerPlace(core=-1, environment={'CUDA_VISIBLE_DEVICES': 'GPU-5a…'}), WorkerPlace(core=-1, environment=…))

GPUs and their names are found without importing jax. Two runs on one machine do not share some cores and leave others
idle (``CoreLocks``).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import stat
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import distributions
from pathlib import Path
from typing import Final

from qmgen.errors import UsageError
from qmgen.machine import granted_cpus, usable_cores

#: stands for no core in particular: such a process is not pinned
ANY_CORE: Final = -1
#: of a GPU's memory, all processes on it together; what is left is for CUDA itself
_SHARE: Final = 0.9
_FRACTION: Final = "XLA_PYTHON_CLIENT_MEM_FRACTION"


@dataclass(frozen=True)
class WorkerPlace:
    """One worker's: its core (``ANY_CORE``: none in particular), the variables that its environment has beside those
    of this process, and whether it has ``one_thread`` (else any number)."""

    core: int = ANY_CORE
    environment: Mapping[str, str] = field(default_factory=dict)
    one_thread: bool = False


def pinned(places: Sequence[WorkerPlace], claims: CoreLocks) -> list[WorkerPlace]:
    """``places``, those with one thread on cores that no other run has claimed, as far as there are such cores."""
    cores = iter(claims.take(usable_cores(), sum(place.one_thread for place in places)))
    return [replace(place, core=next(cores)) if place.one_thread else place for place in places]


def layout(
    workers: int | None, devices: str | None, units: int, found: tuple[Mapping[str, str], Hardware] | None = None
) -> tuple[WorkerPlace, ...]:
    """Places for at most ``units`` workers.

    ``devices`` ``all``, or the places of some in the list of visible GPUs (``0,2``), or their names: ``workers``
    processes on each of these GPUs (1 if None), every process with one GPU. ``cpu``: ``workers`` on the CPU (one per
    core's worth of time that is granted if None), whatever else there is. None: one process in all where jax chooses an
    accelerator, else the CPU. ``found`` is the environment and the hardware instead of this process's.

    Raises ``UsageError`` for devices that are not there.
    """
    if devices is None:
        if on_accelerator():
            return _on_gpus("", (), workers or 1, units, os.environ)
        return _on_cores(workers, units, {})
    if devices == "cpu":
        return _on_cores(workers, units, {"JAX_PLATFORMS": "cpu"})
    environment, there = found or (os.environ, hardware())
    variable, names = visible(environment, there)
    chosen = _chosen(devices, variable, names)
    platforms = environment.get("JAX_PLATFORMS", "")
    if platforms.split(",")[0] == "cpu":
        raise UsageError(f"--devices {devices}: JAX_PLATFORMS={platforms} keeps jax from GPUs; unset it")
    if not (found or has_plugin()):
        raise UsageError(
            f"--devices {devices}: this jax knows no GPU; install it with its plugin: pip install jax[cuda]"
        )
    return _on_gpus(variable, chosen, workers or 1, units, environment)


def _on_cores(workers: int | None, units: int, environment: Mapping[str, str]) -> tuple[WorkerPlace, ...]:
    count = min(workers or granted_cpus(), units)
    return (WorkerPlace(ANY_CORE, environment, one_thread=bool(usable_cores())),) * count


def _on_gpus(
    variable: str, names: Sequence[str], each: int, units: int, environment: Mapping[str, str]
) -> tuple[WorkerPlace, ...]:
    """``each`` processes on each of the GPUs of these ``names`` that ``variable`` takes (no names: on what jax takes),
    and one on each before there are two on any."""
    wanted = [name for _ in range(each) for name in names or ("",)][:units]
    most = max(map(wanted.count, wanted), default=1)
    # with jax's default the first process would take three quarters of the memory and leave too little for the second
    split = {_FRACTION: f"{_SHARE / most:.3f}"} if most > 1 and _FRACTION not in environment else {}
    return tuple(WorkerPlace(ANY_CORE, {**split, **({variable: name} if name else {})}) for name in wanted)


def _chosen(devices: str, variable: str, visible_names: tuple[str, ...]) -> tuple[str, ...]:
    """The names that ``--devices`` means. Raises ``UsageError``."""
    if not visible_names:
        raise UsageError(
            f"--devices {devices}: no GPU is visible here (nvidia-smi, /dev and {variable} were asked); "
            "leave --devices out, or say --devices cpu"
        )
    if devices == "all":
        return visible_names
    names: list[str] = []
    for word in (part.strip() for part in devices.split(",")):
        if word in visible_names and not word.isdecimal():
            name = word
        elif word.isdecimal() and int(word) < len(visible_names):
            name = visible_names[int(word)]
        elif word.isdecimal() or word.startswith(("GPU-", "MIG-")):
            count = len(visible_names)
            numbered = (
                "1 GPU is visible here: number 0" if count == 1 else f"{count} GPUs are visible here: 0 to {count - 1}"
            )
            raise UsageError(f"--devices {devices}: there is no {word}; {numbered}")
        else:
            raise UsageError(f"--devices {devices}: say all, cpu, or numbers of GPUs such as 0,2")
        if name in names:
            raise UsageError(f"--devices {devices}: {word} stands twice; --workers 2 puts two processes on each GPU")
        names.append(name)
    return tuple(names)


def directory() -> Path:
    """Where the locks are: the same for a user's runs from a terminal, from cron and from a batch job."""
    return Path("/tmp") / f"qmgen-cores-{os.getuid()}"


class CoreLocks:
    """The cores that this run has locked, until the context is left.

        with CoreLocks() as locks:
            locks.take(cores, 2)       # (0, 1); for another run at the same time (2, 3)

    A lock is an advisory one on a file for each core, in a directory that all runs of the user share. The kernel
    releases it when the process ends, however it ends; the files themselves mean nothing and stay.
    """

    def __init__(self) -> None:
        self._locks: list[int] = []

    def __enter__(self) -> CoreLocks:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def take(self, cores: Sequence[int], count: int) -> tuple[int, ...]:
        """``count`` places: cores of ``cores`` that no run had claimed, then ``ANY_CORE``."""
        folder = _own_folder(directory())
        taken: list[int] = []
        for core in cores if folder is not None else ():
            if len(taken) == count:
                break
            if self._lock(folder / f"{core}.lock"):  # type: ignore[operator]
                taken.append(core)
        return (*taken, *[ANY_CORE] * (count - len(taken)))

    def release(self) -> None:
        """Give all of them back."""
        for lock in self._locks:
            os.close(lock)
        self._locks.clear()

    def _lock(self, path: Path) -> bool:
        with contextlib.suppress(OSError):
            # not inherited by workers: what they leave behind must not hold a core
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(lock)
                return False
            self._locks.append(lock)
            return True
        return False


def _own_folder(folder: Path) -> Path | None:
    """``folder``, made if need be; None where it cannot be had or somebody else put it there."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return None
    return folder if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() else None


CUDA: Final = "CUDA_VISIBLE_DEVICES"
#: AMD's, the outer filter last; numbers in the first count what the second lets through
ROCM: Final = ("HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")
#: seconds; on a machine with a broken driver nvidia-smi never returns
_SMI_LIMIT: Final = 30.0
_PLUGINS: Final = ("jax-cuda", "jax_cuda", "jax-rocm", "jax_rocm", "libtpu")


@dataclass(frozen=True)
class Hardware:
    """What the machine has: of each NVIDIA GPU its names (several where it is cut into MIG instances), and how many
    AMD GPUs there are."""

    nvidia: tuple[tuple[str, ...], ...] = ()
    amd: int = 0


def on_accelerator() -> bool:
    """Whether jax will choose something else than a CPU, judged without importing it."""
    platforms = os.environ.get("JAX_PLATFORMS", "")
    if platforms:
        return platforms.split(",")[0] != "cpu"
    found = has_plugin()
    return found and any(os.path.exists(path) for path in ("/dev/nvidia0", "/dev/kfd", "/dev/accel0", "/dev/vfio/0"))


def has_plugin() -> bool:
    """Whether a jax for accelerators is installed."""
    return any((d.metadata["Name"] or "").lower().startswith(_PLUGINS) for d in distributions())


def hardware() -> Hardware:
    """The GPUs of this machine, by ``nvidia-smi`` or else the device files."""
    found = of_smi(_smi()) or of_files(_names(Path("/dev")))
    return Hardware(found, _amd(Path("/sys/class/kfd/kfd/topology/nodes")))


def visible(environment: Mapping[str, str], there: Hardware) -> tuple[str, tuple[str, ...]]:
    """The variable that limits the GPUs of ``there``, and the names that it may hold and ``environment`` leaves, in the
    order in which jax numbers them.

    A batch system, a container or the user may have narrowed the list by ``CUDA_VISIBLE_DEVICES`` or its AMD
    counterparts; what is not on that list is never used.
    """
    if there.nvidia:
        listed = environment.get(CUDA)
        every = tuple(name for gpu in there.nvidia for name in gpu)
        return CUDA, every if listed is None else _listed(listed, len(there.nvidia))
    inner, outer = ROCM
    for variable in (inner, outer):
        if (listed := environment.get(variable)) is not None:
            filtered = environment.get(outer) if variable == inner else None
            count = there.amd if filtered is None else len(_listed(filtered, there.amd))
            return variable, _listed(listed, count)
    return inner, tuple(map(str, range(there.amd)))


def _listed(text: str, count: int) -> tuple[str, ...]:
    """The devices of a list up to the first that does not exist, where CUDA stops reading; ``count`` is how many
    numbers mean something. Names (``GPU-…``, ``MIG-…``) are taken as they are."""
    names: list[str] = []
    for name in (word.strip() for word in text.split(",")):
        number = name.isdecimal() and int(name) < count
        if not (number or name.startswith(("GPU-", "MIG-"))) or name in names:
            break
        names.append(name)
    return tuple(names)


def of_smi(text: str) -> tuple[tuple[str, ...], ...]:
    """GPUs from the text of ``nvidia-smi -L``: their own names, or those of their MIG instances."""
    gpus: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        found = re.search(r"\(UUID: ([^)]+)\)", line)
        if found and line.startswith("GPU "):
            gpus.append((found[1], []))
        elif found and gpus and line.strip().startswith("MIG "):
            gpus[-1][1].append(found[1])
    return tuple(tuple(instances) or (name,) for name, instances in gpus)


def of_files(names: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """GPUs from the names of device files. Their numbers say nothing: where ``nvidia3`` is alone it is device 0."""
    count = sum(1 for name in names if re.fullmatch(r"nvidia\d+", name))
    return tuple((str(number),) for number in range(count))


def _smi() -> str:
    try:
        done = subprocess.run(
            ["nvidia-smi", "-L"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_SMI_LIMIT
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _amd(nodes: Path) -> int:
    """The driver's nodes that are GPUs which this process may read: a CPU has number 0."""
    found = 0
    for name in _names(nodes):
        try:
            found += (nodes / name / "gpu_id").read_text(encoding="ascii").strip() not in ("", "0")
        except OSError:
            continue
    return found
