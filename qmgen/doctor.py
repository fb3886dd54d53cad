"""``qmgen doctor``: what this machine has, and whether what qmgen needs works. Every check has a verdict and a hint.

>>> findings = report()
>>> findings["ok"], [check["name"] for check in findings["checks"] if not check["ok"]]
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any, Final

from qmgen import runtime
from qmgen.errors import QmgenError
from qmgen.machine import granted_cpus, machine, versions

#: hydrogen at 1.4 Bohr in STO-3G, RHF: A. Szabo, N. S. Ostlund, Modern Quantum Chemistry, section 3.5.2
H2_BOHR: Final = 1.4
H2_ENERGY: Final = -1.1167
H2_TOLERANCE: Final = 2e-4

Check = dict[str, Any]


def report() -> dict[str, Any]:
    """Plain JSON values: ``ok`` (all checks), ``versions``, ``machine``, ``devices``, ``cache`` and ``checks``.

    Each check has ``name``, ``ok``, ``found`` and ``hint`` (empty when ok). Nothing is raised: what fails is a check
    that is not ok. Switches on float64 and starts JAX's devices in this process.
    """
    cache: dict[str, Any] = {}
    devices: list[dict[str, Any]] = []
    checks = [
        _check("packages", "install what is missing: pip install qmgen, or run scripts/quickstart", _packages),
        _check("memory", "close other programs, or use fewer --workers", _memory),
        _check("cores", "ask for whole cores, as many as there are workers", _cores),
        _check("variables", "unset what is no setting, or give it its right name", _variables),
        _check("cache", "set QMGEN_CACHE to a directory that can be written", lambda: _cache(cache)),
        _check("devices", "check the installation of jax for this accelerator, or set JAX_PLATFORMS=cpu",
               lambda: _devices(devices)),
        _check("float64", "something switched float64 off: unset JAX_ENABLE_X64", _float64),
        _check("basis", "the installation is incomplete: install it again", _basis),
        _check("self-test", "report this with the output of `qmgen doctor --json`", _self_test),
    ]  # fmt: skip
    return {
        "ok": all(check["ok"] for check in checks),
        "versions": versions(),
        "machine": machine(),
        "devices": devices,
        "cache": cache,
        "checks": checks,
    }


def lines(findings: dict[str, Any]) -> list[str]:
    """The findings for a terminal, one line each."""
    facts = findings["machine"]
    named = ", ".join(f"{name} {version or 'missing'}" for name, version in findings["versions"].items())
    out = [named, f"{facts['cpu']}, {facts['usable_cpus']} of {facts['cpus']} cores; {facts['platform']}"]
    width = max(len(check["name"]) for check in findings["checks"])
    for check in findings["checks"]:
        out.append(f"{'ok  ' if check['ok'] else 'FAIL'}  {check['name']:<{width}}  {check['found']}")
        if not check["ok"]:
            out.append(f"      {'':<{width}}  -> {check['hint']}")
    return out


class _Broken(Exception):
    """A check that found something wrong; the text says what."""


def _check(name: str, hint: str, look: Callable[[], str]) -> Check:
    try:
        return {"name": name, "ok": True, "found": look(), "hint": ""}
    except (_Broken, QmgenError) as problem:
        result = str(problem)
    except Exception as problem:  # a broken installation fails in any way it likes
        result = f"{type(problem).__name__}: {problem}"
    return {"name": name, "ok": False, "found": " ".join(result.split()), "hint": hint}


def _packages() -> str:
    missing = [name for name, version in versions().items() if version is None]
    if missing:
        raise _Broken(f"missing: {', '.join(missing)}")
    return "all installed"


def _memory() -> str:
    facts, workers = machine(), granted_cpus()
    known = [size for size in (facts["memory_bytes"], facts["memory_limit_bytes"]) if size]
    if not known:
        return "size unknown"
    gigabytes = min(known) / 1e9
    if gigabytes < 2 * workers:
        raise _Broken(f"{gigabytes:.1f} GB for {workers} worker(s); 2 GB for each are wanted")
    return f"{gigabytes:.1f} GB"


def _cores() -> str:
    facts, workers = machine(), granted_cpus()
    limit = facts["cpu_limit"]
    if limit is None or limit >= facts["usable_cpus"]:
        return f"{facts['usable_cpus']} usable"
    if limit < 1:
        raise _Broken(f"only {limit:g} of a core's time is granted")
    return f"{facts['usable_cpus']} visible, {limit:g} cores' worth of time granted: {workers} worker(s) by default"


def _variables() -> str:
    from qmgen.config.base import CommandConfig
    from qmgen.config.sources import PREFIX, check_variables

    check_variables(CommandConfig, os.environ)
    there = sorted(name for name in os.environ if name.startswith(PREFIX))
    return ", ".join(there) if there else f"no {PREFIX}* is set"


def _cache(cache: dict[str, Any]) -> str:
    directory = Path(os.environ.get("JAX_COMPILATION_CACHE_DIR") or runtime.default_cache())
    cache.update(directory=str(directory), bytes=0, files=0, writable=False)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            cache["writable"] = True
    except OSError as error:
        raise _Broken(f"{directory} cannot be written ({error.strerror}): everything is compiled anew") from error
    sizes = [entry.stat().st_size for entry in directory.rglob("*") if entry.is_file()]
    cache.update(bytes=sum(sizes), files=len(sizes))
    return f"{directory}: {len(sizes)} files, {sum(sizes) / 1e6:.1f} MB"


def _devices(devices: list[dict[str, Any]]) -> str:
    runtime.prepare()
    import jax

    devices += [{"kind": device.device_kind, "platform": device.platform, "id": device.id} for device in jax.devices()]
    return ", ".join(f"{device['platform']}:{device['id']} ({device['kind']})" for device in devices)


def _float64() -> str:
    runtime.prepare()
    import jax.numpy as jnp

    total = jnp.asarray(1.0) + 2.0**-40
    if total.dtype != jnp.float64 or float(total) == 1.0:
        raise _Broken(f"computes in {total.dtype}")
    return "works"


def _basis() -> str:
    from qmgen.dft.basis import load_basis

    return ", ".join(load_basis(name).name for name in ("sto-3g", "6-31g"))


def _self_test() -> str:
    """RHF of H2, through the same door as every label."""
    import numpy as np

    from qmgen.labeling.types import Settings
    from qmgen.molecules.types import Conformer, Failure
    from qmgen.pipeline.stages import Stages

    stages = Stages()
    stages.prepare()
    positions = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, np.float64(np.float32(H2_BOHR))]])
    molecule = Conformer(0, 0, "hydrogen", "[H][H]", np.array([1, 1], dtype=np.uint8), positions)
    begin = perf_counter()
    result = next(iter(stages.label(iter([molecule]), Settings(xc="hf", basis="sto-3g", grid_level=0))))
    seconds = perf_counter() - begin
    if isinstance(result, Failure):
        raise _Broken(f"H2 got no label: {result.detail}")
    energy = float(result[1].energy)
    if not abs(energy - H2_ENERGY) < H2_TOLERANCE:
        raise _Broken(f"H2 RHF/STO-3G: {energy:.6f} Ha, not {H2_ENERGY}")
    return f"H2 RHF/STO-3G: {energy:.6f} Ha in {seconds:.1f} s"
