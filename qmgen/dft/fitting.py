"""Density fitting: which set of fitting functions belongs to a basis set, and whether it is used. Host side.

    basis = load_basis("def2-svp")
    default_jk(basis)                   # "df"
    load_fitting_set(None, basis)       # def2-universal-jkfit

The choice depends on the basis set alone: neither on the functional nor on the molecule. Elements that a fitting set
lacks, and sets without one, get even-tempered functions.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final, Literal, NamedTuple

import numpy as np

from qmgen.dft.basis import Basis, Shell, load_basis, split_shells
from qmgen.dft.basis_names import (
    ELEMENTS,
    canonical_name,
    checksum,
    is_auxiliary,
    is_fitting,
    plain_name,
    read_table,
)
from qmgen.dft.integrals.shells import HIGHEST_FITTING, LETTERS
from qmgen.errors import UsageError

JK = Literal["exact", "df"]
#: the name of fitting functions that are generated for all elements
EVEN_TEMPERED: Final = "even-tempered"
#: for messages: a set for all elements
UNIVERSAL: Final = "def2-universal-jkfit"
#: plain names of basis sets, and the set for J and K that belongs to them
_NAMED: Final = (
    (re.compile(r"(ma)?def2.*"), UNIVERSAL),
    (re.compile(r"631\+{0,2}g.*|ccpvdz"), "cc-pvdz-jkfit"),
    (re.compile(r"ccpvtz"), "cc-pvtz-jkfit"),
    (re.compile(r"augccpvdz"), "aug-cc-pvdz-jkfit"),
    (re.compile(r"augccpvtz"), "aug-cc-pvtz-jkfit"),
)
#: ratio of successive exponents of even-tempered functions
RATIO: Final = 2.0
#: coefficients of primitives that an element's range of exponents is taken from
_SIZE: Final = 1e-3


class EvenTempered(NamedTuple):
    """``number`` functions of angular momentum ``l``, exponents ``smallest`` (1/Bohr^2) times powers of ``RATIO``."""

    l: int
    number: int
    smallest: float

    @property
    def shells(self) -> list[Any]:
        """In PySCF's format, steepest first."""
        return [[self.l, [self.smallest * RATIO**power, 1.0]] for power in reversed(range(self.number))]


def default_jk(basis: Basis) -> JK:
    """What ``--jk auto`` stands for: density fitting for polarized sets; exact integrals for the others, which are
    small, and which fitting sets do not fit well (STO-3G: mHa)."""
    return "df" if basis.polarized else "exact"


def fitting_name(basis: Basis) -> str | None:
    """The fitting set that belongs to a basis set; None for a set without polarization that none was made for."""
    plain = plain_name(basis.name)
    named = next((name for pattern, name in _NAMED if pattern.fullmatch(plain)), None)
    return named or (EVEN_TEMPERED if basis.polarized else None)


def load_fitting_set(name: str | None, basis: Basis) -> Basis:
    """Fitting functions for the elements of ``basis``, one angular momentum a shell, in the set called ``name``, or in
    the one that belongs to ``basis``; Cartesian where ``basis`` is, as in PySCF.

    Raises:
        UsageError: no set of that name, one that is no fitting set or has functions beyond h; or no name, and none
            belongs to ``basis``.
    """
    wanted = name or fitting_name(basis)
    if wanted is None:
        raise UsageError(
            f"no fitting set belongs to {basis.name}: use --jk exact, or name one, as --auxbasis {UNIVERSAL}"
        )
    return _load(canonical_name(wanted), " ".join(wanted.split()).lower(), basis.name, basis.cartesian)


@lru_cache(maxsize=16)
def _load(name: str, asked: str, basis_name: str, cartesian: bool) -> Basis:
    """``asked`` is what the user wrote, for the messages."""
    basis = load_basis(basis_name, cartesian)
    named = {} if name == plain_name(EVEN_TEMPERED) else _named(name, asked)
    source = {z: named.get(z) or _shells(even_tempered(z, basis.source[z])) for z in sorted(basis.elements)}
    table = {z: _unmerged(shells) for z, shells in source.items()}
    return Basis(name if named else EVEN_TEMPERED, table, checksum(source), cartesian=cartesian, source=source)


def _named(name: str, asked: str) -> dict[int, list[Any]]:
    """The table of a fitting set, for the elements that are labeled."""
    if not is_fitting(name):
        kind = "an auxiliary set for another purpose" if is_auxiliary(name) else "no fitting set"
        read_table(asked, "fitting set")  # or it does not exist
        raise UsageError(f"fitting set '{asked}' is {kind}: use one for J and K, such as {UNIVERSAL}")
    table = {z: shells for z, shells in read_table(asked, "fitting set").elements.items() if z in ELEMENTS}
    if max(shell[0] for shells in table.values() for shell in shells) > HIGHEST_FITTING:
        highest = LETTERS[HIGHEST_FITTING]
        raise UsageError(
            f"fitting set '{asked}' has functions beyond {highest}: use a smaller one, such as {UNIVERSAL}"
        )
    return table


def _unmerged(shells: Sequence[Any]) -> tuple[Shell, ...]:
    return tuple(replace(shell, places=(place,)) for place, shell in enumerate(split_shells(shells)))


def generated(basis: Basis, fitting: Basis) -> dict[int, list[EvenTempered]]:
    """The even-tempered functions of ``fitting``, by atomic number: all that is needed to make them again."""
    parts = {z: even_tempered(z, basis.source[z]) for z in sorted(fitting.elements)}
    return {z: found for z, found in parts.items() if fitting.source[z] == _shells(found)}


def even_tempered(number: int, shells: Sequence[Any]) -> list[EvenTempered]:
    """Fitting functions for products of two of an atom's ``shells`` (in PySCF's format), by angular momentum up to h.

    Exponents of a product are taken as twice the geometric mean of those of its factors. The factors go to the highest
    l of the occupied shells of the row of the element, or one less; l of their products to twice that.

    Source: PySCF 2.14, ``df.addons._aug_etb_element``, which goes beyond h.
    """
    highest = min(max(shell[0] for shell in shells), 1 if number <= 4 else 2 if number <= 20 else 3)
    steepest, smallest = np.zeros(highest + 1), np.full(highest + 1, np.inf)
    for l, *rows in shells:
        array = np.array([row for row in rows if isinstance(row, (list, tuple))])
        exponents = array[np.abs(array[:, 1:]).max(axis=1) > _SIZE, 0]
        if l <= highest:
            steepest[l], smallest[l] = max(exponents.max(), steepest[l]), min(exponents.min(), smallest[l])
    sums = np.add.outer(np.arange(highest + 1), np.arange(highest + 1))
    most, least = (2 * np.sqrt(np.multiply.outer(ends, ends)) for ends in (steepest, smallest))
    parts = []
    for l in range(min(2 * highest, HIGHEST_FITTING) + 1):
        first, last = least[sums == l].min(), most[sums == l].max()
        count = int(np.ceil(np.log((last + first) / first) / np.log(RATIO)))
        parts.append(EvenTempered(l, count, float(first)))
    return parts


def _shells(parts: Sequence[EvenTempered]) -> list[Any]:
    return [shell for part in parts for shell in part.shells]
