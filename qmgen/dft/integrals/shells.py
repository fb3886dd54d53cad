"""Shell classes, and the shells of one molecule sorted by class. Host side, numpy.

A ``ShellClass`` is a tuple of angular momenta over common exponents. Two cover s and p: (0,) and (0, 1); a shell with p
alone is one of the second without a slot for its s function. Powers, Hermite orders and the sizes of tiles follow from
the angular momenta. The highest angular momentum stands in ``basis.HIGHEST`` too, the classes of the grid in
``orbital_values.GRID_CLASSES``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np

from qmgen.dft.basis import Basis, Shell
from qmgen.errors import UsageError

#: powers of x, y, z of the functions of an angular momentum, in the order of the orbitals; real solid harmonics are
#: monomials as far as p, so that no transformation from Cartesian functions is needed
_POWERS: Final = {0: ((0, 0, 0),), 1: ((1, 0, 0), (0, 1, 0), (0, 0, 1))}
#: primitive pairs of a primitive group
PRIMITIVES: Final = 3
#: contraction layers that a kernel takes at once: nine primitive pairs, those of two shells of STO-3G
LAYERS: Final = 3
#: shell pairs in a tile of a bra, and the most in one of a ket
BRA_TILE: Final = 32
#: bytes of the Hermite integrals of two tiles in float64: they stay in the second-level cache of a core
TILE_BYTES: Final = 192 * 1024
#: the most function pairs, and shell pairs, of a block of shell pairs: two blocks give 2 MB of integrals at most
_BLOCK_FUNCTIONS: Final = 512
BLOCK_PAIRS: Final = 256


@dataclass(frozen=True)
class ShellClass:
    """Shells of these angular momenta over common exponents."""

    angular_momenta: tuple[int, ...]

    @property
    def order(self) -> int:
        """The highest angular momentum."""
        return max(self.angular_momenta)

    @property
    def functions(self) -> tuple[tuple[int, tuple[int, int, int]], ...]:
        """(column of its coefficients, powers of x y z) of each function, in the order of the orbitals."""
        return tuple((column, powers) for column, l in enumerate(self.angular_momenta) for powers in _POWERS[l])


SHELL_CLASSES: Final = (ShellClass((0,)), ShellClass((0, 1)))


class FunctionPairs(NamedTuple):
    """Of each pair of functions of a class of shell pairs: powers (f, 3), and columns of coefficients (f,)."""

    powers_a: np.ndarray
    powers_b: np.ndarray
    column_a: np.ndarray
    column_b: np.ndarray


class ShellPairClass(NamedTuple):
    """Pairs of a shell of class ``a`` with one of class ``b``: places in ``SHELL_CLASSES``, a >= b."""

    a: int
    b: int

    @property
    def orders(self) -> tuple[int, int]:
        """The highest angular momentum of either shell."""
        return SHELL_CLASSES[self.a].order, SHELL_CLASSES[self.b].order

    @property
    def hermite_order(self) -> int:
        return sum(self.orders)

    @property
    def n_functions(self) -> int:
        """Pairs of functions."""
        return len(SHELL_CLASSES[self.a].functions) * len(SHELL_CLASSES[self.b].functions)

    @property
    def block_pairs(self) -> int:
        """Shell pairs of a block: lists are padded to whole blocks, of one size whatever the molecule."""
        return max(min(BLOCK_PAIRS, _BLOCK_FUNCTIONS // self.n_functions) // BRA_TILE, 1) * BRA_TILE

    @property
    def function_pairs(self) -> FunctionPairs:
        return _function_pairs(self)


@lru_cache(maxsize=32)
def _function_pairs(pair_class: ShellPairClass) -> FunctionPairs:
    a, b = (SHELL_CLASSES[place].functions for place in pair_class)
    pairs = [(i, j) for i in a for j in b]
    return FunctionPairs(
        np.array([i[1] for i, _ in pairs]),
        np.array([j[1] for _, j in pairs]),
        np.array([i[0] for i, _ in pairs]),
        np.array([j[0] for _, j in pairs]),
    )


#: the classes of shell pairs, ascending in cost
PAIR_CLASSES: Final = tuple(ShellPairClass(a, b) for a in range(len(SHELL_CLASSES)) for b in range(a + 1))


@dataclass(frozen=True)
class ShellTable:
    """All shells of one class in one molecule. n primitives in m shells, f functions a shell.

    Attributes:
        exponents: (n,) 1/Bohr^2.
        coefficients: (n, angular momenta), norms included.
        shell: (n,) the shell each primitive belongs to.
        atom: (m,) the atom each shell sits on.
        orbitals: (m, f) index of each function among the atomic orbitals, -1 for an unused one.
    """

    exponents: np.ndarray
    coefficients: np.ndarray
    shell: np.ndarray
    atom: np.ndarray
    orbitals: np.ndarray


def shell_tables(numbers: np.ndarray, basis: Basis) -> tuple[ShellTable, ...]:
    """One table per class, for atoms ``numbers`` (A,); orbitals in PySCF's order (atom, l, as listed)."""
    missing = sorted({int(z) for z in numbers} - basis.elements - {0})
    if missing:
        raise UsageError(f"basis '{basis.name}' has no element {missing[0]}")
    collected: list[list[tuple[Shell, int, np.ndarray]]] = [[] for _ in SHELL_CLASSES]
    first = 0
    for atom, z in enumerate(numbers):
        if z == 0:
            continue
        for place, shell, slots in _element_shells(basis.name, basis.checksum, int(z), basis):
            collected[place].append((shell, atom, np.where(slots >= 0, slots + first, -1)))
        first += basis.n_orbitals(np.array([z]))
    return tuple(_stack(shell_class, shells) for shell_class, shells in zip(SHELL_CLASSES, collected, strict=True))


