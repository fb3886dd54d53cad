"""Trained Hamiltonians as files (weights, statistics, the level they belong to), and as the first guess of an SCF.

>>> guess = open_guess("run")
>>> densities = guess(problems, numbers)            # idempotent, where the SCF begins

The guess takes one Fock build from the density of spherical atoms (on the coarse grid where there is one: the SCF
corrects what it gets wrong, and the fine grid would cost as much as several cycles), the network's correction, and the
lowest orbitals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np

from qmgen.dft.backend import Backend, current
from qmgen.dft.basis import load_basis
from qmgen.dft.functionals import Functional, functional
from qmgen.dft.prepare import Shape, System
from qmgen.dft.scf import Problem
from qmgen.dft.variational import density_of
from qmgen.errors import UsageError
from qmgen.learning.energy.problems import bare_inputs, completed
from qmgen.learning.hamiltonian import Inputs
from qmgen.learning.hamiltonian.network import Network, network_from
from qmgen.learning.training import checkpoint
from qmgen.learning.training.checkpoint import MODEL, of_this_version, read_model, require

KIND: Final = "hamiltonian"


@dataclass(frozen=True)
class StoredHamiltonian:
    """A trained network. ``about`` are plain values: xc, basis, basis_checksum, grid_level, elements, loss, refine,
    geometries; ``path`` and ``checksum`` (SHA-256) are those of its file."""

    network: Network
    params: Any
    statistics: Any
    about: dict[str, Any]
    path: Path | None = None
    checksum: str = ""


def save_model(path: Path, model: StoredHamiltonian) -> None:
    """Write it, whole or not at all. Raises ``QmgenError`` where that cannot be done."""
    leaves = {str(k): np.asarray(leaf) for k, leaf in enumerate(jax.tree.leaves(model.statistics))}
    metadata: Mapping[str, Any] = {**model.about, "kind": KIND, "network": model.network.to_json()}
    checkpoint.save(path, {"params": model.params, "statistics": leaves}, metadata)


def load_model(path: Path) -> StoredHamiltonian:
    """The network at ``path``: a ``model.safetensors``, or the folder of a ``qmgen train energy`` or ``labels``.

    Raises ``UsageError`` with one line where there is none, it is damaged, or is something else.
    """
    file = path / MODEL if path.is_dir() else path
    if not file.exists():
        raise UsageError(f"no trained network in {path} ({_state(path)}): give the --out of `qmgen train energy`")
    stored = read_model(file, KIND, "trained Hamiltonian", "qmgen train energy")
    arrays, about = stored.arrays, stored.about
    with of_this_version(file):
        require(about, xc=str, basis=str, basis_checksum=str, grid_level=int, elements=list)
        if not all(isinstance(z, int) for z in about["elements"]):
            raise TypeError("its elements are no numbers")
        network = network_from(about.pop("network"))
        params = jax.eval_shape(lambda: network.init(jax.random.key(0)))
        statistics = {name.partition(".")[2]: leaf for name, leaf in arrays.items() if name.startswith("statistics.")}
        like = {
            "params": params,
            "statistics": {k: jax.ShapeDtypeStruct(v.shape, v.dtype) for k, v in statistics.items()},
        }
        tree = checkpoint.unflatten(arrays, like, str(file))
        ordered = [tree["statistics"][str(k)] for k in range(len(statistics))]
        made = network.statistics_from(ordered)
    return StoredHamiltonian(network, tree["params"], made, about, file, stored.checksum)


def _state(path: Path) -> str:
    """Why there is no network at ``path``."""
    if not path.is_dir() or not (path / "config.toml").exists():
        return "nothing there"
    if any(path.glob(f"rows-*/seed-*/{MODEL}")):
        return "it is a run of `qmgen train schnet`"
    return "its training is not finished"


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
        self._functional = functional(self.level[0])

    def __call__(self, problems: Sequence[Problem], numbers: Sequence[np.ndarray]) -> list[np.ndarray]:
        """A density (n, n) float64 for each of ``problems``, whose atoms are ``numbers`` (A,); not a number where the
        molecule has an element that the network was not trained on."""
        return [self._one(problem, atoms) for problem, atoms in zip(problems, numbers, strict=True)]

    def _one(self, problem: Problem, numbers: np.ndarray) -> np.ndarray:
        n = np.shape(problem.overlap)[0]
        if not self._elements.issuperset(numbers.tolist()):
            return np.full((n, n), np.nan)
        positions = np.asarray(problem.positions)
        shape = Shape(n, len(positions), 1)
        inputs = bare_inputs(System(np.asarray(numbers, np.int64), positions[: len(numbers)]), shape, self._basis)
        typed = jax.tree.map(jnp.asarray, (problem, inputs))
        known = self.stored.network, self._functional, current()
        return np.asarray(_density(*known, self.stored.params, self.stored.statistics, *typed))


# ``backend`` tells compiled programs apart: it is that of this process
@partial(jax.jit, static_argnums=(0, 1, 2))
def _density(
    network: Network,
    known: Functional,
    backend: Backend,
    params: Any,
    statistics: Any,
    problem: Problem,
    inputs: Inputs,
) -> jax.Array:
    case = completed(backend, known, problem, inputs, on_coarse=problem.coarse is not None)
    correction = network.correction(params, statistics, network.describe(case.inputs))
    return density_of(problem, case.inverse_root, case.inputs.initial + correction)


def open_guess(path: str | Path) -> LearnedGuess:
    """The network at ``path``, as ``load_model``. Raises ``UsageError`` with one line where there is none."""
    return LearnedGuess(load_model(Path(path)))
