"""Labelling: conformers in, labels out (``label``), by batched self-consistent fields of ``qmgen.dft``."""

from qmgen.labeling.label import label
from qmgen.labeling.types import Label, Settings

__all__ = ["Label", "Settings", "label"]
