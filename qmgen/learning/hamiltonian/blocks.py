"""A network over atoms and pairs of atoms whose correction of the Hamiltonian turns with the molecule.

    W_ab (shell i of atom a, shell j of atom b) = sum_m c_m M_m  +  what can be built of invariants, the pair's
                                                                  direction r and the atoms' vectors v:
        ss   w
        sp   w r + sum_k w_k v_k
        pp   w 1 + w r r + sum_k w_k (u_k (x) v_k)

The M are blocks of the physical matrices (``describe_blocks``), the coefficients depend on invariants alone.
Symmetrized, and zero at first: training begins with the Hamiltonian of spherical atoms.

Messages between atoms over invariant features x (A, F) and vectors v (A, 3, K) are in the manner of PaiNN (K. Schuett
et al., ICML 2021): every pair's filter depends on the physical matrices of the pair.
"""

from __future__ import annotations

from typing import Any, Final

import jax
import jax.numpy as jnp

from qmgen.learning.fp8 import matmul
from qmgen.learning.hamiltonian.block_description import (
    MATRICES,
    RADIAL,
    BlockParts,
    BlocksDescription,
    BlocksShape,
    joined,
    matrix_of,
)

Array = jax.Array

BLOCKS_PRESETS: Final = {
    "blocks-tiny": BlocksShape(48, 12, 2),
    "blocks-small": BlocksShape(96, 24, 3),
    "blocks-base": BlocksShape(192, 48, 4),
}

Params = dict[str, Any]


def dense(key: Array, inputs: int, outputs: int, scale: float = 1.0) -> Params:
    """Weights of spread scale / sqrt(inputs), no bias at first."""
    weight = scale * jax.random.normal(key, (inputs, outputs), jnp.float32) / jnp.sqrt(jnp.float32(inputs))
    return {"weight": weight, "bias": jnp.zeros(outputs, jnp.float32)}


def apply(params: Params, x: Array) -> Array:
    """x (..., inputs) -> (..., outputs)."""
    return matmul(x, params["weight"]) + params["bias"]


def two_layers(key: Array, inputs: int, hidden: int, outputs: int, scale: float = 1.0) -> Params:
    """A dense layer, SiLU, a dense layer."""
    first, second = jax.random.split(key)
    return {"in": dense(first, inputs, hidden), "out": dense(second, hidden, outputs, scale)}


def run_two(params: Params, x: Array) -> Array:
    return apply(params["out"], jax.nn.silu(apply(params["in"], x)))


def message_params(key: Array, width: int, vectors: int) -> Params:
    keys = jax.random.split(key, 6)
    out = width + 3 * vectors
    return {
        "atoms": two_layers(keys[0], width, width, out),
        "pairs": dense(keys[1], width, out),
        "mix_left": dense(keys[2], vectors, vectors),
        "mix_right": dense(keys[3], vectors, vectors),
        "update": two_layers(keys[4], width + 2 * vectors, width, width + 2 * vectors),
        "pair_update": two_layers(keys[5], 3 * width, width, width),
    }


def message(
    params: Params, x: Array, v: Array, pairs: Array, direction: Array, envelope: Array
) -> tuple[Array, Array, Array]:
    """One round: x (A, F), v (A, 3, K), features of pairs (A, A, F) -> the same, renewed."""
    width, vectors = x.shape[-1], v.shape[-1]
    filters = apply(params["pairs"], pairs) * envelope[..., None]
    sent = filters * run_two(params["atoms"], normed(x))[None, :, :]
    scalar, along, through, across = jnp.split(sent, [width, width + vectors, width + 2 * vectors], axis=-1)
    # atom b sends to atom a; a vector that b has may turn where the pair points
    x = x + scalar.sum(1) / 4.0
    received = jnp.einsum("abk,abx->axk", along, direction) + jnp.einsum("abk,bxk->axk", through, v)
    turned = jnp.einsum("bxk,abx->abk", v, direction)
    received = received + jnp.einsum("abk,abx->axk", across * turned, direction)
    v = v + received / 4.0
    left, right = matmul(v, params["mix_left"]["weight"]), matmul(v, params["mix_right"]["weight"])
    length = jnp.sqrt((left * left).sum(1) + 1e-4)
    product = (left * right).sum(1)
    out = run_two(params["update"], jnp.concatenate([normed(x), length, product], axis=-1))
    change, scale, add = jnp.split(out, [width, width + vectors], axis=-1)
    x = x + change
    v = v * (1.0 + 0.5 * jnp.tanh(scale))[:, None, :] + 0.5 * add[:, None, :] * left
    seen = jnp.concatenate([pairs, *_both(normed(x), pairs)], axis=-1)
    pairs = pairs + run_two(params["pair_update"], seen)
    return x, v, pairs


def normed(x: Array) -> Array:
    """Without mean, of spread 1."""
    x = x - x.mean(-1, keepdims=True)
    return x / jnp.sqrt((x * x).mean(-1, keepdims=True) + 1e-5)


def _both(x: Array, pairs: Array) -> list[Array]:
    shape = (*pairs.shape[:2], x.shape[-1])
    return [jnp.broadcast_to(x[:, None, :], shape), jnp.broadcast_to(x[None, :, :], shape)]


#: Hartree that one unit of the last layer stands for
UNIT: Final = 0.1


def init_blocks(key: Array, shape: BlocksShape) -> Params:
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


def correct_blocks(params: Params, shape: BlocksShape, seen: BlocksDescription) -> Array:
    """(n, n) float32: W in Hartree, symmetric, zero on padding. One molecule; ``seen`` with normalized invariants."""
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


def _blocks(params: Params, shape: BlocksShape, seen: BlocksDescription, x: Array, v: Array, pairs: Array) -> Array:
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


def _built(shape: BlocksShape, out: Array, direction: Array, left: Array, right: Array) -> BlockParts:
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
    # ps comes of the symmetrization
    return BlockParts(ss.reshape(*lead, s, s), 2.0 * sp, jnp.zeros((*lead, p, 3, s), out.dtype), pp)
