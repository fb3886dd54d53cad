"""SchNet: continuous-filter convolutions over the atoms of a molecule.

    h⁰_i = embedding(Z_i)
    W_{ij} = F₂ ssp(F₁ g(r_{ij})) · ½ (cos(π r_{ij} / r_c) + 1)        filter of a pair, zero beyond the cutoff r_c
    h^{k+1}_i = h^k_i + L ssp(L₂ Σ_j W_{ij} ∘ (L₁ h^k_j))
    o_i = R₂ ssp(R₁ h_i)

with g_m(r) = exp(-(r - μ_m)² / 2Δ²) for evenly spaced μ_m at distance Δ on [0, r_c], and ssp(x) = log(½ eˣ + ½).
K. T. Schütt et al., NeurIPS 2017 (arXiv 1706.08566); the details are those of PyTorch Geometric 2.8, whose output this
equals with the same weights, for all pairs within the cutoff (there is no limit on the number of neighbors).

Sums over the pairs of a molecule take each pair i < j once:

    gather(w, x)_i = Σ_j w_{ij} x_j          w symmetric, feature by feature
    spread(x, y)_{ij} = x_i y_j + x_j y_i

Each is the other's derivative, so that gradients of any order are these two again: no scatter, which is slow on a CPU
and in no fixed order on a GPU.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from qmgen import runtime
from qmgen.constants import AU_TO_DEBYE
from qmgen.errors import UsageError
from qmgen.learning.data.packed import Normalization, Packed, padded, per_atom
from qmgen.learning.fp8 import matmul
from qmgen.learning.targets import Kind, Target, targets_of
from qmgen.learning.training import checkpoint
from qmgen.learning.training.checkpoint import MODEL, of_this_version, read_model, require, shape_of


@dataclass(frozen=True)
class SchNetShape:
    """Widths and depth of the network; all that fixes the shapes of its parameters and of what it computes.

    Attributes:
        hidden: features of an atom.
        filters: features of a pair, and of an atom inside an interaction.
        interactions: number of interaction blocks.
        gaussians: Gaussians on [0, ``cutoff``] that describe a distance.
        cutoff: Bohr; atoms further apart do not see each other.
        outputs: numbers that come out for each atom.
        elements: rows of the embedding: atomic numbers below this one are known; row 0 is that of padding.
    """

    hidden: int
    filters: int
    interactions: int
    gaussians: int
    cutoff: float
    outputs: int = 1
    elements: int = 100

    def with_outputs(self, outputs: int) -> SchNetShape:
        """The same with another number of outputs."""
        return replace(self, outputs=outputs)


#: ``schnet-9m`` is QM1B's (arXiv 2311.01135): 9 088 513 parameters. The others are for few rows and few cores.
PRESETS: Final = {
    "schnet-9m": SchNetShape(hidden=1024, filters=256, interactions=5, gaussians=200, cutoff=15.0),
    "small": SchNetShape(hidden=128, filters=128, interactions=4, gaussians=64, cutoff=15.0),
    "tiny": SchNetShape(hidden=64, filters=64, interactions=3, gaussians=48, cutoff=15.0),
}


class PairTable(NamedTuple):
    """``first`` < ``second``: the atoms of the pairs of n atoms, (pairs,); ``place``: (n, n) number of the pair {i, j},
    that of no pair on the diagonal (``pairs``, one past the last)."""

    first: np.ndarray
    second: np.ndarray
    place: np.ndarray


@cache
def pair_table(atoms: int) -> PairTable:
    """The n (n - 1) / 2 pairs of ``atoms`` atoms, in rows of the upper triangle."""
    first, second = np.triu_indices(atoms, 1)
    place = np.full((atoms, atoms), len(first), np.int32)
    place[first, second] = place[second, first] = np.arange(len(first), dtype=np.int32)
    return PairTable(first.astype(np.int32), second.astype(np.int32), place)


def distances(positions: jax.Array) -> jax.Array:
    """(B, pairs) Bohr, from ``positions`` (B, n, 3). 0 for atoms at one place, where its derivative is 0 too."""
    table = pair_table(positions.shape[1])
    between = positions[:, table.first] - positions[:, table.second]
    square = jnp.sum(between * between, axis=-1)
    apart = square > 0
    return jnp.where(apart, jnp.sqrt(jnp.where(apart, square, 1.0)), 0.0)


@jax.custom_vjp
def gather(w: jax.Array, x: jax.Array) -> jax.Array:
    """(B, n, F): the sum over the others of ``w`` (B, pairs, F) times ``x`` (B, n, F)."""
    table = pair_table(x.shape[1])
    none = jnp.zeros((len(w), 1, w.shape[2]), w.dtype)
    dense = jnp.concatenate([w, none], axis=1)[:, table.place]  # (B, n, n, F)
    return jnp.sum(dense * x[:, None], axis=2)


@jax.custom_vjp
def spread(x: jax.Array, y: jax.Array) -> jax.Array:
    """(B, pairs, F): x_i y_j + x_j y_i of ``x`` and ``y`` (B, n, F)."""
    table = pair_table(x.shape[1])
    return x[:, table.first] * y[:, table.second] + x[:, table.second] * y[:, table.first]


gather.defvjp(
    lambda w, x: (gather(w, x), (w, x)),
    lambda kept, g: (spread(kept[1], g), gather(kept[0], g)),
)
spread.defvjp(
    lambda x, y: (spread(x, y), (x, y)),
    lambda kept, g: (gather(g, kept[1]), gather(g, kept[0])),
)


Params = dict[str, Any]


def init(key: jax.Array, shape: SchNetShape) -> Params:
    """Fresh float32 parameters: nested dictionaries of arrays, named as in PyTorch Geometric's, weights as (in, out).

    embedding                      (elements, hidden)
    interactions.K.filter1/filter2 (gaussians, filters), (filters, filters)      with bias
    interactions.K.lin1            (hidden, filters)                             without
    interactions.K.lin2            (filters, hidden)                             with bias
    interactions.K.lin             (hidden, hidden)                              with bias
    lin1, lin2                     (hidden, hidden // 2), (hidden // 2, outputs) with bias

    Weights are uniform in ±sqrt(6 / (in + out)) (Glorot and Bengio 2010), biases zero,
    embedding from the unit normal distribution with zeros for Z = 0, as in PyTorch Geometric. The weights of the last
    layer are zero too: a sum over atoms of random outputs is ten times as large as the normalized target, and a
    training on few rows took most of its steps to reduce it."""
    keys = iter(jax.random.split(key, 3 + 5 * shape.interactions))

    def linear(inputs: int, outputs: int, bias: bool = True) -> dict[str, jax.Array]:
        bound = (6.0 / (inputs + outputs)) ** 0.5
        weight = jax.random.uniform(next(keys), (inputs, outputs), jnp.float32, -bound, bound)
        return {"weight": weight, "bias": jnp.zeros(outputs, jnp.float32)} if bias else {"weight": weight}

    embedding = jax.random.normal(next(keys), (shape.elements, shape.hidden), jnp.float32).at[0].set(0.0)
    return {
        "embedding": embedding,
        "interactions": {
            str(block): {
                "filter1": linear(shape.gaussians, shape.filters),
                "filter2": linear(shape.filters, shape.filters),
                "lin1": linear(shape.hidden, shape.filters, bias=False),
                "lin2": linear(shape.filters, shape.hidden),
                "lin": linear(shape.hidden, shape.hidden),
            }
            for block in range(shape.interactions)
        },
        "lin1": linear(shape.hidden, shape.hidden // 2),
        "lin2": jax.tree.map(jnp.zeros_like, linear(shape.hidden // 2, shape.outputs)),
    }


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
    centers = jnp.linspace(0.0, shape.cutoff, shape.gaussians, dtype=apart.dtype)
    return jnp.exp((-0.5 / step**2) * (apart[..., None] - centers) ** 2)


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


def outputs_of(targets: Sequence[Target]) -> int:
    """How many numbers for each atom these targets need: forces come from the energy's."""
    return sum(target.kind is not Kind.FORCES for target in targets)


def units_of(targets: Sequence[Target], normalization: Normalization) -> dict[str, float]:
    """An e·Bohr of each dipole moment in the units of ``MoleculeBatch.values``."""
    return {t.name: AU_TO_DEBYE / normalization.scale[t.name] for t in targets if t.kind is Kind.DIPOLE}


def predict(
    params: Params,
    shape: SchNetShape,
    targets: Sequence[Target],
    units: Mapping[str, Any],
    numbers: Any,
    positions: Any,
) -> dict[str, jax.Array]:
    """The targets by name, in the units of ``MoleculeBatch.values``: scalars (B, 1), the dipole moment (B, 3), forces
    (B, n, 3).

    scalar   Σ_i o_i
    dipole   Σ_i (q_i − q̄) r_i · unit                           latent charges q = o, of a neutral molecule
    forces   −∂(energy)/∂r_i                                     in the energy's scale per Bohr

    ``numbers`` (B, n) atomic numbers, 0 for padding; ``positions`` (B, n, 3) in Bohr; ``units`` as ``units_of``.
    """
    place = {target.name: index for index, target in enumerate(t for t in targets if t.kind is not Kind.FORCES)}

    def energies(positions: Any) -> tuple[jax.Array, jax.Array]:
        atoms = atomwise(params, shape, numbers, positions)
        return jnp.sum(atoms[..., place["energy"]]), atoms

    positions = jnp.asarray(positions, params["embedding"].dtype)
    values: dict[str, jax.Array] = {}
    if any(target.kind is Kind.FORCES for target in targets):
        gradient, atoms = jax.grad(energies, has_aux=True)(positions)
        values["forces"] = -gradient
    else:
        atoms = atomwise(params, shape, numbers, positions)
    for target in targets:
        if target.kind is Kind.SCALAR:
            values[target.name] = jnp.sum(atoms[..., place[target.name]], axis=1, keepdims=True)
        elif target.kind is Kind.DIPOLE:
            moment = _dipole(atoms[..., place[target.name]], jnp.asarray(numbers) > 0, positions)
            values[target.name] = moment * units[target.name]
    return {target.name: values[target.name] for target in targets}


#: one program for all networks of a shape
predict_compiled = jax.jit(predict, static_argnums=(1, 2))


def _dipole(charges: jax.Array, there: jax.Array, positions: jax.Array) -> jax.Array:
    """(B, 3) e·Bohr. What the charges (B, n) miss of neutrality is taken off all atoms alike."""
    atoms = jnp.maximum(jnp.sum(there, axis=1, keepdims=True), 1).astype(charges.dtype)
    neutral = jnp.where(there, charges - jnp.sum(charges, axis=1, keepdims=True) / atoms, 0.0)
    return jnp.einsum("bi,bix->bx", neutral, positions, precision=jax.lax.Precision.HIGHEST)


KIND: Final = "schnet"
_CELL: Final = re.compile(r"rows-(\d+)/seed-(\d+)")


@dataclass(frozen=True)
class StoredSchnet:
    """A trained network. ``metadata`` are plain values: preset, rows, seed, level_of_theory, units, digest (of the
    data), qmgen (version); ``path`` and ``checksum`` (SHA-256) are those of the file it came from."""

    params: Any
    shape: SchNetShape
    targets: tuple[Target, ...]
    normalization: Normalization
    metadata: dict[str, Any]
    path: Path | None = None
    checksum: str = ""


def save_model(path: Path, stored: StoredSchnet) -> None:
    """Write it, whole or not at all. Raises ``QmgenError`` where that cannot be done."""
    about = {
        **stored.metadata,
        "kind": KIND,
        "shape": asdict(stored.shape),
        "targets": [target.name for target in stored.targets],
        "units": {target.name: target.unit for target in stored.targets},
        "normalisation": stored.normalization.to_json(),
    }
    checkpoint.save(path, stored.params, about)


def load_model(path: Path) -> StoredSchnet:
    """The network at ``path``: a ``model.safetensors``, the folder of one training, or of many (``qmgen train --out``):
    of these the one of most rows, and of its seeds the lowest.

    Raises ``UsageError`` with one line where there is none, it is damaged, or is something else.
    """
    file = _file(Path(path))
    stored = read_model(file, KIND, "trained SchNet", "qmgen train schnet")
    arrays, about = stored.arrays, stored.about
    with of_this_version(file):
        shape = shape_of(SchNetShape, about.pop("shape"))
        require(about, targets=list)
        if not isinstance(about.get("level_of_theory", {}), dict | None):
            raise TypeError("its level of theory is no table")
        targets = targets_of(about["targets"])
        normalization = Normalization.from_json(about.pop("normalisation"))
        normalization.of(targets)
        if shape.outputs != outputs_of(targets):
            raise ValueError(f"it has {shape.outputs} outputs for {len(targets)} targets")
        like = jax.eval_shape(lambda: init(jax.random.key(0), shape))
        kinds = {array.dtype for array in arrays.values()}
        if kinds == {np.dtype(np.float64)}:
            runtime.prepare()  # or JAX reads them as float32
        like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, *kinds), like)
        weights = checkpoint.unflatten(arrays, like, str(file))
    return StoredSchnet(weights, shape, targets, normalization, about, file, stored.checksum)


