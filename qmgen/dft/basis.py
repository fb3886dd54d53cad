"""Basis sets: shells of contracted Gaussians per element, and the shells of one molecule. Host side, numpy.

    basis = load_basis("sto-3g")
    basis.shells(6)     # carbon: a 1s shell, and a 2s2p shell whose functions share their exponents
    shell_tables(numbers, basis)    # of a molecule, sorted by ``ShellClass``

An s and a p function of one element that share exponents form one ``Shell`` (the "sp shells" of Pople's sets), so that
a pair of shells is evaluated once for both. Where tables come from, and what sets are called: ``basis_names``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from qmgen.dft.basis_names import ELEMENTS, LARGE, WHOLE, canonical_name, is_auxiliary, read_table
from qmgen.dft.integrals.shells import (
    HIGHEST_ORBITAL,
    SUPPORTED,
    ShellClass,
    ShellPairClass,
    function_count,
    merged_classes,
    pair_classes,
)
from qmgen.errors import UsageError


@dataclass(frozen=True)
class Shell:
    """Contracted functions of one atom over common exponents.

    Attributes:
        angular_momenta: l of the functions, ascending; each stands for 2l+1 functions.
        exponents: (K,) in 1/Bohr^2, descending.
        coefficients: (K, len(angular_momenta)), with the norms of primitives and of the contracted function in them.
        places: of each angular momentum, its place among all functions of the atom as the set lists them.
    """

    angular_momenta: tuple[int, ...]
    exponents: np.ndarray
    coefficients: np.ndarray
    places: tuple[int, ...] = ()


@dataclass(frozen=True)
class Basis:
    """A named basis set; ``table`` maps atomic number to its shells in the order of the orbitals.

    ``beyond`` are elements of the set with shells that there are no integrals for, ``core_potentials`` those that it
    has for effective core potentials alone. ``cartesian`` says that functions from d on are Cartesian, and not
    spherical. ``source`` is what ``table`` was made of: shells in PySCF's format, by atomic number.
    """

    name: str
    table: dict[int, tuple[Shell, ...]]
    checksum: str
    beyond: frozenset[int] = frozenset()
    cartesian: bool = False
    core_potentials: frozenset[int] = frozenset()
    source: Mapping[int, list[Any]] = field(default_factory=dict, repr=False)

    @property
    def elements(self) -> frozenset[int]:
        return frozenset(self.table)

    def shells(self, number: int) -> tuple[Shell, ...]:
        return self.table[number]

    @cached_property
    def highest(self) -> int:
        """The highest angular momentum of all elements."""
        return max(shell_class.order for shell_class in self.shell_classes)

    @cached_property
    def polarized(self) -> bool:
        """Whether a boron, carbon ... neon has functions beyond p; of a set without these elements, any."""
        first_row = [shells for z, shells in self.table.items() if 5 <= z <= 10]
        return max(l for shells in first_row or self.table.values() for s in shells for l in s.angular_momenta) > 1

    @cached_property
    def least_overlap(self) -> float:
        """Smallest eigenvalue, over all elements of the set, of the overlap matrix of one atom's functions.

        1 where they are orthogonal, 0.48 in STO-3G (sodium), 0.09 in 6-31G (lithium), less with diffuse functions: a
        measure of the set for how much an orthonormal basis multiplies the rounding of a matrix with.
        """
        return min(_least_overlap(shells) for shells in self.table.values())

    @cached_property
    def class_of(self) -> dict[tuple[int, ...], ShellClass]:
        """The class of each kind of shell of the set, by its angular momenta."""
        kinds = (shell.angular_momenta for shells in self.table.values() for shell in shells)
        return merged_classes(kinds, self.cartesian)

    @cached_property
    def shell_classes(self) -> tuple[ShellClass, ...]:
        """Ascending."""
        return tuple(sorted(set(self.class_of.values())))

    @property
    def lone_p(self) -> bool:
        """Whether shells of p alone are in the class of sp shells, without a function in the place of s."""
        return any(kind != shell_class.angular_momenta for kind, shell_class in self.class_of.items())

    @property
    def pair_classes(self) -> tuple[ShellPairClass, ...]:
        """Ascending."""
        return pair_classes(self.shell_classes)

    def n_orbitals(self, numbers: np.ndarray) -> int:
        return sum(self.n_functions(shell) for z in numbers if z for shell in self.table[int(z)])

    def n_functions(self, shell: Shell) -> int:
        """Orbitals of a shell."""
        return sum(function_count(l, self.cartesian) for l in shell.angular_momenta)


def _least_overlap(shells: tuple[Shell, ...]) -> float:
    """The smallest eigenvalue of the overlap matrix of normalized functions on one center."""
    least = 1.0
    functions = [
        (l, shell.exponents, shell.coefficients[:, k]) for shell in shells for k, l in enumerate(shell.angular_momenta)
    ]
    for momentum in {l for l, _, _ in functions}:
        same = [(exponents, c) for l, exponents, c in functions if l == momentum]
        overlap = np.array([[radial_overlap(momentum, *a, *b) for b in same] for a in same])
        least = min(least, float(np.linalg.eigvalsh(overlap)[0]))
    return least


def radial_overlap(l: int, a: np.ndarray, c_a: np.ndarray, b: np.ndarray, c_b: np.ndarray) -> float:
    """<x^l sum c_a exp(-a r^2) | x^l sum c_b exp(-b r^2)>."""
    p = a[:, None] + b[None, :]
    double_factorial = math.prod(range(2 * l - 1, 0, -2))
    return float(c_a @ ((np.pi / p) ** 1.5 * double_factorial / (2 * p) ** l) @ c_b)


def load_basis(name: str, cartesian: bool = False) -> Basis:
    """The basis set called ``name``; case, hyphens, underscores and spaces do not matter. ``cartesian``: functions from
    d on are Cartesian.

    Raises:
        UsageError: no set of that name, one that holds no orbitals, one whose elements all have shells without
            integrals here, or one made for effective core potentials.
    """
    return _load(canonical_name(name), " ".join(name.split()).lower(), cartesian)


@lru_cache(maxsize=16)
def _load(name: str, asked: str, cartesian: bool) -> Basis:
    """``asked`` is what the user wrote, for the messages."""
    if is_auxiliary(name):
        raise UsageError(
            f"basis '{asked}' is an auxiliary set, and holds no orbitals: use an orbital set, such as {WHOLE}"
        )
    source = read_table(asked)
    known = {z: shells for z, shells in source.elements.items() if z in ELEMENTS}
    beyond = frozenset(z for z, shells in known.items() if max(shell[0] for shell in shells) > HIGHEST_ORBITAL)
    table = {z: merged_shells(split_shells(shells)) for z, shells in known.items() if z not in beyond}
    if not table:
        raise UsageError(
            f"basis '{asked}' has functions beyond {SUPPORTED} on every element: use a smaller one, such as {LARGE}"
        )
    return Basis(name, table, source.checksum, beyond, cartesian, source.core_potentials, source.elements)


def split_shells(raw: Sequence[Any]) -> list[Shell]:
    """Shells of one function each, in the order listed, from shells in PySCF's format; primitives without a part in a
    contraction are left out."""
    shells: list[Shell] = []
    for entry in raw:
        l, rows = entry[0], entry[1:]
        if rows and not isinstance(rows[0], (list, tuple)):  # [l, kappa, rows...]: PySCF's relativistic marker
            rows = rows[1:]
        array = np.asarray(rows, dtype=np.float64)
        array = array[np.argsort(-array[:, 0], kind="stable")]
        for column in array.T[1:]:
            part = column != 0
            exponents = array[part, 0]
            shells.append(Shell((l,), exponents, _normalized(l, exponents, column[part])[:, None]))
    return shells


def merged_shells(shells: Sequence[Shell]) -> tuple[Shell, ...]:
    """An s shell and the first p shell with the same exponents, from shells of one function each, as one.

    Orbitals keep PySCF's order (by angular momentum, then as listed) through ``Shell.places``.
    """
    merged: list[Shell] = []
    used: set[int] = set()
    for i, shell in enumerate(shells):
        if i in used:
            continue
        partner = next(
            (j for j, p in enumerate(shells) if j > i and j not in used and _share_exponents(shell, p)), None
        )
        if partner is None:
            merged.append(replace(shell, places=(i,)))
            continue
        used.add(partner)
        coefficients = np.concatenate([shell.coefficients, shells[partner].coefficients], axis=1)
        merged.append(Shell((0, 1), shell.exponents, coefficients, (i, partner)))
    return tuple(merged)


def _share_exponents(s: Shell, p: Shell) -> bool:
    momenta = s.angular_momenta, p.angular_momenta
    return momenta == ((0,), (1,)) and np.array_equal(s.exponents, p.exponents)


def _normalized(l: int, exponents: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    """Coefficients (K,) of raw Gaussians x^l exp(-a r^2) such that the contracted function has norm one."""
    double_factorial = math.prod(range(2 * l - 1, 0, -2))
    norms = (2 * exponents / np.pi) ** 0.75 * (4 * exponents) ** (l / 2) / math.sqrt(double_factorial)
    c = coefficients * norms
    return c / math.sqrt(radial_overlap(l, exponents, c, exponents, c))


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
    """One table for each of ``basis.shell_classes``, for atoms ``numbers`` (A,); orbitals in PySCF's order (atom, l, as
    listed)."""
    missing = sorted({int(z) for z in numbers} - basis.elements - {0})
    if missing:
        raise UsageError(f"basis '{basis.name}' has no element {missing[0]}")
    collected: dict[ShellClass, list[tuple[Shell, int, np.ndarray]]] = {c: [] for c in basis.shell_classes}
    first = 0
    for atom, z in enumerate(numbers):
        if z == 0:
            continue
        for place, shell, slots in _element_shells(int(z), basis):
            collected[place].append((shell, atom, np.where(slots >= 0, slots + first, -1)))
        first += basis.n_orbitals(np.array([z]))
    return tuple(_stack(shell_class, shells) for shell_class, shells in collected.items())


def shell_orbitals(numbers: np.ndarray, basis: Basis) -> list[tuple[int, Shell, list[int]]]:
    """(atom, shell, indices of its orbitals) of a molecule, atom by atom; padding (Z = 0) has none."""
    placed, first = [], 0
    for atom, z in enumerate(numbers):
        if z == 0:
            continue
        for plain, (_, _, slots) in zip(basis.shells(int(z)), _element_shells(int(z), basis)):
            placed.append((atom, plain, [int(slot) + first for slot in slots if slot >= 0]))
        first += basis.n_orbitals(np.array([z]))
    return placed


def orbital_atoms(numbers: np.ndarray, basis: Basis, n_orbitals: int) -> np.ndarray:
    """(n_orbitals,) the atom of each orbital, 0 for padding."""
    atoms = np.zeros(n_orbitals, dtype=np.int64)
    for atom, _, orbitals in shell_orbitals(numbers, basis):
        atoms[orbitals] = atom
    return atoms


_Placed = tuple[ShellClass, Shell, np.ndarray]
_CACHE: dict[tuple[str, str, bool, int], list[_Placed]] = {}


def _element_shells(z: int, basis: Basis) -> list[_Placed]:
    """Class, shell with a column for each angular momentum of its class, and the places of its functions."""
    key = (basis.name, basis.checksum, basis.cartesian, z)
    if key not in _CACHE:
        _CACHE[key] = _place(basis.shells(z), basis)
    return _CACHE[key]


def _place(shells: tuple[Shell, ...], basis: Basis) -> list[_Placed]:
    """Give every function of an atom its slot: all s first, then all p, each in the order listed."""
    order = sorted(
        (l, place, i)
        for i, shell in enumerate(shells)
        for l, place in zip(shell.angular_momenta, shell.places, strict=True)
    )
    slot, start = {}, 0
    for l, _, i in order:
        slot[(i, l)] = start
        start += function_count(l, basis.cartesian)
    placed = []
    for i, shell in enumerate(shells):
        shell_class = basis.class_of[shell.angular_momenta]
        slots, columns = [], []
        for l in shell_class.angular_momenta:
            present, count = l in shell.angular_momenta, function_count(l, basis.cartesian)
            slots += [slot[(i, l)] + m if present else -1 for m in range(count)]
            columns.append(
                shell.coefficients[:, shell.angular_momenta.index(l)] if present else np.zeros(len(shell.exponents))
            )
        whole = Shell(shell_class.angular_momenta, shell.exponents, np.stack(columns, axis=1))
        placed.append((shell_class, whole, np.array(slots)))
    return placed


def _stack(shell_class: ShellClass, shells: list[tuple[Shell, int, np.ndarray]]) -> ShellTable:
    if not shells:
        empty, columns = np.zeros(0, dtype=np.int64), len(shell_class.angular_momenta)
        slots = np.zeros((0, shell_class.n_functions), dtype=np.int64)
        return ShellTable(np.zeros(0), np.zeros((0, columns)), empty, empty, slots)
    return ShellTable(
        exponents=np.concatenate([s.exponents for s, _, _ in shells]),
        coefficients=np.concatenate([s.coefficients for s, _, _ in shells]),
        shell=np.repeat(np.arange(len(shells)), [len(s.exponents) for s, _, _ in shells]),
        atom=np.array([atom for _, atom, _ in shells]),
        orbitals=np.stack([slots for _, _, slots in shells]),
    )
