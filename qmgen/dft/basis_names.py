"""Names and tables of basis sets, as they are written and as they are read. Host side.

    table = read_table("6-31G(d)")
    table.name            # "6-31g*": one name for a set, however it is written
    table.elements[6]     # shells of carbon in PySCF's format: [l, [exponent, coefficient, ...], ...]

Tables come from the data files beside this module, else through PySCF by ``basis_pyscf``, else from the package
basis-set-exchange, if that is installed, by ``basis_exchange``.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any, Final, Literal

from qmgen.errors import UsageError

#: sets that are data files of this package
SHIPPED: Final = ("sto-3g", "6-31g", "6-31g*", "def2-svp", "def2-tzvp", "def2-universal-jkfit", "cc-pvdz-jkfit")
#: sets with hyphens in their names; others are called what PySCF calls them: 3-21G is 321g, as in the first corpora
NAMES: Final = (
    *SHIPPED,
    "6-31g**", "6-31+g*", "6-31+g**", "6-31++g*", "6-31++g**", "6-31g(2df,p)",
    "6-311g*", "6-311g**", "6-311+g*", "6-311+g**", "6-311++g*", "6-311++g**", "6-311g(2df,p)", "6-311++g(2df,p)",
    "def2-svpd", "def2-tzvpd", "def2-tzvpp", "def2-tzvppd", "def2-mtzvp", "def2-mtzvpp",
    "cc-pvdz", "cc-pvtz", "aug-cc-pvdz", "aug-cc-pvtz", "pcseg-1", "pcseg-2", "aug-pcseg-1", "aug-pcseg-2",
    "cc-pvtz-jkfit", "cc-pvqz-jkfit", "cc-pv5z-jkfit", "aug-cc-pvdz-jkfit", "aug-cc-pvtz-jkfit", "aug-cc-pvqz-jkfit",
    "heavy-aug-cc-pvdz-jkfit", "heavy-aug-cc-pvtz-jkfit", "def2-universal-jfit",
)  # fmt: skip
#: elements that are labeled, as far as a set has them: H to Ca, Ga to Kr
ELEMENTS: Final = (*range(1, 21), *range(31, 37))
#: orbital sets with all of these, for messages: a small one, and one as large as there are integrals for
WHOLE: Final = "def2-svp"
LARGE: Final = "def2-tzvp"
#: sets for J and K, and for J alone
_JK: Final = re.compile(r".*jkfit")
_J: Final = re.compile(r".*(jfit|cfit)|demon|ahlrichs")
#: other auxiliary sets: for exchange-correlation, correlation, resolutions of the identity, atomic potentials
_AUXILIARY: Final = re.compile(r".*(xfit|mp2fit|pv.zp?p?fit|ri|rifit|autoaux|autoabs|optri)|sap.*")
#: Pople's star notation; PySCF's tables of both are the same, but that some elements are in one alone
_STARS: Final = (
    (re.compile(r"(6311?\+{0,2}g)\(d,p\)"), r"\1**"),
    (re.compile(r"(6311?\+{0,2}g)\(d\)"), r"\1*"),
    (re.compile(r"((?:321|6311?)\+{0,2}g)ss"), r"\1**"),
    (re.compile(r"((?:321|6311?)\+{0,2}g)s"), r"\1*"),
)
#: names of fitting sets in PySCF whose tables are the universal ones
_UNIVERSAL: Final = (
    (re.compile(r"(def2(svp|tzvpp?|qzvpp?)|weigend)jkfit"), "def2universaljkfit"),
    (re.compile(r"def2(svp|tzvpp?|qzvpp?)jfit|weigend([cj]fit|\+etb)?"), "def2universaljfit"),
)
Kind = Literal["basis", "fitting set"]
_PLAIN: Final = str.maketrans("", "", "-_ ")


@dataclass(frozen=True)
class BasisTable:
    """What a set's source says, in PySCF's format. ``elements`` maps atomic number to shells; ``core_potentials`` are
    elements whose shells are made for effective core potentials, and are not in it."""

    name: str
    elements: Mapping[int, list[Any]]
    core_potentials: frozenset[int] = frozenset()

    @property
    def checksum(self) -> str:
        return checksum(self.elements)


def checksum(elements: Mapping[int, list[Any]]) -> str:
    """Of shells in PySCF's format, by atomic number."""
    raw = {str(number): shells for number, shells in elements.items()}
    return hashlib.sha256(json.dumps(raw, sort_keys=True).encode()).hexdigest()[:16]


