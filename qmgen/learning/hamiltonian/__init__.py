"""What a network sees of a molecule before it predicts its Hamiltonian: one Fock build from spherical atoms."""

from __future__ import annotations

from typing import Any, NamedTuple


class Inputs(NamedTuple):
    """One molecule of A atoms and n orbitals (both padded), or many with a leading axis. Hartree, Bohr.

    Attributes:
        numbers: (A,) int32, 0 for padding.
        positions: (A, 3).
        orbital_atom: (n,) int32, the atom of each orbital; padding 0.
        orbital_place: (n,) int32, which of its atom's orbitals it is; padding -1.
        orbital_l: (n,) int32, its angular momentum, 0 or 1; padding -1.
        orbital_m: (n,) int32, x, y, z (0, 1, 2) of a p orbital; 0 for s.
        overlap, core: (n, n) S and T + V; padding zero, as in all that follow.
        density: (n, n) superposition of spherical atoms.
        two_electron: (n, n) J - c/2 K of that density, with c the functional's share of exact exchange.
        exchange_correlation: (n, n) semilocal potential of that density.
        initial: (n, n) core + two_electron + exchange_correlation, which the network corrects.
    """

    numbers: Any
    positions: Any
    orbital_atom: Any
    orbital_place: Any
    orbital_l: Any
    orbital_m: Any
    overlap: Any
    core: Any
    density: Any
    two_electron: Any
    exchange_correlation: Any
    initial: Any
