"""A side for a crew that tells what its process looks like."""

from __future__ import annotations

import os
from typing import Any


class Looking:
    def __init__(self, setup: Any) -> None:
        self.setup = setup

    def __call__(self, task: int) -> dict[str, Any]:
        return {"task": task, "threads": os.environ.get("OMP_NUM_THREADS"), "cores": sorted(os.sched_getaffinity(0))}
