"""Which kind of network a run holds, before anything of it is read."""

from __future__ import annotations

from pathlib import Path

from qmgen import files
from qmgen.documents import table_of
from qmgen.errors import UsageError
from qmgen.learning.training.checkpoint import KEY, MODEL


def kind_of(run: Path | str) -> str:
    """What the model file of a run, or the file itself, says it is; empty where there is none or it says nothing.

    Raises ``UsageError`` where nothing is at that place.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(run)
    if not path.exists():
        raise UsageError(f"no trained network at {path}: give the --out of a `qmgen train`, or its model.safetensors")
    file = path / MODEL if path.is_dir() else path
    try:
        files.refuse_odd(file.stat(), file)  # a pipe would be waited for
        with safe_open(file, framework="numpy") as stream:
            return str(table_of((stream.metadata() or {}).get(KEY, "{}"), finite=False).get("kind", ""))
    except (OSError, SafetensorError, ValueError):
        return ""
