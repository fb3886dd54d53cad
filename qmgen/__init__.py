"""qmgen: quantum-chemical training data by batched, compiled Kohn-Sham DFT.

    import qmgen

    rows = qmgen.label(["CCO", "c1ccccc1"], basis="sto-3g")   # labels in Python
    table = qmgen.load("corpus")                              # what `qmgen generate` wrote

Nothing happens at import: no device is queried, no flag set, nothing heavy loaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qmgen.pipeline.api import label, load

__version__ = "0.1.0"
__all__ = ["__version__", "label", "load"]


def __getattr__(name: str) -> Any:
    if name in ("label", "load"):
        from importlib import import_module

        return getattr(import_module("qmgen.pipeline.api"), name)
    raise AttributeError(f"module 'qmgen' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
