"""Which failures can come out otherwise, and with which settings: more time, more cycles, another beginning.

What a molecule is does not change: one that is unreadable, charged or without a force field stays a failure. Nor does
an embedding that found no geometry, whose seeds are fixed. Thresholds of convergence are never loosened.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from qmgen.config.generate import MOST_CYCLES
from qmgen.labeling.types import PLAIN_GUESSES
from qmgen.molecules.types import Reason

_TIME: Final = frozenset({Reason.EMBEDDING_TIMEOUT, Reason.EMBEDDING_CRASHED})
_CYCLES: Final = frozenset({Reason.NOT_CONVERGED})
#: alone in its batch, a conformer needs least memory, and harms no other
_ALONE: Final = frozenset({Reason.OUT_OF_MEMORY, Reason.INTERNAL_ERROR, Reason.WORKER_CRASHED, Reason.MACHINE_TROUBLE})

#: reasons of failures that are tried again
RETRYABLE: Final = frozenset(str(reason) for reason in _TIME | _CYCLES | _ALONE)
#: settings that a retry may change
SETTINGS: Final = ("max_cycles", "embed_time_limit", "guess", "batch_size")

_MORE_CYCLES: Final = 4
_MORE_TIME: Final = 10


def harder(before: Mapping[str, Any], reasons: Collection[str], given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings for failures of these ``reasons``, harder than those of ``before``; what is ``given`` goes first."""
    settings = {name: before[name] for name in SETTINGS}
    if before["guess"] not in PLAIN_GUESSES:  # a network's had its chance, and may be gone
        settings["guess"] = PLAIN_GUESSES[0]
    if _CYCLES.intersection(reasons):
        settings["max_cycles"] = max(min(before["max_cycles"] * _MORE_CYCLES, MOST_CYCLES), before["max_cycles"])
        settings["guess"] = "core" if before["guess"] == "atoms" else "atoms"
    if _TIME.intersection(reasons):
        settings["embed_time_limit"] = before["embed_time_limit"] * _MORE_TIME
    if _ALONE.intersection(reasons):
        settings["batch_size"] = 1
    return settings | {name: value for name, value in given.items() if value is not None}
