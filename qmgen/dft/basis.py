"""Basis sets: shells of contracted Gaussians per element, and the shells of one molecule. Host side, numpy.

    basis = load_basis("sto-3g")
    basis.shells(6)     # carbon: a 1s shell, and a 2s2p shell whose functions share their exponents
    shell_tables(numbers, basis)    # of a molecule, sorted by ``ShellClass``

Functions of one element that share exponents form one ``Shell`` with several angular momenta (the "sp shells" of
Pople's sets), so that a pair of shells is evaluated once for all of them. Tables come from the data files
beside this module; other names are read through PySCF by ``basis_pyscf``.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib import resources

import numpy as np

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

SHIPPED = ("sto-3g", "6-31g")


@dataclass(frozen=True)
class Shell:
    """Contracted functions of one atom over common exponents.

    Attributes:
        angular_momenta: l of the functions, ascending; each stands for 2l+1 functions.
        exponents: (K,) in 1/Bohr^2, descending.
        coefficients: (K, len(angular_momenta)), with the norms of primitives and of the contracted function in them.
    """

    angular_momenta: tuple[int, ...]
    exponents: np.ndarray
    coefficients: np.ndarray


@dataclass(frozen=True)
class Basis:
    """A named basis set; ``table`` maps atomic number to its shells in the order of the orbitals.

    ``beyond`` are elements of the set with shells that there are no integrals for. ``cartesian`` says that functions
    from d on are Cartesian, and not spherical.
    """

    name: str
    table: dict[int, tuple[Shell, ...]]
    checksum: str
    beyond: frozenset[int] = frozenset()
    cartesian: bool = False

    @property
    def elements(self) -> frozenset[int]:
        return frozenset(self.table)

    def shells(self, number: int) -> tuple[Shell, ...]:
        return self.table[number]

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


def load_basis(name: str) -> Basis:
    """The basis set called ``name``; case, hyphens, underscores and spaces do not matter.

    A set that does not ship is called what PySCF calls it, without any of these, so that it has one name.

    Raises:
        UsageError: no set of that name, one whose elements all have shells without integrals here, or one
            made for effective core potentials.
    """
    plain = name.lower().translate(str.maketrans("", "", "-_ "))
    return _load({shipped.replace("-", ""): shipped for shipped in SHIPPED}.get(plain, plain), name.strip().lower())


@lru_cache(maxsize=16)
def _load(name: str, asked: str) -> Basis:
    """``asked`` is what the user wrote, for the messages."""
    if name in SHIPPED:
        raw = json.loads(resources.files("qmgen.dft").joinpath("data", f"{name}.json").read_text())["elements"]
    else:
        raw = _from_pyscf(name, asked)
    whole = {int(z): _merge_shells(shells) for z, shells in raw.items()}
    table = {z: shells for z, shells in whole.items() if _highest(shells) <= HIGHEST_ORBITAL and z not in range(21, 31)}
    if not table:
        raise UsageError(f"basis '{asked}' has functions beyond {SUPPORTED} on every element: choose a smaller one")
    checksum = hashlib.sha256(json.dumps(raw, sort_keys=True).encode()).hexdigest()[:16]
    return Basis(name, table, checksum, frozenset(whole) - frozenset(table))


def _highest(shells: tuple[Shell, ...]) -> int:
    return max(l for shell in shells for l in shell.angular_momenta)


def _from_pyscf(name: str, asked: str) -> dict[str, list]:
    try:
        from qmgen.dft.basis_pyscf import known_names, read_tables
    except ImportError as error:
        raise UsageError(
            f"basis '{asked}' is not one of {', '.join(SHIPPED)}, and PySCF, which has more, is missing"
        ) from error
    raw = read_tables(name)
    if not raw:
        shown = {plain.replace("-", ""): plain for plain in (*known_names(), *SHIPPED)}
        near = difflib.get_close_matches(name, shown, n=1, cutoff=0.5)
        hint = f"; did you mean '{shown[near[0]]}'?" if near else ""
        raise UsageError(f"unknown basis '{asked}'{hint} (shipped: {', '.join(SHIPPED)})")
    complete = {z: shells for z, shells in raw.items() if _all_electron(int(z), shells)}
    if not complete:
        raise UsageError(f"basis '{asked}' belongs to effective core potentials, which are not supported")
    return complete


def _all_electron(number: int, shells: list) -> bool:
    """Whether a table describes the 1s core: its steepest s exponent is then well above Z^2/2 (STO-3G: 1.6 Z^2).

    Sets made for effective core potentials have none, and would give wrong energies with all electrons in.
    """
    steepest = max(
        (row[0] for l, *rows in shells if l == 0 for row in rows if isinstance(row, (list, tuple))), default=0
    )
    return number <= 2 or steepest > 0.5 * number**2


def _merge_shells(raw: list) -> tuple[Shell, ...]:
    """Shells of one function each; the n-th s goes with the n-th p that has the same exponents.

    Orbitals keep PySCF's order (by angular momentum, then as listed) through ``orbital_slots`` of the shell layout.
    """
    plain: list[tuple[int, np.ndarray, np.ndarray]] = []
    for entry in raw:
        l, rows = entry[0], entry[1:]
        if rows and not isinstance(rows[0], (list, tuple)):  # [l, kappa, rows...]: PySCF's relativistic marker
            rows = rows[1:]
        array = np.asarray(rows, dtype=np.float64)
        order = np.argsort(-array[:, 0], kind="stable")
        for column in range(1, array.shape[1]):
            plain.append((l, array[order, 0], _normalized(l, array[order, 0], array[order, column])))
    shells: list[Shell] = []
    used: set[int] = set()
    for i, (l, exponents, coefficients) in enumerate(plain):
        if i in used:
            continue
        momenta, columns = [l], [coefficients]
        for j in range(i + 1, len(plain)):
            lj, ej, cj = plain[j]
            if (
                j not in used
                and momenta == [0]
                and lj == 1
                and ej.shape == exponents.shape
                and np.array_equal(ej, exponents)
            ):
                momenta.append(lj)
                columns.append(cj)
                used.add(j)
        shells.append(Shell(tuple(momenta), exponents, np.stack(columns, axis=1)))
    return tuple(shells)


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
    order = sorted((l, i) for i, shell in enumerate(shells) for l in shell.angular_momenta)
    slot, start = {}, 0
    for l, i in order:
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