def plain_name(name: str) -> str:
    """A name without case, hyphens, underscores and spaces, in Pople's star notation where there is one."""
    plain = name.lower().translate(_PLAIN)
    for pattern, other in (*_STARS, *_UNIVERSAL):
        if pattern.fullmatch(plain):
            return pattern.sub(other, plain)
    return plain


def canonical_name(name: str) -> str:
    """The one name of a set, whether or not it exists."""
    plain = plain_name(name)
    return _BY_PLAIN_NAME.get(plain, plain)


def is_fitting(name: str) -> bool:
    """Whether a set fits J, or J and K, by its name."""
    return _JK.fullmatch(plain_name(name)) is not None or fits_coulomb_alone(name)


def fits_coulomb_alone(name: str) -> bool:
    """Whether a set is made for J and not for K, by its name: with exact exchange it is wrong by mHa."""
    return _J.fullmatch(plain_name(name)) is not None


def is_auxiliary(name: str) -> bool:
    """Whether a set holds no orbitals, by its name."""
    return is_fitting(name) or _AUXILIARY.fullmatch(plain_name(name)) is not None


def read_table(name: str, kind: Kind = "basis") -> BasisTable:
    """The set called ``name``; case, hyphens, underscores and spaces do not matter. ``kind`` is for the messages.

    Raises:
        UsageError: no set of that name, or one whose elements are all made for effective core potentials.
    """
    return _read(canonical_name(name), " ".join(name.split()).lower(), kind)


@lru_cache(maxsize=16)
def _read(name: str, asked: str, kind: Kind) -> BasisTable:
    """``asked`` is what the user wrote, for the messages."""
    if name in SHIPPED:
        return BasisTable(name, shipped_table(name))
    raw = _from_packages(name, asked, kind)
    complete, cores = raw, frozenset[int]()
    if not is_auxiliary(name):
        complete = {z: shells for z, shells in raw.items() if _all_electron(z, shells)}
        cores = frozenset(raw.keys() - complete.keys())
    if not complete:
        raise UsageError(
            f"basis '{asked}' belongs to effective core potentials, which are not supported: use a set for all "
            f"electrons, such as {WHOLE}"
        )
    return BasisTable(name, complete, cores)


def shipped_table(name: str) -> dict[int, list[Any]]:
    """Shells by atomic number of a set that is a data file."""
    file = resources.files("qmgen.dft").joinpath("data", f"{file_name(name)}.json")
    return {int(z): shells for z, shells in json.loads(file.read_text())["elements"].items()}


def file_name(name: str) -> str:
    """The name of a set in which no character means anything to a shell."""
    return name.replace("*", "s")


def _from_packages(name: str, asked: str, kind: Kind) -> dict[int, list[Any]]:
    try:
        from qmgen.dft.basis_pyscf import known_names, read_tables
    except ImportError as error:
        raise UsageError(
            f"{kind} '{asked}' is not one of {', '.join(SHIPPED)}, and PySCF, which has more, is missing"
        ) from error
    from qmgen.dft.basis_exchange import INSTALL, installed, read_exchange

    plain = plain_name(name)
    if raw := read_tables(plain) or read_exchange(lambda known: plain_name(known) == plain, ELEMENTS):
        return raw
    of_kind = is_fitting if kind == "fitting set" else lambda one: not is_auxiliary(one)
    shown = {plain_name(one): one for one in (*known_names(), *NAMES) if of_kind(one)}
    near = difflib.get_close_matches(plain, shown, n=1, cutoff=0.5)
    hint = f"; did you mean '{shown[near[0]]}'?" if near else ""
    more = "" if installed() else f"; {INSTALL}"
    raise UsageError(f"unknown {kind} '{asked}'{hint} (shipped: {', '.join(filter(of_kind, SHIPPED))}{more})")


def _all_electron(number: int, shells: list[Any]) -> bool:
    """Whether a table describes the 1s core: its steepest s exponent is then well above Z^2/2 (STO-3G: 1.6 Z^2).

    Sets made for effective core potentials have none, and would give wrong energies with all electrons in.
    """
    steepest = max(
        (row[0] for l, *rows in shells if l == 0 for row in rows if isinstance(row, (list, tuple))), default=0
    )
    return number <= 2 or steepest > 0.5 * number**2


_BY_PLAIN_NAME: Final = {plain_name(name): name for name in NAMES}
