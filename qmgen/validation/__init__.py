"""PySCF at the same level of theory on a seeded sample of a corpus, and the comparison with it."""

from qmgen.validation.compare import Tolerances, ValidationReport
from qmgen.validation.run import validate

__all__ = ["Tolerances", "ValidationReport", "validate"]
