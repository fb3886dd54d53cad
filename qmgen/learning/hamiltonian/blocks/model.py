"""A network over atoms and pairs of atoms whose correction of the Hamiltonian turns with the molecule.

    W_ab (shell i of atom a, shell j of atom b) = sum_m c_m M_m  +  what can be built of invariants, the pair's
                                                                  direction r and the atoms' vectors v:
        ss   w
        sp   w r + sum_k w_k v_k
        pp   w 1 + w r r + sum_k w_k (u_k (x) v_k)

The M are blocks of the physical matrices (``describe``), the coefficients depend on invariants alone. Symmetrised, and
zero at first: training begins with the Hamiltonian of spherical atoms.
"""

from __future__ import annotations

from typing import Any, Final

import jax
import jax.numpy as jnp

from qmgen.learning.fp8 import matmul
from qmgen.learning.hamiltonian.blocks.describe import MATRICES, RADIAL, Description
from qmgen.learning.hamiltonian.blocks.layers import (
    dense,
    message,
    message_params,
    normed,
    run_two,
    two_layers,
)
from qmgen.learning.hamiltonian.blocks.layout import Parts, joined, matrix_of
from qmgen.learning.hamiltonian.blocks.shape import BlocksShape

Array = jax.Array
Params = dict[str, Any]

#: Hartree that one unit of the last layer stands for
UNIT: Final = 0.1


def init(key: Array, shape: BlocksShape) -> Params:
    """The weights, float32; the last layers are zero."""
    keys = iter(jax.random.split(key, 16 + shape.layers))
    width, vectors, s, p = shape.width, shape.vectors, shape.s, shape.p
    features = invariants_of(shape)
    outputs = outputs_of(shape)
    return {
        "element": 0.5 * jax.random.normal(next(keys), (len(shape.elements), width), jnp.float32),
        "atoms": two_layers(next(keys), features + width, width, width),
        "pairs": two_layers(next(keys), features + RADIAL + 2 * width, width, width),
        "vectors": dense(next(keys), MATRICES * s * p, vectors),
        "layers": [message_params(next(keys), width, vectors) for _ in range(shape.layers)],
        "left": dense(next(keys), vectors, vectors),
        "right": dense(next(keys), vectors, vectors),
        "off": two_layers(next(keys), 3 * width, width, outputs, 0.0),
        "on": two_layers(next(keys), 2 * width, width, outputs, 0.0),
    }


def invariants_of(shape: BlocksShape) -> int:
    """Invariant features of a pair."""
    s, p = shape.s, shape.p
    return MATRICES * (s * s + 2 * s * p + 2 * p * p)


def outputs_of(shape: BlocksShape) -> int:
    """Coefficients of a pair: of the matrices, and of what is built of directions and vectors."""
    s, p, k = shape.s, shape.p, shape.vectors
    return MATRICES * (s + p) ** 2 + s * s + s * p * (1 + 2 * k) + p * p * (2 + 3 * k)


def correction(params: Params, shape: BlocksShape, seen: Description) -> Array:
    """(n, n) float32: W in Hartree, symmetric, zero on padding. One molecule; ``seen`` with normalised invariants."""
    elements = jnp.asarray(shape.elements)
    kind = jnp.clip(jnp.searchsorted(elements, seen.numbers), 0, len(shape.elements) - 1)
    there = (seen.numbers > 0).astype(jnp.float32)
    element = params["element"][kind]
    atoms = jnp.arange(len(seen.numbers))
    own = seen.invariants[atoms, atoms]
    x = run_two(params["atoms"], jnp.concatenate([own, element], -1)) + element
    wide = (*seen.envelope.shape, shape.width)
    both = [jnp.broadcast_to(element[:, None], wide), jnp.broadcast_to(element[None, :], wide)]
    pairs = run_two(params["pairs"], jnp.concatenate([seen.invariants, seen.radial, *both], -1))
    v = matmul(seen.vectors, params["vectors"]["weight"])
    # an atom sends itself nothing; padding neither sends nor is heard
    envelope = seen.envelope * (1.0 - jnp.eye(len(atoms), dtype=seen.envelope.dtype))
    for layer in params["layers"]:
        x, v, pairs = message(layer, x, v, pairs, seen.direction, envelope)
        v = v * there[:, None, None]
    blocks = _blocks(params, shape, seen, normed(x), v, pairs)
    blocks = UNIT * blocks * seen.envelope[..., None, None]
    blocks = 0.5 * (blocks + blocks.transpose(1, 0, 3, 2))
    return matrix_of(seen.layout, blocks)


