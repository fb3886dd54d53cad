"""The first density matrix: a superposition of spherical atoms.

Each atom gets the orbitals of its minimal basis (STO-3G), projected on its own functions of the basis in use, with the
electrons of the neutral ground state spread evenly over the orbitals of a subshell. In STO-3G itself this is exact;
no integrals between atoms are needed, and the trace is the number of electrons.
"""

from __future__ import annotations

import numpy as np

from qmgen.dft.basis import Basis, Shell, load_basis, radial_overlap
from qmgen.dft.integrals.shells import ShellClass, function_count, solid_harmonics

#: (l, capacity) in the order of filling, to krypton: 1s 2s 2p 3s 3p 4s 3d 4p
_SUBSHELLS = ((0, 2), (0, 2), (1, 6), (0, 2), (1, 6), (0, 2), (2, 10), (1, 6))


def atomic_density(number: int, basis: Basis) -> np.ndarray:
    """Density matrix (n, n) of one neutral spherical atom; orbitals in the order of ``shell_tables``."""
    key = (basis.name, basis.checksum, basis.cartesian, number)
    if key not in _CACHE:
        _CACHE[key] = _atomic_density(number, basis)
    return _CACHE[key]


_CACHE: dict[tuple[str, str, bool, int], np.ndarray] = {}


def superposition_of_atoms(numbers: np.ndarray, basis: Basis, n_orbitals: int) -> np.ndarray:
    """Block-diagonal density (n_orbitals, n_orbitals), padding zero, for atoms ``numbers`` (A,)."""
    density = np.zeros((n_orbitals, n_orbitals))
    first = 0
    for z in numbers:
        if z:
            block = atomic_density(int(z), basis)
            density[first : first + len(block), first : first + len(block)] = block
            first += len(block)
    return density


def core_guess(core: np.ndarray, overlap: np.ndarray, n_real: int, n_occupied: int) -> np.ndarray:
    """Density of the orbitals of the bare nuclei: (n, n) from core Hamiltonian and overlap (n, n), padding zero."""
    values, vectors = np.linalg.eigh(overlap[:n_real, :n_real])
    root = (vectors / np.sqrt(values)) @ vectors.T
    occupied = root @ np.linalg.eigh(root @ core[:n_real, :n_real] @ root)[1][:, :n_occupied]
    density = np.zeros_like(core)
    density[:n_real, :n_real] = 2.0 * occupied @ occupied.T
    return density


def _atomic_density(number: int, basis: Basis) -> np.ndarray:
    minimal = load_basis("sto-3g")
    if number not in minimal.elements:
        minimal = basis
    functions, reference = _by_momentum(basis.shells(number)), _by_momentum(minimal.shells(number))
    sizes = [len(functions.get(l, [])) for l in range(max(functions) + 1)]
    counts = [function_count(l, basis.cartesian) for l in range(len(sizes))]
    n = sum(count * size for count, size in zip(counts, sizes, strict=True))
    density = np.zeros((n, n))
    start = 0
    for l, (count, size) in enumerate(zip(counts, sizes, strict=True)):
        occupied = reference.get(l, [])[:size]
        occupation = _occupations(number, l, len(occupied))
        if occupation.any():
            overlap = _overlaps(l, functions[l], functions[l])
            cross = _overlaps(l, functions[l], occupied)
            # orthonormal occupied orbitals, inner ones first
            orbitals = _gram_schmidt(np.linalg.solve(overlap, cross), overlap)
            radial = (orbitals * (occupation / (2 * l + 1))) @ orbitals.T
            # each spherical function of the subshell alike, as a sum of the functions that there are
            angular = _spherical_in(l, basis.cartesian)
            block = np.einsum("ij,ma,mb->iajb", radial, angular, angular)
            density[start : start + count * size, start : start + count * size] = block.reshape(count * size, -1)
        start += count * size
    return density


def _spherical_in(l: int, cartesian: bool) -> np.ndarray:
    """(2 l + 1, functions) the spherical functions of an angular momentum as sums of those of a basis set."""
    if not cartesian or l < 2:
        return np.eye(2 * l + 1)
    return solid_harmonics(l) / ShellClass((l,), cartesian=True).transform[0, 0]


def _occupations(number: int, momentum: int, available: int) -> np.ndarray:
    """Electrons in each of the ``available`` innermost subshells of one l in the neutral atom (Z <= 36)."""
    left, counts = number, []
    for l, capacity in _SUBSHELLS:
        filled = min(left, capacity)
        left -= filled
        if l == momentum:
            counts.append(filled)
    return np.array([*counts, *[0] * available][:available], dtype=float)


def _by_momentum(shells: tuple[Shell, ...]) -> dict[int, list[tuple[np.ndarray, np.ndarray]]]:
    table: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {}
    for shell in shells:
        for column, l in enumerate(shell.angular_momenta):
            table.setdefault(l, []).append((shell.exponents, shell.coefficients[:, column]))
    return table


def _overlaps(l: int, bra: list[tuple[np.ndarray, np.ndarray]], ket: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Overlaps of x^l exp(-a r^2) functions on one center."""
    return np.array([[radial_overlap(l, *a, *b) for b in ket] for a in bra]).reshape(len(bra), len(ket))


def _gram_schmidt(vectors: np.ndarray, overlap: np.ndarray) -> np.ndarray:
    upper = np.linalg.cholesky(vectors.T @ overlap @ vectors).T
    return np.linalg.solve(upper.T, vectors.T).T
