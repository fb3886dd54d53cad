"""Where the workers of a run sit: one per core, each pinned to it with one thread, or one or more per GPU.

>>> layout(workers=None, devices="all", units=100).places       # on a machine with two GPUs
(Place(core=-1, environment={'CUDA_VISIBLE_DEVICES': 'GPU-5a…'}), Place(core=-1, environment=…))
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from qmgen.errors import UsageError
from qmgen.machine import granted_cpus, usable_cores
from qmgen.pipeline.cores import ANY, Claims
from qmgen.pipeline.devices import Hardware, Visible, hardware, has_plugin, on_accelerator, visible

#: of a GPU's memory, all processes on it together; what is left is for CUDA itself
_SHARE: Final = 0.9
_FRACTION: Final = "XLA_PYTHON_CLIENT_MEM_FRACTION"


@dataclass(frozen=True)
class Place:
    """One worker's: its core (``cores.ANY``: none in particular), and what its environment has beside ours."""

    core: int = ANY
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Layout:
    """A place for each worker; ``cores`` are those they may be pinned to, with one thread each (none: any core, any
    number of threads)."""

    places: tuple[Place, ...]
    cores: tuple[int, ...] = ()

    def pinned(self, claims: Claims) -> Layout:
        """This layout on those of its ``cores`` that no other run has claimed, as far as they go."""
        taken = claims.take(self.cores, len(self.places))
        return replace(self, places=tuple(replace(p, core=core) for p, core in zip(self.places, taken, strict=True)))


def layout(
    workers: int | None, devices: str | None, units: int, found: tuple[Mapping[str, str], Hardware] | None = None
) -> Layout:
    """Places for at most ``units`` workers.

    ``devices`` ``all``, or the places of some in the list of visible GPUs (``0,2``), or their names: ``workers``
    processes on each of these GPUs (1 if None), every process with one GPU. ``cpu``: ``workers`` on the CPU (one per
    core's worth of time that is granted if None), whatever else there is. None: one process in all where jax chooses an
    accelerator, else the CPU. ``found`` is the environment and the hardware instead of this process's.

    Raises ``UsageError`` for devices that are not there.
    """
    if devices is None:
        if on_accelerator():
            return _on_gpus(None, workers or 1, units, os.environ)
        return _on_cores(workers, units, {})
    if devices == "cpu":
        return _on_cores(workers, units, {"JAX_PLATFORMS": "cpu"})
    environment, there = found or (os.environ, hardware())
    seen = visible(environment, there)
    chosen = _chosen(devices, seen)
    platforms = environment.get("JAX_PLATFORMS", "")
    if platforms.split(",")[0] == "cpu":
        raise UsageError(f"--devices {devices}: JAX_PLATFORMS={platforms} keeps jax from GPUs; unset it")
    if not (found or has_plugin()):
        raise UsageError(
            f"--devices {devices}: this jax knows no GPU; install it with its plugin: pip install jax[cuda]"
        )
    return _on_gpus(replace(seen, names=chosen), workers or 1, units, environment)


def _on_cores(workers: int | None, units: int, environment: Mapping[str, str]) -> Layout:
    count = min(workers or granted_cpus(), units)
    return Layout((Place(ANY, environment),) * count, usable_cores())


def _on_gpus(gpus: Visible | None, each: int, units: int, environment: Mapping[str, str]) -> Layout:
    """``each`` processes on each of ``gpus`` (None: on what jax takes), and one on each before there are two on any."""
    names: tuple[str | None, ...] = gpus.names if gpus else (None,)
    wanted = [name for _ in range(each) for name in names][:units]
    most = max(map(wanted.count, wanted), default=1)
    # with jax's default the first process would take three quarters of the memory and leave too little for the second
    split = {_FRACTION: f"{_SHARE / most:.3f}"} if most > 1 and _FRACTION not in environment else {}
    return Layout(tuple(Place(ANY, {**split, **({gpus.variable: name} if gpus and name else {})}) for name in wanted))


def _chosen(devices: str, seen: Visible) -> tuple[str, ...]:
    """The names that ``--devices`` means. Raises ``UsageError``."""
    if not seen.names:
        raise UsageError(
            f"--devices {devices}: no GPU is visible here (nvidia-smi, /dev and {seen.variable} were asked); "
            "leave --devices out, or say --devices cpu"
        )
    if devices == "all":
        return seen.names
    names: list[str] = []
    for word in (part.strip() for part in devices.split(",")):
        if word in seen.names and not word.isdecimal():
            name = word
        elif word.isdecimal() and int(word) < len(seen.names):
            name = seen.names[int(word)]
        elif word.isdecimal() or word.startswith(("GPU-", "MIG-")):
            count = len(seen.names)
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