def shell_orbitals(numbers: np.ndarray, basis: Basis) -> list[tuple[int, Shell, list[int]]]:
    """(atom, shell, indices of its orbitals) of a molecule, atom by atom; padding (Z = 0) has none."""
    placed, first = [], 0
    for atom, z in enumerate(numbers):
        if z == 0:
            continue
        for plain, (_, _, slots) in zip(
            basis.shells(int(z)), _element_shells(basis.name, basis.checksum, int(z), basis)
        ):
            placed.append((atom, plain, [int(slot) + first for slot in slots if slot >= 0]))
        first += basis.n_orbitals(np.array([z]))
    return placed


def orbital_atoms(numbers: np.ndarray, basis: Basis, n_orbitals: int) -> np.ndarray:
    """(n_orbitals,) the atom of each orbital, 0 for padding."""
    atoms = np.zeros(n_orbitals, dtype=np.int64)
    for atom, _, orbitals in shell_orbitals(numbers, basis):
        atoms[orbitals] = atom
    return atoms


def _element_shells(name: str, checksum: str, z: int, basis: Basis) -> list[tuple[int, Shell, np.ndarray]]:
    key = (name, checksum, z)
    if key not in _CACHE:
        _CACHE[key] = _place(basis.shells(z))
    return _CACHE[key]


_CACHE: dict[tuple[str, str, int], list[tuple[int, Shell, np.ndarray]]] = {}


def _place(shells: tuple[Shell, ...]) -> list[tuple[int, Shell, np.ndarray]]:
    """Give every function of an atom its slot: all s first, then all p, each in the order listed."""
    order = sorted((l, i) for i, shell in enumerate(shells) for l in shell.angular_momenta)
    slot, start = {}, 0
    for l, i in order:
        slot[(i, l)] = start
        start += 2 * l + 1
    placed = []
    for i, shell in enumerate(shells):
        place = next(k for k, c in enumerate(SHELL_CLASSES) if set(shell.angular_momenta) <= set(c.angular_momenta))
        slots, columns = [], []
        for l in SHELL_CLASSES[place].angular_momenta:
            present = l in shell.angular_momenta
            slots += [slot[(i, l)] + m if present else -1 for m in range(2 * l + 1)]
            columns.append(
                shell.coefficients[:, shell.angular_momenta.index(l)] if present else np.zeros(len(shell.exponents))
            )
        whole = Shell(SHELL_CLASSES[place].angular_momenta, shell.exponents, np.stack(columns, axis=1))
        placed.append((place, whole, np.array(slots)))
    return placed


def _stack(shell_class: ShellClass, shells: list[tuple[Shell, int, np.ndarray]]) -> ShellTable:
    if not shells:
        empty, columns = np.zeros(0, dtype=np.int64), len(shell_class.angular_momenta)
        slots = np.zeros((0, len(shell_class.functions)), dtype=np.int64)
        return ShellTable(np.zeros(0), np.zeros((0, columns)), empty, empty, slots)
    return ShellTable(
        exponents=np.concatenate([s.exponents for s, _, _ in shells]),
        coefficients=np.concatenate([s.coefficients for s, _, _ in shells]),
        shell=np.repeat(np.arange(len(shells)), [len(s.exponents) for s, _, _ in shells]),
        atom=np.array([atom for _, atom, _ in shells]),
        orbitals=np.stack([slots for _, _, slots in shells]),
    )
