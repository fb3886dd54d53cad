"""Conformers in, labels out.

``label`` is imported when it is asked for: who needs only the types of this room (the parent of a run, say) starts
without JAX.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qmgen.labeling.types import Guess, Label, LabelCosts, Settings

if TYPE_CHECKING:
    from qmgen.labeling.stream import label

__all__ = ["Guess", "Label", "LabelCosts", "Settings", "label"]


def __getattr__(name: str) -> Any:
    if name == "label":
        from qmgen.labeling.stream import label

        return label
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