def _file(path: Path) -> Path:
    if path.is_file():
        return path
    if not path.exists():
        raise UsageError(f"no such file or directory: {path}")
    if (path / MODEL).is_file():
        return path / MODEL
    weights_files = {}
    for file in path.glob(f"rows-*/seed-*/{MODEL}"):
        if match := _CELL.fullmatch(file.parent.relative_to(path).as_posix()):
            weights_files[-int(match[1]), int(match[2])] = file
    if not weights_files:
        state = "no training in it is finished yet" if list(path.glob("rows-*/seed-*")) else "it holds no training"
        raise UsageError(f"no trained network in {path}: {state}; give what `qmgen train schnet --out` was given")
    return weights_files[min(weights_files)]


#: molecules at once, small enough for the pairs of the largest preset in the memory of a laptop
BATCH_SIZE: Final = 64
#: arrays are for a multiple of so many atoms: few shapes to compile, few pairs in vain
_STEP: Final = 4


class SchnetPredictor:
    """A stored SchNet as a function from packed molecules to values in the units of a corpus; ``batch_size`` molecules
    at once, those of like size together.

    >>> predictor = SchnetPredictor(load_model(Path("runs/gap9")))
    >>> values = predictor(packed)["y"]                 # (M, 1) float64, eV
    """

    def __init__(self, stored: StoredSchnet, batch_size: int = BATCH_SIZE) -> None:
        self.targets, self.normalization, self.metadata = stored.targets, stored.normalization, stored.metadata
        self._params, self._shape, self._batch_size = stored.params, stored.shape, batch_size
        self._units = units_of(stored.targets, stored.normalization)

    def __call__(self, packed: Packed) -> dict[str, np.ndarray]:
        """(M, 1) for scalars, (M, 3) for the dipole moment, (A, 3) for forces: float64, in the column's unit, in the
        order of ``packed``. Raises ``UsageError`` for elements that the network was not trained on."""
        self.normalization.check(packed)
        predicted = {t.name: np.zeros(_shape(t, packed)) for t in self.targets}
        # a size that does not depend on the molecules of a full batch, and is no larger than needed for a few
        size = min(self._batch_size, 1 << max(len(packed) - 1, 0).bit_length())
        order = np.argsort(packed.sizes, kind="stable")
        for start in range(0, len(order), size):
            rows = order[start : start + size]
            atoms = -(-int(packed.sizes[rows].max()) // _STEP) * _STEP
            batch = padded(packed, {}, rows, size, atoms)
            given = self._units, batch.numbers, batch.positions
            values = predict_compiled(self._params, self._shape, self.targets, *given)
            mask = batch.numbers > 0
            for target in self.targets:
                value = np.asarray(values[target.name], np.float64)
                if per_atom(target.name):
                    predicted[target.name][packed.atoms_of(rows)] = value[mask]
                else:
                    predicted[target.name][rows] = value[: len(rows)]
        return {name: self.normalization.restore(name, value, packed) for name, value in predicted.items()}


def _shape(target: Target, packed: Packed) -> tuple[int, int]:
    if per_atom(target.name):
        return len(packed.numbers), 3
    return len(packed), 3 if target.name == "dipole" else 1
