"""The level of theory: as it stands in the files, and what it can label."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from qmgen.errors import UsageError
from qmgen.labeling.level import level_of
from qmgen.labeling.types import Settings
from qmgen.molecules.entries import atomic_numbers, check_supported, failure
from qmgen.molecules.geometry import number_of, symbol_of
from qmgen.molecules.types import Failure, Molecule, Reason
from qmgen.pipeline.source import FileSource

if TYPE_CHECKING:
    from qmgen.config.generate import GenerateConfig
    from qmgen.pipeline.stages import Stages
    from qmgen.pipeline.unit import Job

#: what ``check`` holds against the level of theory, not against the molecule
_OF_LEVEL: Final = (Reason.UNSUPPORTED_ELEMENT, Reason.NO_VIRTUAL_ORBITAL)

GRID = "Becke partition, Treutler-Ahlrichs radii, Lebedev angles, NWChem pruning: PySCF's points of this level"


def level_of_theory(settings: Settings) -> dict[str, Any]:
    """Plain values for the metadata: enough to compute the same labels again with another program.

    Raises ``UsageError`` on an unknown functional, basis, grid level, precision or guess, with the nearest name.
    """
    level = level_of(settings)
    values = asdict(settings)
    for said_otherwise in ("xc", "basis", "batch_size"):
        values.pop(said_otherwise)
    return {
        "method": "closed-shell Kohn-Sham (RKS)",
        "xc": level.functional.name,
        "functional": level.functional.description,
        "basis": level.basis.name,
        "basis_checksum": level.basis.checksum,
        "grid": GRID,
        **values,
    }


def check(entry: Molecule | Failure, settings: Settings) -> Molecule | Failure:
    """The entry, or one failure for all its conformers, before any of them is made, if the basis set will not do."""
    basis = level_of(settings).basis
    checked = check_supported(entry, basis.elements)
    if isinstance(entry, Failure):
        return entry
    numbers = atomic_numbers(entry)
    if isinstance(checked, Failure):
        beyond = sorted(basis.beyond.intersection(numbers.tolist()))
        names = ", ".join(map(symbol_of, beyond))
        detail = f"basis {basis.name} has d or f functions on {names}; only s and p functions are supported so far"
        return replace(checked, detail=detail) if beyond else checked
    if basis.n_orbitals(numbers) > int(np.sum(numbers, dtype=int)) // 2:
        return entry
    place = -1 if entry.positions is None else entry.conformer_id
    detail = f"basis {basis.name} leaves no orbital unoccupied"
    return failure(entry.molecule_id, entry.name, entry.smiles, Reason.NO_VIRTUAL_ORBITAL, detail, place)


def refuse_elements(config: GenerateConfig, settings: Settings, stages: Stages) -> None:
    """Raise ``UsageError`` where the basis set has none of the elements that ``config`` enumerates: before anything is
    enumerated."""
    if config.enumerate is None:
        return
    numbers = [number for symbol in config.elements if (number := number_of(symbol)) is not None]
    atoms = (Molecule(0, "", "", np.array([number], np.uint8), np.zeros((1, 3))) for number in numbers)
    _refuse(atoms, settings, stages, (Reason.UNSUPPORTED_ELEMENT,), "elements that are enumerated")


def refuse_molecules(source: FileSource, limit: int | None, job: Job) -> None:
    """Raise ``UsageError`` where the level of theory can label none of the molecules of ``source`` (of the first
    ``limit``). Reads it as far as the first molecule that can be labelled."""
    _refuse(islice(iter(source), limit), job.settings, job.stages, _OF_LEVEL, "molecules")


def _refuse(
    entries: Iterable[Molecule | Failure], settings: Settings, stages: Stages, reasons: tuple[Reason, ...], what: str
) -> None:
    check_one = stages.load("check")
    count, first, others = 0, "", False
    for entry in entries:
        if isinstance(entry, Failure):
            continue
        checked = check_one(entry, settings)
        if not isinstance(checked, Failure):
            return
        if checked.reason in reasons:
            count, first = count + 1, first or checked.detail
            others |= checked.detail != first
    if count:
        raise UsageError(
            f"{settings.xc}/{settings.basis} can label none of the {count} {what} ({first}"
            f"{', and the like' if others else ''}): choose another --basis, or other molecules"
        )
