"""Host side: all that a batch sends to the device, as plain numpy arrays, and their file.

lists = batch_lists(systems, shape, basis, functional, grid_level, size=64)
save_lists(lists, "batch.npz");  lists = load_lists("batch.npz")
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from qmgen.dft.basis import Basis
from qmgen.dft.batched.exchange_correlation import OrbitalRows, orbital_rows
from qmgen.dft.batched.grid import GridLists, grid_lists
from qmgen.dft.batched.pairs import capacities, places, stacked_bounds, stacked_pairs
from qmgen.dft.batched.patches import CHUNK_BYTES, Patches, patches
from qmgen.dft.batched.repulsion import class_pairs
from qmgen.dft.functionals import Functional
from qmgen.dft.grid import SKETCH, size_adjustments
from qmgen.dft.guess import superposition_of_atoms
from qmgen.dft.integrals.pair_data import PairInput
from qmgen.dft.integrals.pairs import pair_classes
from qmgen.dft.integrals.shells import kind_pairs
from qmgen.dft.prepare import Shape, System, nuclear_repulsion

#: a place in a batch without a molecule
_NOBODY = System(np.zeros(0, np.int64), np.zeros((0, 3)))


class Lists(NamedTuple):
    """B molecules of one shape: n orbitals, A atoms. Hartree, Bohr; only numpy arrays.

    Attributes:
        numbers, positions: (B, A), (B, A, 3); padding 0.
        n_occupied, n_real: (B,) int32.
        nuclear_repulsion: (B,).
        guess: (B, n, n) density.
        adjust: (B, A, A) from ``size_adjustments``.
        pairs: of each class of shell pairs.
        place: (B, n, n) int32, the row of two orbitals in the matrix of integrals.
        patches: of each two classes, in float32 and in float64.
        orbitals: rows with a leading axis.
        grid, coarse: of the asked level, and of its sketch (no blocks where there is none).
    """

    numbers: Any
    positions: Any
    n_occupied: Any
    n_real: Any
    nuclear_repulsion: Any
    guess: Any
    adjust: Any
    pairs: tuple[PairInput, ...]
    place: Any
    patches: tuple[tuple[Patches, Patches], ...]
    orbitals: OrbitalRows
    grid: GridLists
    coarse: GridLists


def batch_lists(
    systems: Sequence[System],
    shape: Shape,
    basis: Basis,
    functional: Functional,
    grid_level: int,
    size: int | None = None,
    chunk_bytes: int = CHUNK_BYTES,
) -> Lists:
    """The lists of ``systems`` of one shape, padded to ``size`` places."""
    size = size or len(systems)
    if not 0 < len(systems) <= size:
        raise ValueError(f"{len(systems)} molecules for {size} places")
    every = [*systems, *[_NOBODY] * (size - len(systems))]
    n, atoms = shape.n_orbitals, shape.n_atoms
    numbers, positions = np.zeros((size, atoms), np.int32), np.zeros((size, atoms, 3))
    for m, system in enumerate(every):
        numbers[m, : len(system.numbers)], positions[m, : len(system.numbers)] = system.numbers, system.positions
    molecules = [pair_classes(s.numbers, s.positions, basis) for s in every]
    capacity = capacities(molecules)
    bounds = stacked_bounds(molecules, capacity)
    work = tuple(patches(kind_pairs()[b], kind_pairs()[k], bounds[b], bounds[k], chunk_bytes) for b, k in class_pairs())
    rows = [orbital_rows(s.numbers, basis, n) for s in every]
    return Lists(
        numbers=numbers,
        positions=positions,
        n_occupied=(numbers.sum(axis=1) // 2).astype(np.int32),
        n_real=np.array([basis.n_orbitals(s.numbers) for s in every], np.int32),
        nuclear_repulsion=np.array([nuclear_repulsion(s) for s in every]),
        guess=np.stack([superposition_of_atoms(s.numbers, basis, n) for s in every]),
        adjust=np.stack([size_adjustments(z) for z in numbers]),
        pairs=stacked_pairs(molecules, capacity),
        place=places(molecules, capacity, n),
        patches=work,
        orbitals=OrbitalRows(*(np.stack(field) for field in zip(*rows, strict=True))),
        grid=grid_lists(numbers, grid_level, shape.n_blocks if functional.pieces else 0),
        coarse=grid_lists(numbers, SKETCH, shape.n_coarse),
    )


def save_lists(lists: Lists, path: Path | str) -> None:
    """Into an ``.npz`` file."""
    arrays: dict[str, Any] = dict(_named(lists))
    np.savez(path, **arrays)


def load_lists(path: Path | str) -> Lists:
    """From the file of ``save_lists``, whose names are the places in ``Lists``."""
    with np.load(path) as archive:
        names, structure = [name for name, _ in _named(_SKELETON)], jax.tree.structure(_SKELETON)
        return jax.tree.unflatten(structure, [archive[name] for name in names])


def _named(lists: Lists) -> list[tuple[str, np.ndarray]]:
    flat, _ = jax.tree_util.tree_flatten_with_path(lists)
    return [(jax.tree_util.keystr(path).strip("."), np.asarray(leaf)) for path, leaf in flat]


def _empty(kind: Any) -> Any:
    return kind(*[0] * len(kind._fields))


#: the structure of every ``Lists``, without its numbers
_SKELETON = _empty(Lists)._replace(
    pairs=tuple(_empty(PairInput) for _ in kind_pairs()),
    patches=tuple((_empty(Patches), _empty(Patches)) for _ in class_pairs()),
    orbitals=_empty(OrbitalRows),
    grid=_empty(GridLists),
    coarse=_empty(GridLists),
)
