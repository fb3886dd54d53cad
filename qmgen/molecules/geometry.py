"""Chemical elements, and what every geometry goes through: units, the precision of the corpus, and soundness.

The corpus stores positions as float32 in Bohr, and a label must belong to the stored geometry. So positions are
rounded once, here, to float64 values that float32 holds exactly; everything later computes with those.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from operator import itemgetter
from typing import Final, NamedTuple

import numpy as np

from qmgen.constants import BOHR_TO_ANGSTROM
from qmgen.molecules.types import Reason

_TABLE: Final = """
H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y Zr Nb Mo Tc
Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi
Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts Og
"""
#: symbols in order of atomic number: ``SYMBOLS[6]`` is "C"; ``SYMBOLS[0]`` stands for no element
SYMBOLS: Final[tuple[str, ...]] = ("?", *_TABLE.split())
_RADIUS_TABLE: Final = """
31 28 128 96 84 76 71 66 57 58 166 141 121 111 107 105 102 106 203 176 170 160 152 139 139 132 126 124 132 122 122
120 119 120 120 116 220 195 190 175 164 154 147 146 142 139 145 144 142 139 139 138 139 140 244 215 207 204 203 201
199 198 198 196 194 192 192 189 190 187 187 175 170 162 151 144 141 136 136 132 145 146 148 140 150 150 260 220 215
206 200 196 190 187 180 169 190 190 190 190 190 190 190 190 190 190 190 190 190 190 190 190 136 143 162 175 165 157
"""
#: covalent radii in Angstrom by atomic number, the table of RDKit, which is that of B. Cordero et al., Dalton Trans.
#: 2832 (2008), completed beyond curium; ``COVALENT_RADII[0]`` stands for no element
COVALENT_RADII: Final[tuple[float, ...]] = (0.0, *(int(radius) / 100 for radius in _RADIUS_TABLE.split()))
#: characters of the longest symbol or number
_LONGEST_SYMBOL: Final = 3
_NUMBERS: Final = {symbol: number for number, symbol in enumerate(SYMBOLS) if number}


def symbol_of(number: int) -> str:
    """The symbol of an atomic number; the number itself in digits where no such element exists."""
    return SYMBOLS[number] if 0 < number < len(SYMBOLS) else str(number)


def number_of(text: str) -> int | None:
    """The atomic number of a symbol in any case ("C", "cl", "CL") or of a number in digits ("6"); None if neither."""
    if number := _NUMBERS.get(text):
        return number
    if len(text) > _LONGEST_SYMBOL or not text.isascii():  # int() refuses thousands of digits; "ſi" capitalized is "Si"
        return None
    if text.isdigit():
        number = int(text)
        return number if 0 < number < len(SYMBOLS) else None
    return _NUMBERS.get(text.capitalize())


def radii_of(numbers: np.ndarray) -> np.ndarray:
    """Covalent radii (atoms,) in Bohr."""
    return _RADII[np.minimum(numbers, len(_RADII) - 1)] / BOHR_TO_ANGSTROM


def hill_formula(counts: Mapping[str, int]) -> str:
    """The formula in Hill's order, from the number of atoms by symbol: C, H, then the alphabet; without C the alphabet
    alone."""
    first = ("C", "H") if counts.get("C") else ()
    order = sorted(counts, key=lambda symbol: (symbol not in first, symbol))
    return "".join(f"{symbol}{counts[symbol] if counts[symbol] > 1 else ''}" for symbol in order if counts[symbol])


#: two atoms nearer than this (Angstrom) are one point, by mistake
COINCIDENCE_ANGSTROM: Final = 0.1
#: the most atoms of a geometry that is read, whatever its file: far beyond what can be labeled, and few enough for
#: checks of all pairs
MOST_ATOMS: Final = 5000
#: no coordinate (Angstrom) of a molecule of that size is larger
LARGEST_COORDINATE: Final = 1e4
#: Two atoms nearer than this share of the sum of their covalent radii are refused. The shortest bonds of main-group
#: molecules are 0.77 of it (N2, CO), of bonds to hydrogen, which are all single, 0.95 (HCl); the shortest of all is
#: that of Cr2, 0.60. The shares are 0.6 to 0.8 of those bonds, and leave scans room: H2 from 0.35 Angstrom, N2 from
#: 0.71, HF from 0.49. Angstrom that are taken for Bohr make the bonds of C, N, O and F to hydrogen 0.52 to 0.55.
SHORTEST: Final = 0.5
SHORTEST_TO_HYDROGEN: Final = 0.56
#: A geometry of three atoms and more is refused where half of its atoms are nearer than this share to the next atom. A
#: scan or a collision shortens a few bonds, a wrong unit all of them: to 0.53 in CF4 and other molecules of single
#: bonds, which Angstrom taken for Bohr leaves above ``SHORTEST``.
SHORT_TOGETHER: Final = 0.6
#: the same for geometries, of two atoms too, whose unit is not stated: H2 of 0.74 Angstrom taken for Bohr has 0.63,
#: OF2 0.60
SHORT_FOR_UNKNOWN_UNIT: Final = 0.64
#: A geometry of three atoms and more whose unit is not stated is refused where no atom is nearer than this share to
#: the next one: Bohr taken for Angstrom makes bonds 1.46 (N2) to 2.1 times the sum of the covalent radii, pm 80 times.
#: Scans that take a molecule apart at all its bonds together, and clusters of noble gases, must state their unit.
LONG_FOR_UNKNOWN_UNIT: Final = 1.4
_BLOCK: Final = 256
_LONGEST_UNIT: Final = 40
#: digits of a count in a message
_SHOWN_DIGITS: Final = 20
_RADII: Final = np.array(COVALENT_RADII)
#: spellings of units of length (in lower case, without dots, underscores, blanks and brackets)
_SPELLINGS: Final = {
    "bohr": "bohr bohrs bohrradius bohrradii a0 au atomic atomicunit atomicunits",
    "angstrom": "a ang angs angstrom angstroms angstroem angstroems ångström ångströms ångstrom ångstroms å",
    "nm": "nm nanometer nanometers nanometre nanometres",
    "pm": "pm picometer picometers picometre picometres",
}
_UNITS: Final = {spelling: unit for unit, spellings in _SPELLINGS.items() for spelling in spellings.split()}
#: what one unit is in Angstrom; Bohr is the unit inside
_IN_ANGSTROM: Final = {"angstrom": 1.0, "nm": 10.0, "pm": 0.01}
_NOT_SPELLED: Final = str.maketrans("", "", "._()[]{}\"', \t\n")


def stored_precision(positions: np.ndarray) -> np.ndarray:
    """Positions (..., 3) in Bohr, rounded to the nearest float32 and returned as float64.

    Values beyond float32 become infinite, and are then refused by ``geometry_problem``.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(positions, dtype=np.float64).astype(np.float32).astype(np.float64)


