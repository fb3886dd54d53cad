"""Electrons of a molecule, from its charge and multiplicity: computed here alone."""

from __future__ import annotations

from typing import Any


def doubly_occupied(numbers: Any, charge: int = 0, multiplicity: int = 1) -> Any:
    """Doubly occupied orbitals of atoms ``numbers`` (..., A), an array of NumPy or JAX; padding is 0.

    Of sum(Z) - charge electrons, multiplicity - 1 are unpaired.
    """
    return (numbers.sum(axis=-1, dtype=int) - charge - (multiplicity - 1)) // 2
