"""Our own density at a geometry, for PySCF to start from where our energy is the lower one.

>>> solve_lower(numbers, positions, level, first, target=energy, density=own_density(numbers, positions, level))

The orbitals of ``qmgen.dft`` stand in PySCF's order and normalisation. jax is imported inside the function: most
validations need none of this.
"""

from __future__ import annotations

import numpy as np

from qmgen.validation.oracle import Level


def own_density(numbers: np.ndarray, positions: np.ndarray, level: Level) -> np.ndarray:
    """The density (AOs, AOs) of our self-consistent field from its usual guess, converged or not.

    ``numbers`` (atoms,), ``positions`` (atoms, 3) in Bohr, an even number of electrons. Switches on float64 in this
    process. Raises ``UsageError`` for a functional or basis that we do not have, ``ArithmeticError`` when the density
    is not finite.
    """
    from qmgen import runtime

    runtime.prepare()

    from qmgen.dft.basis import load_basis
    from qmgen.dft.batch import mapping, solve_batch
    from qmgen.dft.functionals import functional
    from qmgen.dft.prepare import System, prepare, shape_of
    from qmgen.dft.scf import Options

    basis, xc = load_basis(level.basis), functional(level.xc)
    system = System(np.asarray(numbers, dtype=np.int64), np.asarray(positions, dtype=np.float64))
    shape = shape_of(system.numbers, basis, xc, level.grid_level)
    problem = prepare(system, shape, basis, xc, level.grid_level).problem
    (solution,) = solve_batch(xc, mapping(), [problem], Options())
    n = basis.n_orbitals(system.numbers)
    density = np.asarray(solution.density)[:n, :n]
    if not np.isfinite(density).all():
        raise ArithmeticError("our self-consistent field left the numbers")
    return density
