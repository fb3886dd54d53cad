"""The network of arXiv 2402.04030: a transformer whose tokens are atomic orbitals, and which corrects a Hamiltonian.

    x_i = type_i + P features(r_i)            type: element and place within the atom
    x   = layers(x, physical matrices)
    W_ij = s_i s_j (q_i . k_j + k_i . q_j) / 2 sqrt(d),      q = Q norm(x), k = K norm(x), s by type

in the molecule's own frame; into it the matrices are turned, and out of it W. Q is zero at the start, and so is W.

``shape.averaged`` takes the mean over the four right-handed frames on these axes.
``shape.published`` gives the form of the authors' code. Where ours differs from it:

    published                                    ours
    W = q q^T / sqrt(d), no negative eigenvalue  symmetric, of any sign
    W = 0 has no gradient, so it starts off 0    starts at W = 0
    softmax over the queries                     over the keys
    axes of the frame without sign               signed by third moments, right-handed
    matrices and W as in the laboratory          turned with the frame: W turns with the molecule
    L^-1 h L^-T, of the order of the atoms       S^-1/2 h S^-1/2
    matrices without a head left out             matrices shared out over the layers, with a learnt weight
    embedding of types divided by sqrt(d)        of the size of the position's

A version of that code also joins the heads without bringing their axis back to its place; no form here does.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from qmgen.learning.hamiltonian.inputs import Inputs
from qmgen.learning.hamiltonian.qpt.biases import SCALARS, assignment, matrices_of
from qmgen.learning.hamiltonian.qpt.features import COUNT, position_features
from qmgen.learning.hamiltonian.qpt.frame import TURNS, orbital_rotation, principal_frame
from qmgen.learning.hamiltonian.qpt.layers import Params, block, block_init, linear, linear_init, norm, norm_init
from qmgen.learning.hamiltonian.qpt.shape import ELEMENTS, PLACES, QptShape

Array = jax.Array


class Description(NamedTuple):
    """What does not change in training; n orbitals, float32.

    Attributes:
        types: (n,) int32, row of the embedding; padding 0.
        real: (n,) bool.
        places: (n, 3) position of each orbital in the frame, Bohr; axis: (n,) int32, that of a p orbital, 3 for s.
        matrices: (MATRICES, n, n) biases of attention.
        rotation: (n, n) orbitals of the frame in terms of those of the laboratory.
    """

    types: Any
    real: Any
    places: Any
    axis: Any
    matrices: Any
    rotation: Any


def init(key: Array, shape: QptShape) -> Params:
    """Fresh float32 parameters; those of the layers are stacked along a first axis."""
    keys = jax.random.split(key, 5)
    embedding = jax.random.normal(keys[0], (ELEMENTS * PLACES, shape.width), jnp.float32)
    params = {
        "embedding": embedding * shape.width**-0.5 if shape.published else embedding,
        "position": linear_init(keys[1], COUNT, shape.width),
        "layers": jax.vmap(lambda k: block_init(k, shape.width, shape.heads, shape.layers, shape.published))(
            jax.random.split(keys[2], shape.layers)
        ),
        "norm": norm_init(shape.width),
        "query": linear_init(keys[3], shape.width, shape.width),
    }
    if shape.published:
        return params
    return {
        **params,
        "query": jax.tree.map(jnp.zeros_like, params["query"]),
        "key": linear_init(keys[4], shape.width, shape.width),
        "scale": jnp.ones(ELEMENTS * PLACES, jnp.float32),
    }


def count(shape: QptShape) -> int:
    """How many parameters there are, without making them."""
    return sum(
        math.prod(leaf.shape) for leaf in jax.tree.leaves(jax.eval_shape(lambda: init(jax.random.key(0), shape)))
    )


def describe(shape: QptShape, inputs: Inputs) -> Description:
    """Frame, places and biases of one molecule, computed in the type of ``inputs``. Pure; maps over a leading axis.

    Atomic numbers of ``ELEMENTS`` and above, and more than ``PLACES`` orbitals of an atom, have no embedding: refuse
    them before.
    """
    real = inputs.orbital_l >= 0
    positions = jnp.asarray(inputs.positions)
    if shape.published:
        weights = jnp.zeros(len(inputs.numbers), positions.dtype).at[inputs.orbital_atom].add(real)
    else:
        weights = jnp.asarray(inputs.numbers).astype(positions.dtype)
    centre, axes = principal_frame(positions, weights, signed=not shape.published)
    places = jnp.where(real[:, None], ((positions - centre) @ axes)[inputs.orbital_atom], 0.0)
    rotation = orbital_rotation(inputs, jnp.eye(3, dtype=axes.dtype) if shape.published else axes)
    types = jnp.where(real, inputs.numbers[inputs.orbital_atom] * PLACES + inputs.orbital_place, 0)
    return Description(
        types.astype(jnp.int32),
        real,
        places.astype(jnp.float32),
        jnp.where(inputs.orbital_l == 1, inputs.orbital_m, 3).astype(jnp.int32),
        matrices_of(inputs, places, rotation, shape.published).astype(jnp.float32),
        rotation.astype(jnp.float32),
    )


def correct(params: Params, shape: QptShape, seen: Description) -> Array:
    """(n, n) W of a described molecule, in Hartree, exactly symmetric, zero on padding; float32."""
    if shape.averaged:
        turns = jnp.asarray(TURNS, jnp.float32)

        def one(turn: Array) -> Array:
            sign = jnp.append(turn, 1.0)[seen.axis]
            both = sign[:, None] * sign[None, :]
            turned = jnp.where(SCALARS[:, None, None], seen.matrices, seen.matrices * both)
            return both * _in_frame(params, shape, seen, seen.places * turn, turned)

        found = jax.vmap(one)(turns).mean(0)
    else:
        found = _in_frame(params, shape, seen, seen.places, seen.matrices)
    # zero rows of the rotation leave padding out
    found = seen.rotation @ found @ seen.rotation.T
    return 0.5 * (found + found.T)


def _in_frame(params: Params, shape: QptShape, seen: Description, places: Array, matrices: Array) -> Array:
    x = params["embedding"][seen.types] + linear(params["position"], position_features(places, shape.published))
    n = len(seen.types)
    matrices = jnp.concatenate([matrices, jnp.zeros((1, n, n), jnp.float32)])  # none: the last

    def step(x: Array, layer: tuple[Params, Array]) -> tuple[Array, None]:
        return block(layer[0], x, matrices[layer[1]], seen.real, shape.published), None

    given = jnp.asarray(assignment(shape))
    x, _ = jax.lax.scan(jax.checkpoint(step) if shape.remat else step, x, (params["layers"], given))
    x = norm(params["norm"], x)
    q = linear(params["query"], x)
    if shape.published:
        return q @ q.T / math.sqrt(shape.width)
    scale = params["scale"][seen.types]
    found = scale[:, None] * (q @ linear(params["key"], x).T) * scale[None, :]
    return 0.5 * (found + found.T) / math.sqrt(shape.width)


def correction(params: Params, shape: QptShape, inputs: Inputs) -> Array:
    """``correct`` of what ``describe`` sees: the predicted Hamiltonian is ``inputs.initial`` + this."""
    return correct(params, shape, describe(shape, inputs))
