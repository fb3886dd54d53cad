"""A trained network as the first guess of a self-consistent field.

>>> guess = open_guess("run")
>>> densities = guess(problems, numbers)            # idempotent, where the SCF begins

One Fock build from the density of spherical atoms (on the sketch where there is one: what its grid gets wrong the SCF
mends, and the asked grid would cost as much as several cycles), the network's correction, and the lowest orbitals.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from qmgen.dft.basis import load_basis
from qmgen.dft.functionals import functional
from qmgen.dft.prepare import Shape, System
from qmgen.dft.scf import Problem
from qmgen.dft.variational import density_of
from qmgen.errors import UsageError
from qmgen.learning.energy.problems import bare_inputs, completed
from qmgen.learning.energy.stored import StoredHamiltonian, load_model
from qmgen.learning.hamiltonian.inputs import Inputs


class LearnedGuess:
    """First densities for molecules at the level of a stored network: ``checksum`` (SHA-256 of its file), ``level``
    (functional, basis set)."""

    def __init__(self, stored: StoredHamiltonian) -> None:
        about, self.stored = stored.about, stored
        self.checksum = stored.checksum
        self.level = (str(about["xc"]), str(about["basis"]))
        self._basis = load_basis(self.level[1])
        if self._basis.checksum != about["basis_checksum"]:
            raise UsageError(f"{stored.path} was trained with another {self.level[1]}: train it anew")
        self._elements = frozenset(int(z) for z in about["elements"])
        network, statistics, known = stored.network, stored.statistics, functional(self.level[0])

        def density(params: Any, problem: Problem, inputs: Inputs) -> jax.Array:
            case = completed(known, problem, inputs, on_sketch=problem.coarse is not None)
            correction = network.correction(params, statistics, network.describe(case.inputs))
            return density_of(problem, case.orthogonaliser, case.inputs.initial + correction)

        self._params, self._density = stored.params, jax.jit(density)

    def __call__(self, problems: Sequence[Problem], numbers: Sequence[np.ndarray]) -> list[np.ndarray]:
        """A density (n, n) float64 for each of ``problems``, whose atoms are ``numbers`` (A,); not a number where the
        network knows an element not."""
        return [self._one(problem, atoms) for problem, atoms in zip(problems, numbers, strict=True)]

    def _one(self, problem: Problem, numbers: np.ndarray) -> np.ndarray:
        n = np.shape(problem.overlap)[0]
        if not self._elements.issuperset(numbers.tolist()):
            return np.full((n, n), np.nan)
        positions = np.asarray(problem.positions)
        shape = Shape(n, len(positions), 1)
        inputs = bare_inputs(System(np.asarray(numbers, np.int64), positions[: len(numbers)]), shape, self._basis)
        typed = jax.tree.map(jnp.asarray, (problem, inputs))
        return np.asarray(self._density(self._params, *typed))


def open_guess(path: str | Path) -> LearnedGuess:
    """The network at ``path``, as ``load_model``. Raises ``UsageError`` with one line where there is none."""
    return LearnedGuess(load_model(Path(path)))