def bohr_from_angstrom(positions: np.ndarray) -> np.ndarray:
    """Positions (..., 3) in Angstrom, as float64 in Bohr at the precision of the corpus."""
    return stored_precision(np.asarray(positions, dtype=np.float64) / BOHR_TO_ANGSTROM)


def bohr_from(positions: np.ndarray, unit: str) -> np.ndarray:
    """Positions (..., 3) in a unit of ``unit_of_length``, as float64 in Bohr at the precision of the corpus."""
    name = unit_of_length(unit)
    if name == "bohr":
        return stored_precision(positions)
    return bohr_from_angstrom(positions * _IN_ANGSTROM[name or unit])


@lru_cache(maxsize=1024)  # the frames of a file have the same words
def unit_of_length(text: str) -> str | None:
    """The unit of length of which ``text`` is a spelling: "bohr", "angstrom", "nm" or "pm"; None for any other text."""
    if len(text) > _LONGEST_UNIT:
        return None
    return _UNITS.get(text.translate(_NOT_SPELLED).casefold().replace("\u212b", "å"))


def distances(positions: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Distances (len(rows), atoms) of the atoms ``rows`` from all positions (atoms, 3), in their unit."""
    squares = np.zeros((len(rows), len(positions)))
    for axis in positions.T:  # thrice as fast as an array of all differences
        difference = axis[rows][:, None] - axis
        squares += difference * difference
    return np.sqrt(squares)


def size_problem(atoms: int | str) -> tuple[Reason, str] | None:
    """Why a geometry of so many atoms, a number or its digits as a file has them, is not read: more than
    ``MOST_ATOMS``."""
    digits = str(atoms).lstrip("0") or "0"
    if len(digits) <= len(str(MOST_ATOMS)) and int(digits) <= MOST_ATOMS:  # int() refuses thousands of digits
        return None
    shown = digits if len(digits) <= _SHOWN_DIGITS else f"{digits[:_SHOWN_DIGITS]}…"
    return Reason.UNREADABLE, f"{shown} atoms; a molecule of at most {MOST_ATOMS} atoms is read"


def geometry_problem(numbers: np.ndarray, positions: np.ndarray) -> tuple[Reason, str] | None:
    """Why numbers (atoms,) at positions (atoms, 3) in Bohr cannot be labeled: too many, not finite, beyond
    ``LARGEST_COORDINATE``, or two atoms coincide."""
    problem = _coordinates_problem(numbers, positions)
    return problem or _coincidence_problem(numbers, neighbors(numbers, positions).closest)


def given_geometry_problem(
    numbers: np.ndarray, positions: np.ndarray
) -> tuple[tuple[Reason, str] | None, Neighbors | None]:
    """Why numbers (atoms,) at positions (atoms, 3) in Bohr are of no molecule: a ``geometry_problem``, two atoms nearer
    than any bond is long, or all bonds short together, as in another unit. With it the ``Neighbors`` that were found,
    so that further checks need not look for them."""
    if problem := _coordinates_problem(numbers, positions):
        return problem, None
    near = neighbors(numbers, positions)
    return _coincidence_problem(numbers, near.closest) or _bond_length_problem(numbers, near), near


def unknown_unit_problem(near: Neighbors, if_short: str, if_apart: str) -> str:
    """Why a geometry without a problem, whose unit is not stated, may be in another one; else "".

    Its bonds are short together (``SHORT_FOR_UNKNOWN_UNIT``), or no two atoms of three or more are near
    (``LONG_FOR_UNKNOWN_UNIT``). ``if_short`` and ``if_apart`` are the messages, %s stands for what was found; an empty
    one leaves its check out.
    """
    if if_short and len(near.share) > 1 and (short := _scale_problem(near, SHORT_FOR_UNKNOWN_UNIT)):
        return if_short % short
    if if_apart and len(near.share) > 2 and near.least > LONG_FOR_UNKNOWN_UNIT:
        return if_apart % f"no two atoms are nearer than {near.least:.3g} times the sum of their covalent radii"
    return ""


class Neighbors(NamedTuple):
    """Of each atom the ``nearest`` other one (atoms,), measured in covalent radii, and how near it is: ``distance``
    in the unit of the positions, ``share`` of the sum of both covalent radii, and ``allowed``, the least share.

    Of all pairs ``closest`` is the smallest distance with its two atoms, ``least`` the smallest share; infinite for one
    atom.
    """

    nearest: np.ndarray
    distance: np.ndarray
    share: np.ndarray
    allowed: np.ndarray
    closest: tuple[float, int, int]
    least: float


def neighbors(numbers: np.ndarray, positions: np.ndarray) -> Neighbors:
    """The nearest other atom of each, for numbers (atoms,) at positions (atoms, 3) in Bohr.

    Rows are taken in blocks, so that memory stays linear in the number of atoms.
    """
    radii, hydrogen = radii_of(numbers), np.asarray(numbers) == 1
    parts: list[tuple[np.ndarray, ...]] = []
    closest, least = (np.inf, 0, 0), np.inf
    for rows, distance in distances_in_blocks(positions):
        share = distance / (radii[rows][:, None] + radii)
        allowed = np.where(hydrogen[rows][:, None] | hydrogen, SHORTEST_TO_HYDROGEN, SHORTEST)
        nearest = (share / allowed).argmin(axis=1)
        at = rows - rows[0], nearest
        parts.append((nearest, distance[at], share[at], allowed[at]))
        closest, least = min(closest, _smallest(distance, rows[0]), key=itemgetter(0)), min(least, float(share.min()))
    columns = parts[0] if len(parts) == 1 else [np.concatenate(part) for part in zip(*parts, strict=True)]
    return Neighbors(columns[0], columns[1], columns[2], columns[3], closest, least)


def distances_in_blocks(positions: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows (k,) and the ``distances`` (k, atoms) of these atoms from all; of an atom from itself infinite."""
    for start in range(0, len(positions), _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, len(positions)))
        distance = distances(positions, rows)
        distance[rows - start, rows] = np.inf
        yield rows, distance


