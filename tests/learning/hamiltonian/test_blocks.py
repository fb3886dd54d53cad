"""The network over blocks of atom pairs, on made-up matrices that turn as real ones do."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qmgen.dft.basis import load_basis
from qmgen.dft.prepare import Shape, System
from qmgen.learning.energy.problems import bare_inputs
from qmgen.learning.hamiltonian import Inputs
from qmgen.learning.hamiltonian import block_description as described
from qmgen.learning.hamiltonian import blocks as blocks_model
from qmgen.learning.hamiltonian.block_description import BlocksShape, blocks_of, joined, layout_of, matrix_of, parts_of
from qmgen.learning.hamiltonian.network import shells_of

NUMBERS = np.array([8, 6, 1, 7, 1])
POSITIONS = np.array([[0.1, 0.2, 0.0], [2.4, -0.3, 0.5], [-1.2, 1.1, 0.7], [3.9, 1.6, -0.8], [5.5, 1.0, -1.6]])
MATRICES = ("overlap", "core", "density", "two_electron", "exchange_correlation", "initial")
#: float32 has 7 digits; a dozen layers of sums over 5 atoms leave 5 of them
CLOSE = 1e-5


def shape_for(basis: str) -> BlocksShape:
    return BlocksShape(16, 6, 2).of(*shells_of(load_basis(basis)), (1, 6, 7, 8))


def made_up(basis: str = "sto-3g", orbitals: int = 0, atoms: int = 5, seed: int = 0) -> Inputs:
    """Inputs with random symmetric matrices; overlaps positive definite."""
    table = load_basis(basis)
    n = table.n_orbitals(NUMBERS)
    bare = bare_inputs(System(NUMBERS, POSITIONS), Shape(max(n, orbitals), atoms, 1), table)
    draw = np.random.default_rng(seed)
    fields: dict[str, Any] = {}
    for name in MATRICES:
        full = np.zeros_like(bare.overlap)
        matrix = draw.normal(size=(n, n))
        full[:n, :n] = 0.3 * (matrix + matrix.T)
        if name == "overlap":
            full[:n, :n] = np.eye(n) + 0.02 * (matrix + matrix.T)
        fields[name] = full
    return bare._replace(**fields)


def turned(inputs: Inputs, rotation: np.ndarray, shift: np.ndarray) -> Inputs:
    """The molecule turned (or reflected) by ``rotation`` (3, 3) and moved."""
    turn = orbital_turn(inputs, rotation)
    matrices = {name: turn @ getattr(inputs, name) @ turn.T for name in MATRICES}
    places = np.where(inputs.numbers[:, None] > 0, inputs.positions @ rotation.T + shift, 0.0)
    return inputs._replace(positions=places, **matrices)


def orbital_turn(inputs: Inputs, rotation: np.ndarray) -> np.ndarray:
    """(n, n): 1 for s, ``rotation`` among x, y, z of a p shell."""
    n = len(inputs.orbital_l)
    turn = np.eye(n)
    first = [k for k in range(n) if inputs.orbital_l[k] == 1 and inputs.orbital_m[k] == 0]
    for k in first:
        turn[k : k + 3, k : k + 3] = rotation
    return turn


def any_rotation(seed: int, reflect: bool) -> np.ndarray:
    found, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return found * (np.linalg.det(found) * (-1 if reflect else 1))


@partial(jax.jit, static_argnums=0)
def seen(shape: BlocksShape, inputs: Inputs) -> Any:
    return described.describe_blocks(shape, inputs)


@partial(jax.jit, static_argnums=1)
def corrected(params: Any, shape: BlocksShape, found: Any) -> jax.Array:
    return blocks_model.correct_blocks(params, shape, found)


def weights(shape: BlocksShape, zero: bool = False) -> Any:
    params = blocks_model.init_blocks(jax.random.key(1), shape)
    if zero:
        return params
    for place, name in enumerate(("off", "on")):
        last = params[name]["out"]
        last["weight"] = 0.3 * jax.random.normal(jax.random.key(place), last["weight"].shape, jnp.float32)
    return params


def answer(inputs: Inputs, basis: str = "sto-3g", zero: bool = False) -> np.ndarray:
    shape = shape_for(basis)
    return np.asarray(corrected(weights(shape, zero), shape, seen(shape, inputs)))


@pytest.mark.parametrize("basis", ["sto-3g", "6-31g"])
def test_it_begins_at_nothing_and_is_symmetric(basis: str) -> None:
    inputs = made_up(basis)
    assert not answer(inputs, basis, zero=True).any()
    found = answer(inputs, basis)
    assert np.abs(found).max() > 0.01 and np.isfinite(found).all()
    # XLA contracts a product and a sum on one side of the diagonal and not on the other: the last bits
    assert np.abs(found - found.T).max() < 1e-6 * np.abs(found).max() and found.dtype == np.float32


@pytest.mark.parametrize("basis", ["sto-3g", "6-31g"])
@pytest.mark.parametrize("reflect", [False, True])
def test_it_turns_with_the_molecule(basis: str, reflect: bool) -> None:
    inputs, rotation = made_up(basis), any_rotation(3, reflect)
    turn = orbital_turn(inputs, rotation)
    expected = turn @ answer(inputs, basis) @ turn.T
    found = answer(turned(inputs, rotation, np.array([1.0, -2.0, 0.5])), basis)
    assert np.abs(found - expected).max() < CLOSE * np.abs(expected).max()


def test_it_does_see_directions() -> None:
    """A network blind to them would pass the test above if its output held no p orbitals."""
    found = answer(made_up())
    assert np.abs(found[2:5, :2]).max() > 1e-3 * np.abs(found).max()  # p with s on the oxygen atom
    assert np.abs(found[2:5, 2:5] - np.diag(np.diag(found[2:5, 2:5]))).max() > 1e-3 * np.abs(found).max()


def test_atoms_may_stand_in_any_order() -> None:
    inputs, order = made_up(), [3, 0, 4, 2, 1]
    bare = bare_inputs(
        System(NUMBERS[order], POSITIONS[order]), Shape(len(inputs.orbital_l), 5, 1), load_basis("sto-3g")
    )
    of_atom = {atom: np.flatnonzero(inputs.orbital_atom == atom) for atom in range(5)}
    place = np.concatenate([of_atom[atom] for atom in order])
    other = bare._replace(**{name: getattr(inputs, name)[np.ix_(place, place)] for name in MATRICES})
    expected = answer(inputs)[np.ix_(place, place)]
    assert np.abs(answer(other) - expected).max() < CLOSE * np.abs(expected).max()


def test_padding_changes_nothing() -> None:
    expected = answer(made_up())
    n = len(expected)
    found = answer(made_up(orbitals=n + 5, atoms=8))
    assert not found[n:].any() and not found[:, n:].any()
    assert np.abs(found[:n, :n] - expected).max() < CLOSE * np.abs(expected).max()


def test_gradients_are_finite_also_with_padding() -> None:
    shape, inputs = shape_for("sto-3g"), made_up(orbitals=24, atoms=8)
    found = seen(shape, inputs)
    slope_at = jax.jit(jax.grad(lambda p: (blocks_model.correct_blocks(p, shape, found) ** 2).sum()))
    for zero in (True, False):
        slope = slope_at(weights(shape, zero))
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slope))


@pytest.mark.parametrize("basis", ["sto-3g", "6-31g"])
def test_blocks_and_back(basis: str) -> None:
    inputs, shape = made_up(basis, orbitals=60, atoms=7), shape_for(basis)
    layout = layout_of(shape, jax.tree.map(jnp.asarray, inputs))
    blocks = blocks_of(layout, jnp.asarray(inputs.core))
    assert np.array_equal(matrix_of(layout, blocks), inputs.core)
    assert np.array_equal(joined(shape, parts_of(shape, blocks)), blocks)
    own = np.asarray(blocks)[1, 1]  # carbon: s shells first, then p shells
    orbitals = np.flatnonzero((inputs.orbital_atom == 1) & (inputs.orbital_l >= 0))
    assert np.array_equal(own, inputs.core[np.ix_(orbitals, orbitals)])


def test_invariants_do_not_turn() -> None:
    shape, inputs = shape_for("sto-3g"), made_up()
    one = seen(shape, inputs)
    other = seen(shape, turned(inputs, any_rotation(5, True), np.zeros(3)))
    assert np.abs(np.asarray(one.invariants) - np.asarray(other.invariants)).max() < 1e-5


def test_statistics_center_and_scale_by_pair_of_elements() -> None:
    shape = shape_for("sto-3g")
    many = [jax.tree.map(np.asarray, seen(shape, made_up(seed=k))) for k in range(12)]
    statistics = described.statistics_of(shape, many)
    found = np.array([described.normalized(shape, statistics, one).invariants for one in many])
    pair = found[:, 0, 1]  # O with C, once in each molecule
    varies = pair.std(axis=0) > 0
    assert varies.any() and np.abs(pair.mean(axis=0)).max() < 0.3  # none beyond six spreads: means shift a little
    assert pair.std(axis=0)[varies].min() > 0.5 and np.abs(found).max() <= 6.0


def test_what_never_varies_is_nothing() -> None:
    """Its rounding, blown up to one, would be noise."""
    shape = shape_for("sto-3g")
    many = [jax.tree.map(np.asarray, seen(shape, made_up())) for _ in range(5)]
    found = described.normalized(shape, described.statistics_of(shape, many), many[0])
    assert np.abs(np.asarray(found.invariants)[0, 1]).max() == 0.0


def test_pairs_that_were_not_seen_take_the_statistics_of_all() -> None:
    shape = shape_for("sto-3g")
    many = [jax.tree.map(np.asarray, seen(shape, made_up(seed=k))) for k in range(6)]
    statistics = described.statistics_of(shape, many)
    nitrogen = 2
    assert not np.isnan(statistics.mean).any()
    # no molecule here has two nitrogen atoms
    seen_pairs = [(0, 1), (1, 3), (0, 2), (0, 3), (1, 2), (2, 3)]
    spread = {pair: statistics.scale[1][pair] for pair in seen_pairs}
    assert all(not np.array_equal(statistics.scale[1, nitrogen, nitrogen], other) for other in spread.values())
    assert statistics.scale[1, nitrogen, nitrogen].any()


def test_float32_throughout() -> None:
    """Under float64, which the energy needs, one constant of double precision would double the work."""
    shape, inputs = shape_for("sto-3g"), made_up()
    found = seen(shape, inputs)
    program = jax.make_jaxpr(lambda p, d: blocks_model.correct_blocks(p, shape, d))(weights(shape), found)
    wide = {
        str(variable.aval.dtype)
        for equation in program.jaxpr.eqns
        for variable in equation.outvars
        if variable.aval.shape and variable.aval.dtype == np.float64
    }
    assert not wide
