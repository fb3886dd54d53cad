"""The same stages where a whole batch goes through one program: ``qmgen.dft.batched``, on any device."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from qmgen.benchmark.device.ceilings import best_seconds
from qmgen.benchmark.device.floors import ceilings, floors
from qmgen.benchmark.device.task import Entry, Task
from qmgen.dft.batched.lists import batch_lists
from qmgen.dft.batched.program import field_batch, grids_batch, integrals_batch, prepare_batch
from qmgen.dft.batched.repulsion import supermatrices
from qmgen.dft.prepare import System, sketch_precision
from qmgen.dft.scf import Options
from qmgen.labeling.level import level_of
from qmgen.labeling.types import Settings


def measure(task: Task) -> None:
    """Entries as of ``stages``, from host lists to field."""
    settings = Settings(grid_level=0 if task.toy else 1)
    level, size = level_of(settings), 2 if task.toy else 64 if task.accelerator else 2
    shape, chosen = task.geometries.of_one_shape(settings, size)
    systems = [System(np.asarray(c.numbers, np.int64), c.positions) for c in chosen]
    xc, options = level.functional, Options()
    sketch = np.dtype(sketch_precision(level.basis)).name
    make_lists = partial(batch_lists, systems, shape, level.basis, xc, level.grid_level)
    found: dict[str, Any] = {}

    def made(name: str, work: Any) -> Any:
        """The value that later stages take: made untimed, before any stage is timed."""
        task.tell(f"{name}: compiling")
        found[name] = jax.block_until_ready(work())
        return found[name]

    lists = made("host lists", lambda: jax.device_put(make_lists()))
    integrals = jax.jit(integrals_batch)
    _, repulsion = made("integrals", lambda: integrals(lists))
    matrices = jax.jit(lambda r: supermatrices(r, jnp.asarray(lists.place), xc.exact_exchange))
    grids = jax.jit(lambda x: grids_batch(xc, x, sketch))
    whole = jax.jit(lambda x: prepare_batch(xc, x, sketch))
    _, problems = made("problems", lambda: whole(lists))
    field = jax.jit(lambda p: field_batch(xc, p, options))
    solution = made("field", lambda: field(problems))
    cycles, visits = (float(np.mean(np.asarray(x))) for x in (solution.cycles, solution.visits))
    bounds = floors(shape, cycles, visits, 4 if xc.needs_gradient else 1, ceilings(task.accelerator, task.toy))
    for name, work in (
        ("host lists", make_lists),
        ("integrals", lambda: integrals(lists)),
        ("supermatrix", lambda: matrices(repulsion)),
        ("grid", lambda: grids(lists)),
        ("field", lambda: field(problems)),
    ):
        task.entry(name, partial(_timed, work, size, bounds[name]))
    converged = int(np.asarray(solution.converged).sum())
    task.put(
        "about", {"conformers": size, "converged": converged, "cycles": cycles, "visits": visits, "shape": str(shape)}
    )


def _timed(work: Any, size: int, floor: float | None) -> Entry:
    return {"seconds_per_conformer": best_seconds(work, 3) / size, "floor": floor}
