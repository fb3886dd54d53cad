"""A level of theory by its names."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qmgen.dft.basis import Basis
    from qmgen.dft.functionals import Functional


@dataclass(frozen=True)
class LevelOfTheory:
    """Functional by qmgen's name, basis set, grid level; how J and K are made. What the names stand for is looked up
    when it is asked for, so that PySCF may know more of them than qmgen has integrals for.

    Attributes:
        jk: "exact" four-index integrals, or density fitting, "df".
        auxbasis: the fitting set of "df"; None for the one that belongs to the basis set.
        cartesian: functions from d on are Cartesian.
    """

    xc: str
    basis: str
    grid_level: int
    jk: str = "exact"
    auxbasis: str | None = None
    cartesian: bool = False

    def __str__(self) -> str:
        more = f", density fitting in {self.auxbasis or 'the default set'}" if self.jk == "df" else ""
        return f"{self.xc}/{self.basis}{' (Cartesian)' if self.cartesian else ''}{more}, grid level {self.grid_level}"

    def about(self) -> dict[str, Any]:
        """Plain values by the names of the fields, without those that are as usual: exact and spherical."""
        usual = {field.name: field.default for field in fields(self)}
        return {name: value for name, value in asdict(self).items() if value != usual[name]}

    @property
    def functional(self) -> Functional:
        """Raises ``UsageError`` where there is none."""
        from qmgen.dft.functionals import functional

        return functional(self.xc)

    @property
    def basis_set(self) -> Basis:
        """Raises ``UsageError`` where there is none."""
        from qmgen.dft.basis import load_basis

        return load_basis(self.basis, self.cartesian)

    @property
    def fitting_set(self) -> Basis | None:
        """None with exact integrals. Raises ``UsageError`` where there is none."""
        from qmgen.dft.fitting import load_fitting_set

        return load_fitting_set(self.auxbasis, self.basis_set) if self.jk == "df" else None
