"""Geometries that cannot be labelled, found before any work is done on them."""

from __future__ import annotations

from qmgen.labeling.level import Level
from qmgen.molecules.geometry import electrons_problem, geometry_problem
from qmgen.molecules.types import Conformer, Failure, Reason


def reject(conformer: Conformer, level: Level) -> Failure | None:
    """The reason why this geometry has no label at this level, if there is one."""
    numbers, positions = conformer.numbers, conformer.positions
    if len(numbers) == 0:
        return fail(conformer, Reason.BAD_COORDINATES, "no atoms")
    if problem := geometry_problem(numbers, positions):
        return fail(conformer, *problem)
    missing = sorted({int(z) for z in numbers} - level.basis.elements)
    if missing:
        return fail(conformer, Reason.UNSUPPORTED_ELEMENT, f"basis {level.basis.name} has no element {missing[0]}")
    if problem := electrons_problem(numbers, 0):
        return fail(conformer, *problem)
    if level.basis.n_orbitals(numbers) <= int(numbers.astype(int).sum()) // 2:
        return fail(conformer, Reason.NO_VIRTUAL_ORBITAL, f"basis {level.basis.name} leaves no orbital unoccupied")
    return None


def fail(conformer: Conformer, reason: Reason, detail: str) -> Failure:
    return Failure(conformer.molecule_id, conformer.conformer_id, conformer.name, conformer.smiles, reason, detail)
