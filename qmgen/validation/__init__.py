"""The judge: PySCF at the same level of theory on a seeded sample of a corpus, and the comparison."""

from qmgen.validation.compare import Tolerances
from qmgen.validation.result import Report
from qmgen.validation.run import validate

__all__ = ["Report", "Tolerances", "validate"]
