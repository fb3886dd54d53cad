"""The network of arXiv 2402.04030: a transformer whose tokens are atomic orbitals, and which corrects a Hamiltonian.

    x_i = type_i + P features(r_i)            type: element and place within the atom
    x   = layers(x, physical matrices)
    W_ij = s_i s_j (q_i . k_j + k_i . q_j) / 2 sqrt(d),      q = Q norm(x), k = K norm(x), s by type

in the molecule's own frame; into it the matrices are turned, and out of it W. Q is zero at the start, and so is W.

``shape.averaged`` takes the mean over the four right-handed frames on these axes.
``shape.published`` gives the form of the authors' code. The differences:

    published                                    here
    W = q q^T / sqrt(d), no negative eigenvalue  symmetric, of any sign
    W = 0 has no gradient, so it starts off 0    starts at W = 0
    softmax over the queries                     over the keys
    axes of the frame without sign               signed by third moments, right-handed
    matrices and W as in the laboratory          turned with the frame: W turns with the molecule
    L^-1 h L^-T, of the order of the atoms       S^-1/2 h S^-1/2
    matrices without a head left out             matrices shared out over the layers, with a learned weight
    embedding of types divided by sqrt(d)        of the size of the position's

A version of that code also joins the heads without bringing their axis back to its place; no form here does.

The layers are those of a pre-norm transformer over the orbitals of one molecule:

    x <- x + O concat_h A_h V_h norm(x),      A_h = softmax over keys of ( Q_h K_h^T / sqrt(d_h) + g_h B_h )
    x <- x + D gelu(U norm(x))

B_h is the physical matrix of head h (``matrices_of``) and g_h a weight learned for it.

The axes of the frame:

    C = sum_a w_a (r_a - c)(r_a - c)^T,      c = sum_a w_a r_a / sum_a w_a,      C e_k = lambda_k e_k

in ascending order of lambda. An eigenvector has no sign; here it follows from the third moments

    t_k = sum_a w_a (e_k . (r_a - c))^3 >= 0

with w the nuclear charges, and if the axes then are left-handed, the one of least |t_k| is turned round: its sign is
the least certain, and a molecule must not be confused with its mirror image.

What that does not settle:
- Two moments vanish: the signs are what the eigensolver gave, made right-handed. Where this comes of a twofold axis
  (water with equal bonds) the choices differ by a rotation that maps the molecule onto itself, and so do the answers:
  the energy that follows is the same, but such an answer need not have the molecule's symmetry. Where they vanish by
  accident, the frame jumps as the geometry passes through. The mean over the four right-handed choices of sign
  (``TURNS``), at four times the cost, has neither fault and needs no rule.
- Two lambdas coincide (symmetric tops, linear molecules, methane): the axes of that plane or space are the
  eigensolver's. They depend on the orientation, and nearly equal ones on small changes of the geometry. Nothing is
  infinite, but the answer does not turn with the molecule there.
Frames are made once for a geometry and never differentiated: derivatives of eigenvectors are infinite in such cases.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular

from qmgen.dft.orbitals import overlap_powers
from qmgen.learning.fp8 import matmul
from qmgen.learning.hamiltonian import Inputs

#: atomic numbers below this one, and places within an atom below that one, have an embedding
ELEMENTS: Final = 19
PLACES: Final = 16


@dataclass(frozen=True)
class QptShape:
    """All that fixes the shapes of the parameters and what is computed from them.

    Attributes:
        width: features of an orbital; a multiple of ``heads``.
        heads: heads of attention; even, since a matrix is given to two of them.
        layers: blocks of attention and perceptron.
        published: the form of the authors' code, defects included (see ``model``).
        averaged: take the mean over the four right-handed choices of the signs of the axes (see ``frame``).
        remat: compute a layer again in the backward pass instead of keeping what it computed.
    """

    width: int
    heads: int
    layers: int
    published: bool = False
    averaged: bool = False
    remat: bool = False

    def __post_init__(self) -> None:
        if self.published and self.averaged:
            raise ValueError("the published form has one frame")
        if min(self.width, self.heads, self.layers) < 1:
            raise ValueError("a network has at least one of everything")
        if self.width % self.heads or self.heads % 2:
            raise ValueError(f"{self.heads} heads: an even number that divides the width {self.width} is needed")

    def as_published(self) -> QptShape:
        """The same size in the published form."""
        return replace(self, published=True, averaged=False)


#: the published sizes: about 5, 22, 86, 302 and 708 million parameters
QPT_PRESETS: Final = {
    "qpt-tiny": QptShape(width=192, heads=6, layers=12),
    "qpt-small": QptShape(width=384, heads=6, layers=12),
    "qpt-base": QptShape(width=768, heads=12, layers=12),
    "qpt-medium": QptShape(width=1024, heads=16, layers=24),
    "qpt-large": QptShape(width=1280, heads=16, layers=36),
}


Array = jax.Array

#: signs of the axes by which right-handed frames on the same axes differ
TURNS: Final = ((1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1))


def principal_frame(positions: Array, weights: Array, signed: bool = True) -> tuple[Array, Array]:
    """Center (3,) and axes (3, 3), one a column, of points (A, 3) with ``weights`` (A,), zero for padding.

    ``signed=False`` leaves the eigenvectors as they come, left-handed ones too, as the published code does.
    """
    total = jnp.maximum(weights.sum(), 1.0)
    center = (weights @ positions) / total
    off = positions - center
    covariance = (off * weights[:, None]).T @ off / total
    _, axes = jnp.linalg.eigh(covariance)
    if not signed:
        return center, axes
    third = weights @ (off @ axes) ** 3
    signs = jnp.where(third < 0, -1.0, 1.0).astype(axes.dtype)
    least = jnp.arange(3) == jnp.argmin(jnp.abs(third))
    handed = jnp.linalg.det(axes * signs)
    return center, axes * jnp.where(least & (handed < 0), -signs, signs)


def orbital_rotation(inputs: Inputs, axes: Array) -> Array:
    """(n, n) U with M_frame = U^T M U and M = U M_frame U^T: the p orbitals along ``axes`` in terms of those along x, y
    and z. s orbitals stay; rows and columns of padding are zero."""
    atom, momentum, component = inputs.orbital_atom, inputs.orbital_l, inputs.orbital_m
    first = inputs.orbital_place - component  # of the shell
    same = (atom[:, None] == atom[None, :]) & (first[:, None] == first[None, :])
    same &= (momentum >= 0)[:, None] & (momentum[:, None] == momentum[None, :])
    entries = jnp.where((momentum == 1)[:, None], axes[component[:, None], component[None, :]], 1.0)
    return jnp.where(same, entries, 0.0).astype(axes.dtype)


WAVES: Final = 20
#: the longest wave, Bohr
LONGEST: Final = 20.0
COUNT: Final = 3 + 2 * 3 * WAVES


def position_features(positions: Array, published: bool = False) -> Array:
    """(n, 3) in the frame -> (n, COUNT) in the same type.

    A position as 123 numbers: x, y and z in the molecule's frame, and sines and cosines of them of 20 wavelengths.

        r_k,   cos(2 pi f r_k / 20),   sin(2 pi f r_k / 20),      f = 1 ... 20;  r in Bohr

    from 20 Bohr down to 1. The published code has f = 0 ... 19: three of its numbers are 1 and three are 0 everywhere.
    """
    first = 0 if published else 1
    steps = jnp.arange(first, first + WAVES, dtype=positions.dtype) * (2.0 * math.pi / LONGEST)
    angles = (positions[:, None, :] * steps[:, None]).reshape(len(positions), 3 * WAVES)
    return jnp.concatenate([positions, jnp.cos(angles), jnp.sin(angles)], axis=1)


MATRICES: Final = 7
#: numbers of pairs of places, not matrices over orbitals: they do not turn with the axes
SCALARS: Final = np.arange(MATRICES) == 1


def matrices_of(inputs: Inputs, places: Array, rotation: Array, published: bool = False) -> Array:
    """(MATRICES, n, n), zero on padding, from positions ``places`` (n, 3) and the rotation of the orbitals (n, n).

    Physical matrices as biases of attention, each divided by its largest absolute value.

        0  core Hamiltonian                    4  two-electron part of the initial density
        1  dot products of positions           5  its semilocal potential
        2  core Hamiltonian, orthogonalized    6  its Hamiltonian
        3  initial density

    Orthogonalized is S^-1/2 h S^-1/2. The published form has L^-1 h L^-T with S = L L^T, which depends on the order of
    the orbitals: the same molecule with its atoms listed otherwise would be another.
    """
    real = inputs.orbital_l >= 0
    kind = inputs.core.dtype
    turn = rotation.astype(kind)

    def turned(matrix: Array) -> Array:
        return turn.T @ matrix @ turn

    core = turned(inputs.core)
    overlap = turned(inputs.overlap)
    if published:
        padded = overlap + jnp.diag((~real).astype(kind))
        half = solve_triangular(jnp.linalg.cholesky(padded), jnp.eye(len(real), dtype=kind), lower=True)
    else:
        half = overlap_powers(overlap, real.sum()).inverse_root
    several = [
        core,
        (places @ places.T).astype(kind),
        half @ core @ half.T,
        turned(inputs.density),
        turned(inputs.two_electron),
        turned(inputs.exchange_correlation),
        turned(inputs.initial),
    ]
    stacked = jnp.stack(several) * (real[:, None] & real[None, :])
    largest = jnp.abs(stacked).max(axis=(1, 2), keepdims=True)
    # Hartree-Fock has no semilocal potential, and a single atom no extent
    return stacked / jnp.where(largest > 0, largest, 1.0)


def assignment(shape: QptShape) -> np.ndarray:
    """(layers, heads) int32: which matrix a head is given, ``MATRICES`` for none.

    A matrix goes to two heads. Few heads cannot take all seven at once: the next layer goes on where this one ended,
    with no bias as the eighth of the round. In the published form, as we read it, every layer has the first and the
    rest none.
    """
    pairs = shape.heads // 2
    pair, layer = np.arange(pairs), np.arange(shape.layers)[:, None]
    if shape.published:
        given = np.broadcast_to(np.minimum(pair, MATRICES), (shape.layers, pairs))
    else:
        given = (layer * pairs + pair) % (MATRICES + 1)
    return np.repeat(given, 2, axis=1).astype(np.int32)


Params = dict[str, Any]

#: score of a pair of which one is padding: its exponential is zero in float32
_NOTHING = -1e9


def linear_init(key: Array, inputs: int, outputs: int, scale: float = 1.0) -> Params:
    """Weights (inputs, outputs) uniform in ±scale / sqrt(inputs), bias zero; float32."""
    bound = scale / math.sqrt(inputs)
    weight = jax.random.uniform(key, (inputs, outputs), jnp.float32, -bound, bound)
    return {"weight": weight, "bias": jnp.zeros(outputs, jnp.float32)}


def norm_init(width: int) -> Params:
    """Gain one, bias zero."""
    return {"gain": jnp.ones(width, jnp.float32), "bias": jnp.zeros(width, jnp.float32)}


def linear(params: Params, x: Array) -> Array:
    """x @ weight + bias."""
    return matmul(x, params["weight"]) + params["bias"]


def norm(params: Params, x: Array) -> Array:
    """Layer normalization over the last axis."""
    off = x - x.mean(-1, keepdims=True)
    return off * jax.lax.rsqrt((off * off).mean(-1, keepdims=True) + 1e-5) * params["gain"] + params["bias"]


def weights_of(scores: Array, real: Array, over_queries: bool = False) -> Array:
    """Softmax of scores (heads, queries, keys) over the keys, zero where either is padding.

    ``over_queries`` normalizes over the queries instead, as the published code does: what a token receives then is no
    mean of values; it may be many times one or nearly nothing.
    """
    both = real[:, None] & real[None, :]
    scores = jnp.where(both, scores, _NOTHING)
    return jnp.where(both, jax.nn.softmax(scores, axis=-2 if over_queries else -1), 0.0)


def block_init(key: Array, width: int, heads: int, layers: int, published: bool) -> Params:
    """Parameters of one layer. The more layers, the smaller the initial output of each, but for the published form."""
    keys = jax.random.split(key, 4)
    residual = 1.0 if published else (2.0 * layers) ** -0.5
    params = {
        "norm1": norm_init(width),
        "qkv": linear_init(keys[0], width, 3 * width),
        "out": linear_init(keys[1], width, width, residual),
        "norm2": norm_init(width),
        "up": linear_init(keys[2], width, 4 * width),
        "down": linear_init(keys[3], 4 * width, width, residual),
    }
    # the published biases have no weights of their own
    return params if published else {**params, "bias_gain": jnp.ones(heads, jnp.float32)}


def block(params: Params, x: Array, biases: Array, real: Array, published: bool) -> Array:
    """One layer: x (n, width), biases (heads, n, n), real (n,) bool."""
    x = x + attention(params, norm(params["norm1"], x), biases, real, published)
    return x + linear(params["down"], jax.nn.gelu(linear(params["up"], norm(params["norm2"], x))))


def attention(params: Params, x: Array, biases: Array, real: Array, published: bool) -> Array:
    """(n, width) of what each orbital takes from the others."""
    n, width = x.shape
    heads = biases.shape[0]
    q, k, v = jnp.moveaxis(linear(params["qkv"], x).reshape(n, 3, heads, width // heads), (1, 2), (0, 1))
    if not published:
        biases = biases * params["bias_gain"][:, None, None]
    scores = jnp.einsum("hid,hjd->hij", q, k) / math.sqrt(width // heads) + biases
    taken = jnp.einsum("hij,hjd->ihd", weights_of(scores, real, over_queries=published), v)
    return linear(params["out"], taken.reshape(n, width))


class QptDescription(NamedTuple):
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


def init_qpt(key: Array, shape: QptShape) -> Params:
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


def describe_qpt(shape: QptShape, inputs: Inputs) -> QptDescription:
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
    center, axes = principal_frame(positions, weights, signed=not shape.published)
    places = jnp.where(real[:, None], ((positions - center) @ axes)[inputs.orbital_atom], 0.0)
    rotation = orbital_rotation(inputs, jnp.eye(3, dtype=axes.dtype) if shape.published else axes)
    types = jnp.where(real, inputs.numbers[inputs.orbital_atom] * PLACES + inputs.orbital_place, 0)
    return QptDescription(
        types.astype(jnp.int32),
        real,
        places.astype(jnp.float32),
        jnp.where(inputs.orbital_l == 1, inputs.orbital_m, 3).astype(jnp.int32),
        matrices_of(inputs, places, rotation, shape.published).astype(jnp.float32),
        rotation.astype(jnp.float32),
    )


def correct_qpt(params: Params, shape: QptShape, seen: QptDescription) -> Array:
    """(n, n) W of a described molecule, in Hartree, exactly symmetric, zero on padding; float32."""
    if shape.averaged:
        turns = jnp.asarray(TURNS, jnp.float32)

        def one(turn: Array) -> Array:
            sign = jnp.append(turn, 1.0)[seen.axis]
            both = sign[:, None] * sign[None, :]
            turned = jnp.where(SCALARS[:, None, None], seen.matrices, seen.matrices * both)
            return both * _in_frame(params, shape, seen, seen.places * turn, turned)

        correction = jax.vmap(one)(turns).mean(0)
    else:
        correction = _in_frame(params, shape, seen, seen.places, seen.matrices)
    # zero rows of the rotation leave padding out
    correction = seen.rotation @ correction @ seen.rotation.T
    return 0.5 * (correction + correction.T)


def _in_frame(params: Params, shape: QptShape, seen: QptDescription, places: Array, matrices: Array) -> Array:
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
    correction = scale[:, None] * (q @ linear(params["key"], x).T) * scale[None, :]
    return 0.5 * (correction + correction.T) / math.sqrt(shape.width)
