"""Host side: the shells of one molecule, sorted by kind, as flat arrays of primitives.

A *kind* is a tuple of angular momenta over common exponents. Two kinds cover s and p: ``S`` (0,) and ``SP`` (0, 1).
A shell with p alone is an ``SP`` shell without a slot for its s function. d and f shells are further kinds: all
tables below this module follow from the momenta.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from qmgen.dft.basis import Basis, Shell
from qmgen.errors import UsageError

KINDS: tuple[tuple[int, ...], ...] = ((0,), (0, 1))


@dataclass(frozen=True)
class KindTable:
    """All shells of one kind in one molecule. n primitives in m shells, f functions a shell.

    Attributes:
        exponents: (n,) 1/Bohr^2.
        coefficients: (n, momenta), norms included.
        shell: (n,) the shell each primitive belongs to.
        atom: (m,) the atom each shell sits on.
        orbitals: (m, f) index of each function among the atomic orbitals, -1 for an unused one.
    """

    exponents: np.ndarray
    coefficients: np.ndarray
    shell: np.ndarray
    atom: np.ndarray
    orbitals: np.ndarray


def functions_of(kind: tuple[int, ...]) -> list[tuple[int, tuple[int, int, int]]]:
    """The functions of a kind: (column of its coefficients, powers of x y z), in the order of the orbitals."""
    powers = {0: [(0, 0, 0)], 1: [(1, 0, 0), (0, 1, 0), (0, 0, 1)]}
    return [(column, xyz) for column, l in enumerate(kind) for xyz in powers[l]]


def shell_tables(numbers: np.ndarray, basis: Basis) -> tuple[KindTable, ...]:
    """One ``KindTable`` per kind, for atoms ``numbers`` (A,); orbitals in PySCF's order (atom, l, as listed)."""
    missing = sorted({int(z) for z in numbers} - basis.elements - {0})
    if missing:
        raise UsageError(f"basis '{basis.name}' has no element {missing[0]}")
    collected: list[list[tuple[Shell, int, np.ndarray]]] = [[] for _ in KINDS]
    first = 0
    for atom, z in enumerate(numbers):
        if z == 0:
            continue
        for kind, shell, slots in _element_shells(basis.name, basis.checksum, int(z), basis):
            collected[kind].append((shell, atom, np.where(slots >= 0, slots + first, -1)))
        first += basis.n_orbitals(np.array([z]))
    return tuple(_stack(kind, shells) for kind, shells in enumerate(collected))


def shell_orbitals(numbers: np.ndarray, basis: Basis) -> list[tuple[int, Shell, list[int]]]:
    """(atom, shell, indices of its orbitals) of a molecule, atom by atom; padding (Z = 0) has none."""
    found, first = [], 0
    for atom, z in enumerate(numbers):
        if z == 0:
            continue
        for plain, (_, _, slots) in zip(
            basis.shells(int(z)), _element_shells(basis.name, basis.checksum, int(z), basis)
        ):
            found.append((atom, plain, [int(slot) + first for slot in slots if slot >= 0]))
        first += basis.n_orbitals(np.array([z]))
    return found


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
    order = sorted((l, i) for i, shell in enumerate(shells) for l in shell.momenta)
    slot, start = {}, 0
    for l, i in order:
        slot[(i, l)] = start
        start += 2 * l + 1
    placed = []
    for i, shell in enumerate(shells):
        kind = next(k for k, momenta in enumerate(KINDS) if set(shell.momenta) <= set(momenta))
        slots, columns = [], []
        for l in KINDS[kind]:
            present = l in shell.momenta
            slots += [slot[(i, l)] + m if present else -1 for m in range(2 * l + 1)]
            columns.append(shell.coefficients[:, shell.momenta.index(l)] if present else np.zeros(len(shell.exponents)))
        placed.append((kind, Shell(KINDS[kind], shell.exponents, np.stack(columns, axis=1)), np.array(slots)))
    return placed


def _stack(kind: int, shells: list[tuple[Shell, int, np.ndarray]]) -> KindTable:
    momenta, n_functions = KINDS[kind], len(functions_of(KINDS[kind]))
    if not shells:
        empty = np.zeros(0, dtype=np.int64)
        return KindTable(
            np.zeros(0), np.zeros((0, len(momenta))), empty, empty, np.zeros((0, n_functions), dtype=np.int64)
        )
    return KindTable(
        exponents=np.concatenate([s.exponents for s, _, _ in shells]),
        coefficients=np.concatenate([s.coefficients for s, _, _ in shells]),
        shell=np.repeat(np.arange(len(shells)), [len(s.exponents) for s, _, _ in shells]),
        atom=np.array([atom for _, atom, _ in shells]),
        orbitals=np.stack([slots for _, _, slots in shells]),
    )


@lru_cache(maxsize=8)
def kind_pairs() -> tuple[tuple[int, int], ...]:
    """The classes of shell pairs, as (kind of a, kind of b) with a >= b, ascending in cost."""
    return tuple((a, b) for a in range(len(KINDS)) for b in range(a + 1))
