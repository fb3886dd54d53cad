"""The GPUs that this process may use, and under which names, found without importing jax.

``visible`` starts from what the machine has and takes only away: a batch system, a container or the user may already
have narrowed it by ``CUDA_VISIBLE_DEVICES`` or its AMD counterparts, and nobody gets back what is not on that list.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Final

CUDA: Final = "CUDA_VISIBLE_DEVICES"
#: AMD's, the outer filter last; numbers in the first count what the second lets through
ROCM: Final = ("HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")
#: seconds; on a machine with a broken driver nvidia-smi never returns
_SMI_LIMIT: Final = 30.0
_PLUGINS: Final = ("jax-cuda", "jax_cuda", "jax-rocm", "jax_rocm", "libtpu")


@dataclass(frozen=True)
class Visible:
    """GPUs by the names that ``variable`` takes, in the order in which jax numbers them."""

    variable: str
    names: tuple[str, ...]


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


def visible(environment: Mapping[str, str], there: Hardware) -> Visible:
    """Those of ``there`` that ``environment`` leaves; no names where there are none."""
    if there.nvidia:
        listed = environment.get(CUDA)
        every = tuple(name for gpu in there.nvidia for name in gpu)
        return Visible(CUDA, every if listed is None else _listed(listed, len(there.nvidia)))
    inner, outer = ROCM
    for variable in (inner, outer):
        if (listed := environment.get(variable)) is not None:
            filtered = environment.get(outer) if variable == inner else None
            count = there.amd if filtered is None else len(_listed(filtered, there.amd))
            return Visible(variable, _listed(listed, count))
    return Visible(inner, tuple(map(str, range(there.amd))))


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
    """The driver's nodes that are GPUs, and ours: a CPU has number 0, a GPU kept from us has none to be read."""
    found = 0
    for name in _names(nodes):
        try:
            found += (nodes / name / "gpu_id").read_text(encoding="ascii").strip() not in ("", "0")
        except OSError:
            continue
    return found
