"""qmgen next to PySCF on the same molecules, in one run; and what this machine has (``qmgen.benchmark.doctor``)."""

from qmgen.benchmark.measure import run
from qmgen.benchmark.render import markdown, table

__all__ = ["markdown", "run", "table"]
