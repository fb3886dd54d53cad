"""Geometries that cannot be labelled, found before any work is done on them."""

from __future__ import annotations

from qmgen.dft.exchange_correlation import BLOCK
from qmgen.dft.fock import panel_rows
from qmgen.dft.prepare import Shape
from qmgen.dft.scf import DIIS_SPACE
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


def bytes_needed(shape: Shape, components: int, batch: int, at_once: int) -> int:
    """Peak memory of a batch: the sum of ``bytes_by_part``."""
    return sum(bytes_by_part(shape, components, batch, at_once).values())


def bytes_by_part(shape: Shape, components: int, batch: int, at_once: int) -> dict[str, int]:
    """Bytes of what a batch of ``batch`` conformers holds at its peak, by part; n orbitals, p = n (n + 1) / 2 pairs.

    - ``integrals``: (ij|kl) while they are made, and what is made of them: three (p, p).
    - ``supermatrix``: the panels of its lower triangle for each conformer of the batch; under ``vmap`` they are there
      twice, alone and stacked.
    - ``grid``: orbitals (and gradients: ``components`` values) at the points of both grids, with their copy in work.
    - ``history``: of DIIS: Fock matrices, errors and densities (n, n).

    ``at_once`` is how many molecules hold their grid and history at the same time (1 under ``map``, all under
    ``vmap``). Compiled programs, Python and its libraries come on top: some hundred megabytes, whatever the molecule.
    """
    n = shape.n_orbitals
    pairs = n * (n + 1) // 2
    matrix = 8 * pairs**2
    panels = 8 * sum((last - first) * last for first, last in panel_rows(pairs))
    values = 8 * (shape.n_blocks + shape.n_coarse) * BLOCK * components * n
    return {
        "integrals": 3 * matrix,
        "supermatrix": (batch + (at_once if at_once > 1 else 0)) * panels,
        "grid": 2 * at_once * values,
        "history": at_once * 3 * DIIS_SPACE * 8 * n * n,
    }


def memory_installed() -> int:
    """Bytes of memory of this machine, so that a row does not depend on what else runs; very large where unknown."""
    try:
        with open("/proc/meminfo") as lines:
            for line in lines:
                if line.startswith("MemTotal:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 2**62
