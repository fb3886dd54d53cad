"""Facts about the machine and the installation, gathered without importing anything heavy.

Each is asked anew, never at import: a process may change its affinity, and a container its limits.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import math
import os
import platform
import resource
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from qmgen.errors import Interrupted, QmgenError

#: bytes of address space without which a worker never labels, and of memory without which not even the parent loads
LEAST_ADDRESS_SPACE: Final = 1_000_000_000
LEAST_MEMORY: Final = 200_000_000
PACKAGES: Final = ("qmgen", "numpy", "scipy", "jax", "jaxlib", "pyscf", "rdkit", "pyarrow")
#: where Linux mounts its control groups, and says which of them are this process's
GROUPS: Final = Path("/sys/fs/cgroup")
OWN_GROUPS: Final = Path("/proc/self/cgroup")
#: what the kernel counts for the whole machine, kills for want of memory among it
KERNEL_COUNTERS: Final = Path("/proc/vmstat")
#: how libraries say that memory ran out: the dynamic linker, the C library, C++, threads, XLA
_NO_MEMORY: Final = (
    "failed to map segment",
    "cannot allocate memory",
    "bad_alloc",
    "can't start new thread",
    "resource_exhausted",
    "out of memory",
)
#: version 1 writes "no limit" as a number of this size
_NO_LIMIT: Final = 2**60


def versions() -> dict[str, str | None]:
    """Python's version, and that of each package that matters; None where it is not installed."""
    installed: dict[str, str | None] = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            installed[name] = version(name)
        except PackageNotFoundError:
            installed[name] = None
    return installed


def machine() -> dict[str, Any]:
    """CPU model, cores (in the machine, and for this process), memory in bytes, and the operating system."""
    return {
        "cpu": cpu_model(),
        "cpus": os.cpu_count() or 1,
        "usable_cpus": len(usable_cores()),
        "cpu_limit": cpu_limit(),
        "memory_bytes": memory(),
        "memory_limit_bytes": memory_limit(),
        "platform": platform.platform(),
    }


def cpu_model() -> str:
    """The processor's name as the operating system gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith(("model name", "Hardware", "cpu model")):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def usable_cores() -> tuple[int, ...]:
    """The cores this process may run on, by its affinity."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def granted_cpus() -> int:
    """How many busy processes this one may keep: its cores, or the control group's worth of time where that is less."""
    limit = cpu_limit()
    return min(len(usable_cores()), max(math.ceil(limit), 1) if limit is not None else sys.maxsize)


def cpu_limit() -> float | None:
    """Cores' worth of time that the control groups grant; None where there is no limit."""
    limits = []
    for folder in _groups("cpu"):
        quota = (
            _read(folder / "cpu.max") or f"{_read(folder / 'cpu.cfs_quota_us')} {_read(folder / 'cpu.cfs_period_us')}"
        )
        with contextlib.suppress(ValueError, ZeroDivisionError):
            granted, period = map(int, quota.split())
            limits += [granted / period] if granted > 0 else []
    return min(limits, default=None)