def _smallest(distance: np.ndarray, first: int) -> tuple[float, int, int]:
    """The smallest of distances (k, atoms) of the atoms from ``first`` on, and its two atoms, the lower one first."""
    i, j = divmod(int(distance.argmin()), distance.shape[1])
    return float(distance[i, j]), *sorted((int(first) + i, j))  # type: ignore[return-value]


def _coordinates_problem(numbers: np.ndarray, positions: np.ndarray) -> tuple[Reason, str] | None:
    """Too many atoms, or positions that are not finite or beyond ``LARGEST_COORDINATE``."""
    if problem := size_problem(len(numbers)):
        return problem
    if (np.abs(positions) * BOHR_TO_ANGSTROM <= LARGEST_COORDINATE).all():  # nor is one not finite
        return None
    finite = np.isfinite(positions).all(axis=-1)
    if not finite.all():
        atom = int(np.argmin(finite))
        return Reason.BAD_COORDINATES, f"{_atom(numbers, atom)} has no finite position"
    atom = int(np.argmax((np.abs(positions) * BOHR_TO_ANGSTROM > LARGEST_COORDINATE).any(axis=-1)))
    return (
        Reason.BAD_COORDINATES,
        f"{_atom(numbers, atom)} has a coordinate beyond {LARGEST_COORDINATE:g} Angstrom",
    )


