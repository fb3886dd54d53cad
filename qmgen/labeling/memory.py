"""What a batch needs of memory, reckoned before any work is done on it."""

from __future__ import annotations

import jax

from qmgen.dft.backend import Backend, current
from qmgen.dft.coulomb_exchange import block_rows, exchange_columns
from qmgen.dft.grid import BLOCK
from qmgen.dft.integrals.shell_pairs import rows_count
from qmgen.dft.integrals.shells import BLOCK_PAIRS, BRA_TILE
from qmgen.dft.level import LevelOfTheory
from qmgen.dft.prepare import Shape
from qmgen.dft.scf import DIIS_SPACE
from qmgen.labeling.types import Settings


def batch_size_of(shape: Shape, level: LevelOfTheory, settings: Settings) -> int:
    """Places in a batch: fixed by the settings and the shape, never by the memory that happens to be free."""
    backend = current()
    wanted = settings.batch_size or backend.batch_size
    while wanted > 1 and bytes_needed(shape, level, wanted, backend) > backend.batch_bytes:
        wanted //= 2
    return wanted


def bytes_needed(shape: Shape, level: LevelOfTheory, batch: int, backend: Backend) -> int:
    """Peak memory of a batch: the sum of ``bytes_by_part``."""
    return sum(bytes_by_part(shape, level, batch, backend).values())


def bytes_by_part(shape: Shape, level: LevelOfTheory, batch: int, backend: Backend) -> dict[str, int]:
    """Bytes of what a batch of ``batch`` conformers holds at its peak, by part; n orbitals, p = n (n + 1) / 2 pairs.

    A CPU prepares and solves one molecule at a time and keeps the supermatrices of a batch for retries; an accelerator
    prepares and solves all of a batch:

    - ``integrals``: CPU: (ij|kl) while they are made, and what is made of them: three (p, p), more where shells have
      places without a function (``rows_count``). Accelerator: for each
      conformer twice (p, p), as rows are padded (measured: 0.98 to 1.94), three of one conformer, and the chunk in
      work.
    - ``supermatrix``: for each conformer the row blocks of its lower triangle; accelerator: the whole.
    - ``grid``: orbitals (and gradients: 4 values) at the points of the coarse grid, and of a group of blocks of the
      fine one; the coarse ones in float64 before they are rounded to float32 (where they are), and copies in work: CPU:
      of the group. Accelerator: of the coarse grid, and two of the group; points, weights and a copy of theirs for each
      conformer.
    - ``history``: of DIIS: Fock matrices, errors and densities (n, n).

    With density fitting, whose integrals are made one molecule after the other, the first two are instead:

    - ``integrals``: three-index integrals and those of the pairs in use; the metric and its eigenvectors.
    - ``fitted``: for each conformer what is made of them, and once more while they are put together.
    - ``exchange``: half-transformed integrals X and a copy.

    Compiled programs, Python and its libraries come on top: some hundred megabytes, whatever the molecule.
    """
    n = shape.n_orbitals
    pairs = n * (n + 1) // 2
    matrix = 8 * pairs**2
    history = 3 * DIIS_SPACE * 8 * n * n
    block = BLOCK * (4 if level.functional.needs_gradient else 1) * n
    basis = level.basis_set
    rows = rows_count(basis.shell_classes, n, basis.lone_p)
    if backend.batched:
        values = 16 * shape.n_coarse * block + 3 * 8 * min(backend.fine_blocks, shape.n_blocks) * block
        values += 2 * 4 * 8 * BLOCK * (shape.n_blocks + shape.n_coarse)
        rest = {"grid": batch * values, "history": batch * history}
        if shape.n_fitting:
            return _fitted_bytes(shape, rows, batch, batch) | rest
        # each function of a class has places for a tile of shell pairs at least
        least = 8 * (BRA_TILE * sum(c.n_functions for c in basis.pair_classes)) ** 2
        return {
            "integrals": (2 * batch + 3) * max(matrix, least) + 2 * backend.chunk_bytes,
            "supermatrix": batch * matrix,
        } | rest
    triangle = 8 * sum((last - first) * last for first, last in block_rows(pairs, backend.supermatrix_blocks))
    rest = {
        "grid": (12 * shape.n_coarse + 2 * 8 * min(backend.fine_blocks, shape.n_blocks)) * block,
        "history": history,
    }
    if shape.n_fitting:
        return _fitted_bytes(shape, rows, batch, 1) | rest
    return {"integrals": max(3 * matrix, 2 * 8 * rows**2), "supermatrix": batch * triangle} | rest


def _fitted_bytes(shape: Shape, rows: int, batch: int, solved: int) -> dict[str, int]:
    """Of density fitting, ``solved`` molecules at once, ``rows`` of three-index integrals."""
    n, fitting = shape.n_orbitals, shape.n_fitting
    tensor = 8 * (n * (n + 1) // 2) * (fitting + BLOCK_PAIRS)
    return {
        "integrals": 8 * rows * (fitting + BLOCK_PAIRS) + tensor + 4 * 8 * fitting**2,
        "fitted": (batch + solved) * tensor,
        "exchange": solved * 2 * 8 * n * fitting * exchange_columns(n, shape.n_occupied, fitting),
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


def memory_limit(backend: Backend) -> int:
    """Bytes in which a batch must fit: of the machine, or of an accelerator if it says."""
    if backend.batched and (stats := jax.local_devices()[0].memory_stats()):
        return int(stats.get("bytes_limit", memory_installed()))
    return memory_installed()
