"""What a training of a Hamiltonian minimizes, and how it is measured.

The loss without labels, the loss with them, and how far a network's energies are above the converged ones:

    energy   mean over molecules of  E[D(H_init + W)] - E[D(H_init)]          (Hartree; the second term is a constant
                                                                               that keeps float32 sums exact)
    labels   mean over molecules of the mean over elements of |H_init + W - F*|, plus energy_weight * (E - E*)

Both after the same network; the first reads no label.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np

from qmgen.constants import HARTREE_TO_EV
from qmgen.dft.backend import Backend, current
from qmgen.dft.functionals import Functional
from qmgen.dft.variational import RoothaanStep, energy_and_gradient, roothaan_steps
from qmgen.learning.energy.problems import (
    Case,
    EnergyBatch,
    PreparedGeometry,
    References,
)
from qmgen.learning.fp8 import NONE, ScalingRecipe, by_recipe
from qmgen.learning.hamiltonian.network import Network
from qmgen.learning.training.loop import Score

Params = Any
MEV: Final = 1000.0 * HARTREE_TO_EV
#: rebuilds after which every training is measured, beside none
REFINED: Final = 3


@dataclass(frozen=True)
class LossWeights:
    """What is minimized: ``energy_weight`` of the energy and ``label_weight`` of the Hamiltonian's error, whose cost is
    its size (``l1``) or its square."""

    refine: int
    energy_weight: float = 1.0
    label_weight: float = 0.0
    squared: bool = False


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["statistics"],
    meta_fields=["network", "functional", "aim", "recipe", "backend"],
)
@dataclass(frozen=True)
class HamiltonianLoss:
    """``loss(parameters, batch)``: () float64. By a ``recipe`` of FP8 each molecule's activations have scales of their
    own. ``backend`` tells compiled programs apart: it is that of this process."""

    network: Network
    statistics: Any
    functional: Functional
    aim: LossWeights
    recipe: ScalingRecipe
    backend: Backend

    def __call__(self, parameters: Params, batch: EnergyBatch) -> Any:
        parameters = by_recipe(parameters, self.recipe)
        correction = jax.vmap(lambda seen: self.network.correction(parameters, self.statistics, seen))(batch.seen)
        correction = correction.astype(batch.baseline.dtype)
        weights = batch.weights.astype(batch.baseline.dtype)
        each = jnp.zeros_like(batch.baseline)
        if self.aim.energy_weight:
            each += self.aim.energy_weight * self._energies(batch, correction)
        if self.aim.label_weight:
            each += self.aim.label_weight * self._errors(batch, correction)
        return (each * weights).sum() / jnp.maximum(weights.sum(), 1.0)

    def _energies(self, batch: EnergyBatch, correction: jax.Array) -> jax.Array:
        """(B,) energies above those without a correction; a linear term has their derivative."""

        def one(pair: tuple[Case, jax.Array]) -> tuple[jax.Array, jax.Array]:
            case, w = pair
            hamiltonian = case.inputs.initial + w
            given = case.problem, case.inverse_root, hamiltonian, self.aim.refine
            return energy_and_gradient(self.functional, *given)

        fixed = jax.lax.stop_gradient((batch.cases, correction))
        # on a CPU one after another, each in the cache
        every = jax.lax.map(one, fixed) if jax.default_backend() == "cpu" else jax.vmap(one)(fixed)
        energy, slope = jax.lax.stop_gradient(every)
        return energy - batch.baseline + ((correction - fixed[1]) * slope).sum((1, 2))

    def _errors(self, batch: EnergyBatch, correction: jax.Array) -> jax.Array:
        """(B,) mean error of the Hamiltonian's elements, padding left out."""
        off = correction - (batch.targets - batch.cases.inputs.initial)
        cost = off * off if self.aim.squared else jnp.abs(off)
        n = jnp.asarray(batch.cases.problem.n_real, cost.dtype)
        real = jnp.arange(off.shape[-1])[None, :] < n[:, None]
        return (cost * real[:, :, None] * real[:, None, :]).sum((1, 2)) / (n * n)


@partial(jax.jit, static_argnums=0)
def _correct(network: Network, statistics: Any, parameters: Params, seen: Any) -> jax.Array:
    return network.correction(parameters, statistics, seen)


class HamiltonianTask:
    """What ``training.loop`` trains; ``references`` are those of the ``monitored`` geometries."""

    def __init__(
        self,
        network: Network,
        statistics: Any,
        functional: Functional,
        aim: LossWeights,
        references: References,
        monitored: Sequence[int],
        recipe: ScalingRecipe = NONE,
    ) -> None:
        self.network, self.statistics, self.functional = network, statistics, functional
        self.references, self.monitored = references, list(monitored)
        self.loss = HamiltonianLoss(network, statistics, functional, aim, recipe, current())

    def predict(self, parameters: Params, ready: PreparedGeometry) -> np.ndarray:
        """(n, n) the predicted Hamiltonian in Hartree."""
        found = _correct(self.network, self.statistics, parameters, ready.seen)
        return np.asarray(ready.case.inputs.initial) + np.asarray(found, np.float64)

    def trials(self, ready: PreparedGeometry, hamiltonian: np.ndarray) -> tuple[RoothaanStep, RoothaanStep]:
        """What follows from a Hamiltonian at once, and after ``REFINED`` rebuilds."""
        return jax.tree.map(np.asarray, _both(self.functional, current(), ready.case, hamiltonian))

    def excesses(self, parameters: Params | None) -> np.ndarray:
        """(monitored, 2) energies above their references in Hartree, at once and after ``REFINED`` rebuilds; those of
        no correction for None."""
        energies = []
        for index in self.monitored:
            ready = self.references.store.get(index)
            if ready is None or index not in self.references.energies:
                continue
            initial = np.asarray(ready.case.inputs.initial)
            hamiltonian = initial if parameters is None else self.predict(parameters, ready)
            trials = self.trials(ready, hamiltonian)
            for one in trials:  # either may lower the reference, of which both are measured
                self.references.excess(index, float(one.energy), np.asarray(one.density))
            energies.append([float(one.energy) - self.references.energies[index] for one in trials])
        return np.array(energies)

    def validate(self, parameters: Params) -> Score:
        """For ``training.loop``: mean excess energies of the monitored geometries in meV."""
        plain, refined = MEV * self.excesses(parameters).mean(axis=0)
        errors = {"excess": float(plain), f"excess_refined_{REFINED}": float(refined)}
        chosen = float(plain) if self.loss.aim.refine == 0 else float(refined)
        return Score(errors, f"excess {plain:.4g} meV, {refined:.4g} after {REFINED} rebuilds", chosen)


# ``backend`` tells compiled programs apart: it is that of this process
@partial(jax.jit, static_argnums=(0, 1))
def _both(
    functional: Functional, backend: Backend, case: Case, hamiltonian: jax.Array
) -> tuple[RoothaanStep, RoothaanStep]:
    chain = roothaan_steps(functional, case.problem, case.inverse_root, hamiltonian, REFINED)
    return jax.tree.map(lambda leaf: leaf[0], chain.before), chain.last


@partial(jax.jit, static_argnums=(0, 1, 2))
def uncorrected_energy(functional: Functional, backend: Backend, refine: int, case: Case) -> jax.Array:
    """() the energy in Hartree without a correction, after ``refine`` rebuilds."""
    return roothaan_steps(functional, case.problem, case.inverse_root, case.inputs.initial, refine).last.energy
