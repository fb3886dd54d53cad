"""Facts about the machine and the installation, gathered without importing anything heavy."""

from __future__ import annotations

import os
import platform
import resource
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

PACKAGES: Final = ("qmgen", "numpy", "scipy", "jax", "jaxlib", "pyscf", "rdkit", "pyarrow")


def versions() -> dict[str, str | None]:
    """Python's version, and that of each package that matters; None where it is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def machine() -> dict[str, Any]:
    """CPU model, cores (in the machine, and for this process), memory in bytes, and the operating system."""
    return {
        "cpu": cpu_model(),
        "cpus": os.cpu_count() or 1,
        "usable_cpus": usable_cpus(),
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


def usable_cpus() -> int:
    """Cores this process may run on, by its affinity."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_limit() -> float | None:
    """Cores' worth of time that the control group grants; None where there is no limit."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="utf-8").split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        return None


def memory() -> int | None:
    """Physical memory in bytes."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError):
        return None


def memory_limit() -> int | None:
    """Bytes that the control group grants; None where there is no limit."""
    try:
        text = Path("/sys/fs/cgroup/memory.max").read_text(encoding="utf-8").strip()
        return None if text == "max" else int(text)
    except (OSError, ValueError):
        return None


def peak_memory() -> int:
    """The largest resident set of this process so far, in bytes.

    Linux hands a parent's ``ru_maxrss`` down through fork and exec; ``VmHWM`` begins anew with the program.
    """
    try:
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
