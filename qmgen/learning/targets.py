"""Targets: what a network learns from the columns of a corpus, the unit of each, and how a network makes each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from qmgen.corpus.columns import COLUMNS, Column
from qmgen.errors import UsageError


class Kind(StrEnum):
    """How a target follows from what the network gives for each atom."""

    SCALAR = "scalar"  # the sum over atoms
    DIPOLE = "dipole"  # latent charges of the atoms, at their places
    FORCES = "forces"  # minus the gradient of the energy


@dataclass(frozen=True)
class Target:
    """``name`` and ``column`` in a corpus; ``unit`` of the column; ``extensive`` if it grows with the molecule, so that
    references of the atoms are taken off first."""

    name: str
    column: str
    kind: Kind
    unit: str
    extensive: bool = False

    @property
    def shown(self) -> tuple[str, float]:
        """The unit in which people read errors, and what one of ``unit`` is in it."""
        return {"eV": ("meV", 1000.0), "eV/Angstrom": ("meV/Angstrom", 1000.0)}.get(self.unit, (self.unit, 1.0))


#: outputs of networks that were saved stand in this order; further targets follow in that of the columns
_FIRST: Final = ("y", "homo", "lumo", "energy")


def _target_of(column: Column) -> Target:
    extensive = column.target == "extensive"
    kind = Kind.SCALAR if extensive else Kind(column.target)
    return Target(column.name, column.name, kind, column.unit, extensive)


_COLUMNS: Final = {column.name: column for column in COLUMNS if column.target}
TARGETS: Final = {name: _target_of(_COLUMNS[name]) for name in dict.fromkeys([*_FIRST, *_COLUMNS])}
#: other names for the same
ALIASES: Final = {"gap": "y"}


def targets_of(names: Iterable[str]) -> tuple[Target, ...]:
    """The targets of these names, each once, in the order of ``TARGETS``.

    Raises ``UsageError`` for a name that is none, for no name at all, and for forces without the energy they are the
    gradient of.
    """
    wanted = {ALIASES.get(name, name) for name in names}
    if unknown := sorted(wanted - TARGETS.keys()):
        known = ", ".join([*TARGETS, *ALIASES])
        raise UsageError(f"no target is called {unknown[0]!r}: choose from {known}")
    if not wanted:
        raise UsageError(f"no target: give --target with one or more of {', '.join(TARGETS)}")
    if "forces" in wanted and "energy" not in wanted:
        raise UsageError("forces are the gradient of the energy: give --target energy,forces")
    return tuple(target for name, target in TARGETS.items() if name in wanted)
