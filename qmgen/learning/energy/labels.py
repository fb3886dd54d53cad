"""Labels for ``qmgen train labels``: converged energies and Fock matrices, made once and kept beside the run."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any, Final
from zipfile import BadZipFile

import numpy as np

from qmgen.dft.scf import Options
from qmgen.errors import Interrupted
from qmgen.learning.energy.batches import Labels
from qmgen.learning.energy.references import References
from qmgen.learning.training import checkpoint
from qmgen.learning.training.progress import Progress
from qmgen.signals import StopWatch

#: settings that labels depend on
_DEPENDS: Final = ("geometries", "xc", "basis", "grid_level")
_EVERY: Final = 60.0
#: labels as `qmgen generate` makes them, and no slower
AS_GENERATED: Final = Options()


def make_labels(
    references: References,
    indices: Sequence[int],
    file: Path,
    identity: Mapping[str, Any],
    stop: StopWatch,
    progress: Progress,
) -> dict[int, Labels]:
    """Labels of those of ``indices`` that converge, continued from ``file`` and kept there.

    Raises ``Interrupted`` when ``stop`` says so.
    """
    key = sha256(json.dumps([identity[name] for name in _DEPENDS]).encode()).hexdigest()
    labels, lost = _read(file, key)
    begin = kept = time.monotonic()
    before = len(labels)
    for index in indices:
        if index in labels or index in lost:
            continue
        if stop.stopping():
            _write(file, key, labels, lost)
            raise Interrupted(f"stopped by {stop.reason} after {len(labels)} labels: the same command continues")
        ready = references.store.get(index)
        found = None if ready is None else references.converge(ready.case, options=AS_GENERATED)
        if ready is None or found is None:
            lost.add(index)
        else:
            labels[index] = Labels(found.energy, references.fock(ready.case, found.density))
        if (now := time.monotonic()) - kept > _EVERY:
            kept = now
            _write(file, key, labels, lost)
            rate = (len(labels) - before) / (now - begin)
            progress.say(f"labels: {len(labels)} of {len(indices)}, {rate:.2g}/s")
    _write(file, key, labels, lost)
    return {index: labels[index] for index in indices if index in labels}  # the file may know others


def _write(file: Path, key: str, labels: dict[int, Labels], lost: set[int]) -> None:
    stream = BytesIO()
    arrays: dict[str, Any] = {f"fock{index}": one.fock for index, one in labels.items()}
    arrays |= {f"energy{index}": np.float64(one.energy) for index, one in labels.items()}
    np.savez(stream, key=np.array(key), lost=np.array(sorted(lost), np.int64), **arrays)
    checkpoint.write(file, stream.getvalue())


def _read(file: Path, key: str) -> tuple[dict[int, Labels], set[int]]:
    try:
        with np.load(file) as archive:
            if str(archive["key"]) != key:
                return {}, set()
            indices = [int(name[4:]) for name in archive.files if name.startswith("fock")]
            found = {k: Labels(float(archive[f"energy{k}"]), archive[f"fock{k}"]) for k in indices}
            return found, set(archive["lost"].tolist())
    except (OSError, EOFError, ValueError, KeyError, BadZipFile):  # none, or damaged: made anew
        return {}, set()
