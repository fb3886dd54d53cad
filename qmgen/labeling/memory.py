"""What a batch needs of memory, reckoned before any work is done on it."""

from __future__ import annotations

import jax

from qmgen.dft.batched.exchange_correlation import BLOCKS_AT_ONCE as GROUP_OF_MANY
from qmgen.dft.batched.patches import CHUNK_BYTES
from qmgen.dft.exchange_correlation import BLOCK, BLOCKS_AT_ONCE
from qmgen.dft.fock import panel_rows
from qmgen.dft.prepare import Shape
from qmgen.dft.scf import DIIS_SPACE


def bytes_needed(shape: Shape, components: int, batch: int, how: str) -> int:
    """Peak memory of a batch: the sum of ``bytes_by_part``."""
    return sum(bytes_by_part(shape, components, batch, how).values())


def bytes_by_part(shape: Shape, components: int, batch: int, how: str) -> dict[str, int]:
    """Bytes of what a batch of ``batch`` conformers holds at its peak, by part; n orbitals, p = n (n + 1) / 2 pairs.

    Under ``"map"`` one molecule at a time has its field solved, under ``"vmap"`` all (``dft.batch.mapping``):

    - ``integrals``: map: (ij|kl) while they are made, and what is made of them: three (p, p). vmap: for each conformer
      twice (p, p), as rows are padded (measured: 0.98 to 1.94), three of one conformer, and the chunk in work.
    - ``supermatrix``: for each conformer the panels of its lower triangle; vmap: the whole.
    - ``grid``: orbitals (and gradients: ``components`` values) at the points of the sketch, and of a group of blocks of
      the asked grid; the sketch in float64 before it is rounded to float32 (where it is), and copies in work: map: of
      the group. vmap: of the sketch, and two of the group; points, weights and a copy of theirs for each conformer.
    - ``history``: of DIIS: Fock matrices, errors and densities (n, n).

    Compiled programs, Python and its libraries come on top: some hundred megabytes, whatever the molecule.
    """
    n = shape.n_orbitals
    pairs = n * (n + 1) // 2
    matrix = 8 * pairs**2
    history = 3 * DIIS_SPACE * 8 * n * n
    block = BLOCK * components * n
    if how == "vmap":
        values = 16 * shape.n_coarse * block + 3 * 8 * min(GROUP_OF_MANY, shape.n_blocks) * block
        values += 2 * 4 * 8 * BLOCK * (shape.n_blocks + shape.n_coarse)
        return {
            "integrals": (2 * batch + 3) * matrix + 2 * CHUNK_BYTES,
            "supermatrix": batch * matrix,
            "grid": batch * values,
            "history": batch * history,
        }
    panels = 8 * sum((last - first) * last for first, last in panel_rows(pairs))
    return {
        "integrals": 3 * matrix,
        "supermatrix": batch * panels,
        "grid": (12 * shape.n_coarse + 2 * 8 * min(BLOCKS_AT_ONCE, shape.n_blocks)) * block,
        "history": history,
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


def memory_limit(how: str) -> int:
    """Bytes in which a batch must fit: of the machine, or under ``"vmap"`` of the device if it says."""
    if how == "vmap" and (stats := jax.local_devices()[0].memory_stats()):
        return int(stats.get("bytes_limit", memory_installed()))
    return memory_installed()
