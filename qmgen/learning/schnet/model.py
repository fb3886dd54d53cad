"""SchNet: continuous-filter convolutions over the atoms of a molecule.

    h⁰_i = embedding(Z_i)
    W_{ij} = F₂ ssp(F₁ g(r_{ij})) · ½ (cos(π r_{ij} / r_c) + 1)        filter of a pair, zero beyond the cutoff r_c
    h^{k+1}_i = h^k_i + L ssp(L₂ Σ_j W_{ij} ∘ (L₁ h^k_j))
    o_i = R₂ ssp(R₁ h_i)

with g_m(r) = exp(-(r - μ_m)² / 2Δ²) for evenly spaced μ_m at distance Δ on [0, r_c], and ssp(x) = log(½ eˣ + ½).
K. T. Schütt et al., NeurIPS 2017 (arXiv 1706.08566); the details are those of PyTorch Geometric 2.8, whose output this
equals with the same weights, for all pairs within the cutoff (there is no limit on the number of neighbours).
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from qmgen.learning.fp8 import matmul
from qmgen.learning.schnet.pairs import distances, gather, pair_table
from qmgen.learning.schnet.parameters import Params
from qmgen.learning.schnet.shape import SchNetShape

_LOG_2 = math.log(2.0)


def atomwise(params: Params, shape: SchNetShape, numbers: Any, positions: Any) -> jax.Array:
    """What the network gives for each atom, (B, n, outputs); zero at padding.

    ``numbers`` (B, n) are atomic numbers, 0 for padding; ``positions`` (B, n, 3) in Bohr. Computed in the type of
    ``params``. Numbers of ``shape.elements`` and above have no embedding: refuse them before.
    """
    numbers, positions = jnp.asarray(numbers), jnp.asarray(positions, params["embedding"].dtype)
    there = numbers > 0
    table = pair_table(numbers.shape[1])
    apart = distances(positions)
    both = there[:, table.first] & there[:, table.second]
    described = gaussians(apart, shape)
    envelope = jnp.where(both & (apart <= shape.cutoff), 0.5 * (jnp.cos(apart * (math.pi / shape.cutoff)) + 1.0), 0.0)
    atoms = params["embedding"][numbers]
    for block in range(shape.interactions):
        atoms = atoms + _interaction(params["interactions"][str(block)], atoms, described, envelope)
    out = _linear(params["lin2"], shifted_softplus(_linear(params["lin1"], atoms)))
    return jnp.where(there[..., None], out, 0.0)


def gaussians(apart: jax.Array, shape: SchNetShape) -> jax.Array:
    """Distances (...) in Bohr as (..., gaussians)."""
    step = shape.cutoff / (shape.gaussians - 1)
    centres = jnp.linspace(0.0, shape.cutoff, shape.gaussians, dtype=apart.dtype)
    return jnp.exp((-0.5 / step**2) * (apart[..., None] - centres) ** 2)


def shifted_softplus(x: jax.Array) -> jax.Array:
    """log(½ eˣ + ½)."""
    return jnp.asarray(jax.nn.softplus(x) - _LOG_2)


def _interaction(params: Params, atoms: jax.Array, described: jax.Array, envelope: jax.Array) -> jax.Array:
    filters = _linear(params["filter2"], shifted_softplus(_linear(params["filter1"], described)))
    messages = gather(filters * envelope[..., None], _linear(params["lin1"], atoms))
    return _linear(params["lin"], shifted_softplus(_linear(params["lin2"], messages)))


def _linear(params: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    y = matmul(x, params["weight"])
    return y + params["bias"] if "bias" in params else y