def _blocks(params: Params, shape: BlocksShape, seen: Description, x: Array, v: Array, pairs: Array) -> Array:
    """(A, A, slots, slots), not yet symmetric."""
    wide = (*pairs.shape[:2], x.shape[-1])
    both = [jnp.broadcast_to(x[:, None], wide), jnp.broadcast_to(x[None, :], wide)]
    off = run_two(params["off"], jnp.concatenate([pairs, *both], -1))
    atoms = jnp.arange(len(x))
    on = run_two(params["on"], jnp.concatenate([x, pairs[atoms, atoms]], -1))
    same = jnp.eye(len(x), dtype=bool)
    out = jnp.where(same[..., None], on[:, None, :], off)
    left, right = matmul(v, params["left"]["weight"]), matmul(v, params["right"]["weight"])
    return _of_matrices(shape, seen.matrices, out) + joined(shape, _built(shape, out, seen.direction, left, right))


def _of_matrices(shape: BlocksShape, matrices: Array, out: Array) -> Array:
    """sum_m c_m M_m, with a coefficient for each two shells."""
    s, p = shape.s, shape.p
    shells = s + p
    factors = out[..., : MATRICES * shells**2].reshape(*out.shape[:2], MATRICES, shells, shells)
    shell = jnp.concatenate([jnp.arange(s), s + jnp.repeat(jnp.arange(p), 3)])
    spread = factors[..., shell, :][..., shell]
    return jnp.einsum("abmij,mabij->abij", spread, matrices)


def _built(shape: BlocksShape, out: Array, direction: Array, left: Array, right: Array) -> Parts:
    """What directions and vectors make: ``left``, ``right`` (A, 3, K)."""
    s, p, k = shape.s, shape.p, left.shape[-1]
    lead = out.shape[:2]
    sizes = [s * s, s * p, s * p * k, s * p * k, p * p, p * p, p * p * k, p * p * k, p * p * k]
    ends, begin = [], MATRICES * (s + p) ** 2
    for size in sizes:
        begin += size
        ends.append(begin)
    _, *pieces = jnp.split(out, [MATRICES * (s + p) ** 2, *ends[:-1]], axis=-1)
    ss, sp_r, sp_a, sp_b, one, pp_r, pp_ab, pp_ra, pp_rb = pieces
    sp = jnp.einsum("abi,abx->abix", sp_r, direction).reshape(*lead, s, p, 3)
    sp += jnp.einsum("abik,axk->abix", sp_a.reshape(*lead, s * p, k), left).reshape(*lead, s, p, 3)
    sp += jnp.einsum("abik,bxk->abix", sp_b.reshape(*lead, s * p, k), right).reshape(*lead, s, p, 3)
    tensor = jnp.einsum("abi,abx,aby->abixy", pp_r, direction, direction) + one[..., None, None] * jnp.eye(
        3, dtype=one.dtype
    )
    tensor += jnp.einsum("abik,axk,byk->abixy", pp_ab.reshape(*lead, p * p, k), left, right)
    ra = jnp.einsum("abik,byk->abiy", pp_ra.reshape(*lead, p * p, k), right)
    rb = jnp.einsum("abik,axk->abix", pp_rb.reshape(*lead, p * p, k), left)
    tensor += direction[..., None, :, None] * ra[..., None, :] + rb[..., None] * direction[..., None, None, :]
    pp = tensor.reshape(*lead, p, p, 3, 3).transpose(0, 1, 2, 4, 3, 5)
    # ps comes of the symmetrisation
    return Parts(ss.reshape(*lead, s, s), 2.0 * sp, jnp.zeros((*lead, p, 3, s), out.dtype), pp)