def _coincidence_problem(numbers: np.ndarray, closest: tuple[float, int, int]) -> tuple[Reason, str] | None:
    """That the ``closest`` two atoms coincide."""
    distance, i, j = closest
    if distance * BOHR_TO_ANGSTROM >= COINCIDENCE_ANGSTROM:
        return None
    return Reason.COINCIDENT_ATOMS, f"{_pair(numbers, i, j)} are {distance * BOHR_TO_ANGSTROM:.3f} Angstrom apart"


def _bond_length_problem(numbers: np.ndarray, near: Neighbors) -> tuple[Reason, str] | None:
    """That two atoms are nearer than any bond is long, or all bonds are short together."""
    if len(numbers) < 2:
        return None
    i = int((near.share / near.allowed).argmin())
    if near.share[i] < near.allowed[i]:
        angstrom = float(near.distance[i]) * BOHR_TO_ANGSTROM
        least = angstrom / near.share[i] * near.allowed[i]
        pair = _pair(numbers, *sorted((i, int(near.nearest[i]))))
        detail = f"{pair} are {angstrom:.3f} Angstrom apart, nearer than in any molecule (from {least:.2f})"
        return Reason.BAD_COORDINATES, f"{detail}; {_CHECK_UNIT}"
    if len(numbers) > 2 and (short := _scale_problem(near, SHORT_TOGETHER)):
        return Reason.BAD_COORDINATES, f"{short}; {_CHECK_UNIT}"
    return None


_CHECK_UNIT: Final = (
    "check the unit: .xyz and .sdf are read in Angstrom, pos of Parquet and positions in Python in Bohr"
)


def _scale_problem(near: Neighbors, least: float) -> str:
    """That the bonds are short together, half of them below the share ``least`` of the covalent radii; else ""."""
    share = np.sort(near.share)
    half = len(share) // 2
    middle = float(share[half] if len(share) % 2 else (share[half - 1] + share[half]) / 2)
    return f"bonds of {middle:.2f} times their usual lengths, as in no molecule" if middle < least else ""


def _atom(numbers: np.ndarray, place: int) -> str:
    return f"atom {place} ({symbol_of(int(numbers[place]))})"


def _pair(numbers: np.ndarray, first: int, second: int) -> str:
    return f"atoms {_atom(numbers, first)[5:]} and {_atom(numbers, second)[5:]}"


def electrons_problem(numbers: np.ndarray, charge: int, multiplicity: int | None = None) -> tuple[Reason, str] | None:
    """Why a molecule is outside closed-shell, neutral work: a net charge, an odd count of electrons, or a
    ``multiplicity`` (None where it is not stated) other than 1."""
    if charge:
        return Reason.NET_CHARGE, f"net charge {charge:+d}; only neutral molecules are labelled"
    if int(np.asarray(numbers, dtype=np.int64).sum()) % 2:
        return Reason.ODD_ELECTRONS, "odd number of electrons; only closed shells are labelled"
    if multiplicity is not None and multiplicity != 1:
        detail = f"multiplicity {multiplicity}: {multiplicity - 1} unpaired electrons; only closed shells are labelled"
        return Reason.ODD_ELECTRONS, detail
    return None
