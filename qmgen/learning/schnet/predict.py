"""From what the network gives for each atom to the targets, in the units of ``Batch.values``.

scalar   Σ_i o_i
dipole   Σ_i (q_i − q̄) r_i · (Debye per e·Bohr) / scale     latent charges q = o, of a neutral molecule
forces   −∂(energy)/∂r_i                                     in the energy's scale per Bohr
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from qmgen.constants import AU_TO_DEBYE
from qmgen.learning.schnet.model import atomwise
from qmgen.learning.schnet.parameters import Params
from qmgen.learning.schnet.shape import SchNetShape
from qmgen.learning.targets import Kind, Target
from qmgen.learning.targets.normalisation import Normalisation


def outputs_of(targets: Sequence[Target]) -> int:
    """How many numbers for each atom these targets need: forces come from the energy's."""
    return sum(target.kind is not Kind.FORCES for target in targets)


def predict(
    params: Params,
    shape: SchNetShape,
    targets: Sequence[Target],
    normalisation: Normalisation,
    numbers: Any,
    positions: Any,
) -> dict[str, jax.Array]:
    """By name: scalars (B, 1), the dipole moment (B, 3), forces (B, n, 3), normalised.

    ``numbers`` (B, n) atomic numbers, 0 for padding; ``positions`` (B, n, 3) in Bohr.
    """
    place = {target.name: index for index, target in enumerate(t for t in targets if t.kind is not Kind.FORCES)}

    def energies(positions: Any) -> tuple[jax.Array, jax.Array]:
        atoms = atomwise(params, shape, numbers, positions)
        return jnp.sum(atoms[..., place["energy"]]), atoms

    positions = jnp.asarray(positions, params["embedding"].dtype)
    found: dict[str, jax.Array] = {}
    if any(target.kind is Kind.FORCES for target in targets):
        gradient, atoms = jax.grad(energies, has_aux=True)(positions)
        found["forces"] = -gradient
    else:
        atoms = atomwise(params, shape, numbers, positions)
    for target in targets:
        if target.kind is Kind.SCALAR:
            found[target.name] = jnp.sum(atoms[..., place[target.name]], axis=1, keepdims=True)
        elif target.kind is Kind.DIPOLE:
            moment = _dipole(atoms[..., place[target.name]], jnp.asarray(numbers) > 0, positions)
            found[target.name] = moment * (AU_TO_DEBYE / normalisation.scale[target.name])
    return {target.name: found[target.name] for target in targets}


def _dipole(charges: jax.Array, there: jax.Array, positions: jax.Array) -> jax.Array:
    """(B, 3) e·Bohr. What the charges (B, n) miss of neutrality is taken off all atoms alike."""
    atoms = jnp.maximum(jnp.sum(there, axis=1, keepdims=True), 1).astype(charges.dtype)
    neutral = jnp.where(there, charges - jnp.sum(charges, axis=1, keepdims=True) / atoms, 0.0)
    return jnp.einsum("bi,bix->bx", neutral, positions, precision=jax.lax.Precision.HIGHEST)