def memory() -> int | None:
    """Physical memory in bytes."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError):
        return None


def memory_limit() -> int | None:
    """Bytes that the control groups grant; None where there is no limit."""
    limits = []
    for folder in _groups("memory"):
        with contextlib.suppress(ValueError):
            limits.append(int(_read(folder / "memory.max") or _read(folder / "memory.limit_in_bytes")))
    return min((size for size in limits if size < _NO_LIMIT), default=None)


def oom_kills() -> int | None:
    """Processes that the kernel killed for want of memory: in this process's control groups and on the whole machine.

    None where the system does not say. Only a change means anything: one kill is counted wherever it is seen.
    """
    texts = [_read(folder / name) for folder in _groups("memory") for name in ("memory.events", "memory.oom_control")]
    counts = []
    for line in "\n".join([*texts, _read(KERNEL_COUNTERS)]).splitlines():
        name, _, count = line.partition(" ")
        if name == "oom_kill" and count.isdigit():
            counts.append(int(count))
    return sum(counts) if counts else None


def address_space_limit() -> int | None:
    """Bytes of address space or data that this process may have (``ulimit -v``, ``-d``); None without a limit."""
    soft = (resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA))
    return min((limit for limit in soft if limit not in (resource.RLIM_INFINITY, -1)), default=None)


def lacks_memory(error: BaseException) -> bool:
    """Whether ``error``, or what it was raised from, says that there was too little memory, or no room for a thread."""
    one: BaseException | None = error
    while one is not None:
        if isinstance(one, MemoryError) or (isinstance(one, OSError) and one.errno == errno.ENOMEM):
            return True
        if isinstance(one, Exception) and any(sign in str(one).lower() for sign in _NO_MEMORY):
            return True
        one = one.__cause__
    return False


@contextmanager
def memory_needed() -> Iterator[None]:
    """Turns errors that say that memory ran out into ``Interrupted``: the same command does it where there is more.

    Raises ``Interrupted`` at once below what the program cannot be loaded with: libraries that meet such a limit end
    their process without a word.
    """
    for limit, least, name in (
        (address_space_limit(), LEAST_ADDRESS_SPACE, "address space (ulimit -v, -d)"),
        (memory_limit(), LEAST_MEMORY, "memory (control group)"),
    ):
        if limit is not None and limit < least:
            raise Interrupted(
                f"this process may have {limit / 1e6:.0f} MB of {name}, and needs {least / 1e6:.0f} MB at least: grant "
                "more; the same command continues"
            )
    try:
        yield
    except Exception as error:
        if isinstance(error, QmgenError) or not lacks_memory(error):
            raise
        what = f"{type(error).__name__}: {error}".rstrip(": ")
        raise Interrupted(f"too little memory ({what}): grant more; the same command continues") from error


def _groups(controller: str) -> Iterator[Path]:
    """The folders of this process's control group and of those around it, in version 2 or 1: each may hold a limit."""
    for line in _read(OWN_GROUPS).splitlines() or ["0::/"]:
        number, controllers, place = line.split(":", 2)
        if number != "0" and controller not in controllers.split(","):
            continue
        top = GROUPS if number == "0" else GROUPS / controllers
        inner = top / place.lstrip("/")
        yield from (folder for folder in (inner, *inner.parents) if folder.is_relative_to(top))


def _read(path: Path) -> str:
    """The text of a small file; "" where there is none."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def peak_memory() -> int:
    """The largest resident set of this process so far, or since ``forget_peak_memory``, in bytes.

    Linux hands a parent's ``ru_maxrss`` down through fork and exec; ``VmHWM`` begins anew with the program.
    """
    kilobytes = _of_this_process("VmHWM")
    return kilobytes or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def resident_memory() -> int | None:
    """The resident set of this process now, in bytes; None where the system does not say."""
    return _of_this_process("VmRSS")


def forget_peak_memory() -> bool:
    """Let ``peak_memory`` begin anew from what is resident now. Whether the system did it: only Linux does."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def return_free_memory() -> None:
    """Hand what the allocator keeps for later back to the system, so that ``resident_memory`` is what is in use."""
    with contextlib.suppress(OSError, AttributeError):  # glibc's alone
        ctypes.CDLL(None).malloc_trim(0)


def _of_this_process(key: str) -> int | None:
    """A size in bytes from ``/proc/self/status``."""
    for line in _read(Path("/proc/self/status")).splitlines():
        name, _, size = line.partition(":")
        if name == key:
            with contextlib.suppress(ValueError, IndexError):
                return int(size.split()[0]) * 1024
    return None


def provenance() -> dict[str, Any]:
    """``date`` (UTC, ISO 8601), ``command``, ``machine`` and ``versions``, as plain values."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "machine": machine(),
        "versions": versions(),
    }
