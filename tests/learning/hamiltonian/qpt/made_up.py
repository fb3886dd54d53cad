"""Molecules whose made-up matrices turn with them as real ones do, in a basis of 2s1p on heavy atoms and 1s on H."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from qmgen.learning.hamiltonian import Inputs
from qmgen.learning.hamiltonian.qpt import QptShape, correct_qpt, describe_qpt, init_qpt

SMALL = QptShape(width=16, heads=4, layers=3)
#: Bohr; no two principal moments within a tenth of each other, no third moment near zero but that of the plane
WATER = (np.array([8, 1, 1]), np.array([[0.0, 0.0, 0.0], [1.9, 0.3, 0.0], [-0.6, 1.7, 0.0]]))
#: an amine with four different bonds: no symmetry at all
AMINE = (
    np.array([7, 6, 1, 1, 9]),
    np.array([[0.1, 0.0, 0.2], [2.7, 0.2, 0.0], [-0.9, 1.6, -0.3], [-0.8, -0.9, 1.5], [3.6, 2.3, 0.9]]),
)


def layout(numbers: np.ndarray) -> np.ndarray:
    """(n, 4) atom, place, l and m of each orbital."""
    heavy = [(0, 0, 0), (1, 0, 0), (2, 1, 0), (3, 1, 1), (4, 1, 2)]
    return np.array([(a, *o) for a, z in enumerate(numbers) if z for o in (heavy if z > 1 else heavy[:1])])


def rotation_of(orbitals: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """(n, n) G with M' = G M G^T when the molecule is turned, r' = turn r. Written as a loop, not as the code does."""
    out = np.eye(len(orbitals))
    for first in np.flatnonzero((orbitals[:, 2] == 1) & (orbitals[:, 3] == 0)):
        out[first : first + 3, first : first + 3] = turn
    return out


def molecule(numbers: np.ndarray, positions: np.ndarray) -> Inputs:
    """Matrices of sums over shells of functions of distances, with every kind of block that may stand there."""
    orbitals = layout(numbers)
    charge = numbers.astype(float)

    def matrix(seed: int) -> np.ndarray:
        c = np.random.default_rng(seed).normal(size=(3, 4))
        out = np.zeros((len(orbitals), len(orbitals)))
        for i, (a, place, l, m) in enumerate(orbitals):
            for j, (b, other, k, o) in enumerate(orbitals):
                off = positions[a] - positions[b]
                # what the rest of the molecule makes of either atom
                field = ((positions - positions[a]) * charge[:, None]).sum(0) * 0.02
                fall = np.exp(-0.15 * off @ off) * (1 + 0.1 * min(place, 2)) * (1 + 0.1 * min(other, 2))
                fall *= charge[a] ** 0.5 * charge[b] ** 0.5
                left, right = off * c[0, 1] + field, off * c[1, 1] + field
                entry = c[0, 0]
                if l and k:
                    entry = c[2, 0] * (m == o) + left[m] * right[o]
                elif l:
                    entry = left[m]
                elif k:
                    entry = right[o]
                out[i, j] = fall * entry
        return out + out.T

    root = 0.05 * matrix(0)
    core, density, repulsion, semilocal = (matrix(seed) for seed in (1, 2, 3, 4))
    return Inputs(
        numbers.astype(np.int32),
        positions.astype(float),
        *(column.astype(np.int32) for column in orbitals.T),
        np.eye(len(orbitals)) + root @ root.T,
        core,
        density,
        repulsion,
        semilocal,
        core + repulsion + semilocal,
    )


def padded(inputs: Inputs, atoms: int, orbitals: int) -> Inputs:
    """The same in a larger shape."""
    n, a = len(inputs.orbital_l), len(inputs.numbers)
    places, more = {"orbital_atom": 0, "orbital_place": -1, "orbital_l": -1, "orbital_m": 0}, orbitals - n
    values: dict[str, Any] = {
        "numbers": np.pad(inputs.numbers, (0, atoms - a)),
        "positions": np.pad(inputs.positions, ((0, atoms - a), (0, 0))),
    }
    for name, value in inputs._asdict().items():
        if name in places:
            values[name] = np.pad(value, (0, more), constant_values=places[name])
        elif name not in values:
            values[name] = np.pad(value, ((0, more), (0, more)))
    return Inputs(**values)


def turned(seed: int) -> np.ndarray:
    """A rotation."""
    q, r = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q if np.linalg.det(q) > 0 else -q


def reordered(inputs: Inputs, order: np.ndarray) -> tuple[Inputs, np.ndarray]:
    """The molecule with its atoms in another order, and which orbital comes where."""
    of_atom = [np.flatnonzero(inputs.orbital_atom == atom) for atom in order]
    orbitals = np.concatenate(of_atom)
    back = np.argsort(order)
    values = {}
    for name, value in inputs._asdict().items():
        if name in ("numbers", "positions"):
            values[name] = value[order]
        elif value.ndim == 2:
            values[name] = value[np.ix_(orbitals, orbitals)]
        else:
            values[name] = value[orbitals]
    values["orbital_atom"] = back[values["orbital_atom"]].astype(np.int32)
    return Inputs(**values), orbitals


def shaken(shape: QptShape, seed: int = 0) -> Any:
    """Parameters that are zero nowhere."""
    fresh = init_qpt(jax.random.key(seed), shape)
    leaves, tree = jax.tree.flatten(fresh)
    keys = jax.random.split(jax.random.key(seed + 1), len(leaves))
    return jax.tree.unflatten(
        tree, [x + 0.2 * jax.random.normal(k, x.shape, jnp.float32) for k, x in zip(keys, leaves)]
    )


def correction(params: Any, shape: QptShape, inputs: Inputs) -> jax.Array:
    """W of a molecule, described within."""
    return correct_qpt(params, shape, describe_qpt(shape, inputs))


answer = jax.jit(correction, static_argnums=1)
