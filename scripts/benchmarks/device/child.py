"""One measurement in its own process: ``python -m benchmarks.device.child NAME``, a JSON task on standard input.

Each entry is a line of JSON on standard output, ``[key, value]``, as soon as it is there; what libraries print goes to
standard error, so that the lines stay whole.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from time import monotonic
from typing import Any, Final

from qmgen import runtime

#: ``module:function`` of each measurement, in order: what matters most comes first
MEASUREMENTS: Final = {
    "tests": "waits:tests",
    "ceilings": "ceilings:measure_ceilings",
    "throughput": "throughput:measure_levels",
    "gpu4pyscf": "waits:gpu4pyscf",
    "batched_stages": "stages:measure_batched_stages",
    "schnet": "training:measure_schnet",
    "first_label": "waits:wait_for_first_label",
    "memory": "throughput:measure_memory",
    "batch_sizes": "throughput:measure_batch_sizes",
    "stages": "stages:measure_stages",
    "fp8": "training:measure_fp8",
    "energy": "energy:measure_energy",
}


def device(put: Any) -> None:
    """Entry ``device``: what JAX computes on by default."""
    import jax

    first = jax.devices()[0]
    facts = {"platform": first.platform, "kind": first.device_kind, "count": len(jax.devices())}
    put("device", {**facts, "accelerator": jax.default_backend() != "cpu"})


def main() -> int:
    """Exit code 0 even where an entry is an error: the entries say so."""
    given: dict[str, Any] = json.load(sys.stdin)
    lines = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def put(key: str, value: dict[str, Any]) -> None:
        lines.write(json.dumps([key, value]) + "\n")
        lines.flush()

    runtime.prepare()
    if sys.argv[1] == "device":
        device(put)
        return 0

    from benchmarks.device.task import Task, load, one_line, toy

    try:
        module, _, function = MEASUREMENTS[sys.argv[1]].partition(":")
        chosen = toy() if given["toy"] else load(Path(given["geometries"]))
        with tempfile.TemporaryDirectory(prefix="qmgen-device-") as scratch:
            task = Task(
                toy=given["toy"],
                accelerator=given["accelerator"],
                geometries=chosen,
                ends=monotonic() + given["left"],
                put=put,
                tell=lambda what: print(f"  {what}", file=sys.stderr, flush=True),
                throughput=given["throughput"],
                scratch=Path(scratch),
                keep=Path(given["keep"]) if given.get("keep") else None,
            )
            getattr(import_module(f"benchmarks.device.{module}"), function)(task)
    except Exception as error:  # one figure less, and the others go on
        put("whole", {"error": one_line(error)})
    return 0


if __name__ == "__main__":
    sys.exit(main())
