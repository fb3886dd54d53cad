"""qmgen: quantum-chemical training data by batched, compiled Kohn-Sham DFT.

    import qmgen

    labels = qmgen.label(["CCO", "c1ccccc1"], basis="sto-3g")   # labels[1]["energy"], labels.to_pandas()
    table = qmgen.load("corpus")                                # what `qmgen generate` wrote

Nothing happens at import: no device is queried, no flag set, nothing heavy loaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qmgen.errors import QmgenError, UsageError
    from qmgen.molecules.types import Molecule, Reason
    from qmgen.pipeline.api import Labels, label, load

__version__ = "0.1.0"
__all__ = ["Labels", "Molecule", "QmgenError", "Reason", "UsageError", "__version__", "label", "load"]

#: where each name is, which is imported when it is asked for
_MODULES = {
    "Labels": "qmgen.pipeline.api",
    "Molecule": "qmgen.molecules.types",
    "QmgenError": "qmgen.errors",
    "Reason": "qmgen.molecules.types",
    "UsageError": "qmgen.errors",
    "label": "qmgen.pipeline.api",
    "load": "qmgen.pipeline.api",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        from importlib import import_module

        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'qmgen' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
