"""A level of theory by its names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qmgen.dft.basis import Basis
    from qmgen.dft.functionals import Functional


@dataclass(frozen=True)
class LevelOfTheory:
    """Functional by qmgen's name, basis set, grid level. What the names stand for is looked up when it is asked for, so
    that PySCF may know more of them than qmgen has integrals for."""

    xc: str
    basis: str
    grid_level: int

    def __str__(self) -> str:
        return f"{self.xc}/{self.basis}, grid level {self.grid_level}"

    @property
    def functional(self) -> Functional:
        """Raises ``UsageError`` where there is none."""
        from qmgen.dft.functionals import functional

        return functional(self.xc)

    @property
    def basis_set(self) -> Basis:
        """Raises ``UsageError`` where there is none."""
        from qmgen.dft.basis import load_basis

        return load_basis(self.basis)
