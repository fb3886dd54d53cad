"""The valence model, and what a rule set may forbid while molecules are built: one field of ``Pruning`` for each stage.

    from qmgen.molecules.enumeration.pruning import AtomClasses, Pruning, forbidden_environments

    classes = AtomClasses.of(("C", "N", "O", "F"), lambda atom: f"{atom.element}{'h' if atom.hydrogens else ''}")
    no_geminal_diol = forbidden_environments(
        classes, lambda center, around: center.startswith("C") and around.count(("Oh", 1)) > 1
    )
    Pruning(small_rings_apart=True, cumulated=False, classes=classes, environments=no_geminal_diol)

Everything here must depend on the molecule alone, not on numbers of atoms: then the orderly generation stays exact, and
what remains is what a filter at the end would leave. An atom with ``maybe_aromatic`` may turn out not to be: forbid
there only what is forbidden either way. A molecule with several Kekulé forms stays as long as one of them does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from math import comb
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import numpy as np

from qmgen.errors import UsageError

if TYPE_CHECKING:
    from qmgen.molecules.enumeration.structure import Graph


#: bonds of a neutral atom with an octet; the order is that of element codes, and of the output
VALENCES: Final[Mapping[str, int]] = {"C": 4, "N": 3, "O": 2, "F": 1}
#: a nitro group -N(=O)=O, drawn [N+](=O)[O-]: one bond, as if it were an element; only with rule sets that allow it
NITRO: Final = "NO2"
#: no atom has more bonds, counted with their orders
HIGHEST_VALENCE: Final = 4


def check_elements(symbols: Iterable[str]) -> tuple[str, ...]:
    """The symbols, each once, in the order of the table. Raises ``UsageError`` for one without a valence rule."""
    wanted = list(symbols)
    for symbol in wanted:
        if symbol not in VALENCES:
            known = ", ".join(VALENCES)
            hint = "; hydrogens are filled in by themselves" if symbol == "H" else ""
            raise UsageError(f"no valence rule for element {symbol!r}: choose among {known}{hint}")
    if not wanted:
        raise UsageError(f"no elements to build molecules from: choose among {', '.join(VALENCES)}")
    return tuple(symbol for symbol in VALENCES if symbol in wanted)


def valence_of(symbol: str) -> int:
    """Bonds of an element, or of the nitro group."""
    return 1 if symbol == NITRO else VALENCES[symbol]


def parse_formula(text: str) -> dict[str, int]:
    """Atoms of each element in a formula such as ``C7H10O2``, hydrogens under "H".

    Raises ``UsageError`` for text that is no formula, and for an element without a valence rule.
    """
    pieces = re.findall(r"([A-Z][a-z]?)([0-9]*)", text)
    if not pieces or "".join(symbol + number for symbol, number in pieces) != text:
        raise UsageError(f"{text!r} is not a formula: write element symbols and counts, such as C7H10O2")
    counts: dict[str, int] = {}
    for symbol, number in pieces:
        counts[symbol] = counts.get(symbol, 0) + (int(number) if number else 1)
    check_elements(symbol for symbol in counts if symbol != "H" or len(counts) == 1)
    return counts


def unsaturations(counts: Mapping[str, int]) -> int:
    """Rings plus extra bonds of a formula: (Σ valence·atoms - H)/2 - heavy atoms + 1.

    Raises ``UsageError`` where the formula can belong to no molecule: an odd number of free valences, too many atoms of
    valence one, or an atom whose bonds the others cannot take up.
    """
    formula = "".join(f"{symbol}{number if number > 1 else ''}" for symbol, number in counts.items() if number)
    heavy = sum(number for symbol, number in counts.items() if symbol != "H")
    hydrogens = counts.get("H", 0)
    bonds = sum(VALENCES[symbol] * number for symbol, number in counts.items() if symbol != "H")
    if heavy == 0:
        raise UsageError(f"{formula or 'an empty formula'} has no atom but hydrogen: give at least one other")
    if (bonds - hydrogens) % 2:
        raise UsageError(f"{formula} cannot exist: it has an odd number of valence electrons; change H by one")
    unsaturated = (bonds - hydrogens) // 2 - heavy + 1
    most = bonds - 2 * heavy + 2
    if unsaturated < 0:
        raise UsageError(f"{formula} cannot exist: at most {max(most, 0)} hydrogens fit on these atoms")
    highest = max(VALENCES[symbol] for symbol, number in counts.items() if number and symbol != "H")
    if 2 * highest > bonds + hydrogens:
        raise UsageError(f"{formula} cannot exist: the other atoms cannot take up the {highest} bonds of one of them")
    return unsaturated


#: multiple bonds at an atom: none, one double, or a triple (or two doubles)
Hybridization = Literal["sp3", "sp2", "sp"]
HYBRIDIZATIONS: Final[tuple[Hybridization, ...]] = ("sp3", "sp2", "sp")
#: the highest bond order there is
HIGHEST_ORDER: Final = 3


class Atom(NamedTuple):
    """What is known of an atom when its element is chosen.

    ``hydrogens`` 0…4; ``maybe_aromatic``: it lies on or between rings of atoms that all have one multiple bond or a
    lone pair, as far as elements are chosen; ``small_ring``: in a ring of 3 or 4.
    """

    element: str
    hybridization: Hybridization
    hydrogens: int
    maybe_aromatic: bool
    small_ring: bool


@dataclass(frozen=True)
class AtomClasses:
    """A partition of atoms: ``table`` (elements, 3, 5, 2, 2) uint8 gives a class to each combination of element,
    hybridization, hydrogens, ``maybe_aromatic`` and ``small_ring``; ``names`` their names in order; ``bonds`` what the
    bonds to other atoms can add up to in each class: pairs of the sum of orders and that of (order - 1)."""

    elements: tuple[str, ...]
    names: tuple[str, ...]
    table: np.ndarray
    bonds: tuple[frozenset[tuple[int, int]], ...]

    @staticmethod
    def of(elements: tuple[str, ...], name: Callable[[Atom], str]) -> AtomClasses:
        """Classes by name: atoms that ``name`` calls the same are one class."""
        table = np.zeros((len(elements), 3, 5, 2, 2), np.uint8)
        names: dict[str, int] = {}
        bonds: list[set[tuple[int, int]]] = []
        for index in np.ndindex(*table.shape):
            e, hybridization, hydrogens, aromatic, small = index
            atom = Atom(elements[e], HYBRIDIZATIONS[hybridization], hydrogens, bool(aromatic), bool(small))
            left = valence_of(atom.element) - hydrogens
            if left > hybridization or left == hybridization == 0:
                table[index] = number = names.setdefault(name(atom), len(names))
                bonds += [set()] * (number == len(bonds))
                bonds[number] = bonds[number] | {(left, hybridization)}
        return AtomClasses(elements, tuple(names), table, tuple(map(frozenset, bonds)))

    def select(self, elements: tuple[str, ...]) -> np.ndarray:
        """The rows of ``table`` for these elements. Raises ``ValueError`` for one that is not among them."""
        missing = [element for element in elements if element not in self.elements]
        if missing:
            raise ValueError(f"the rule set has no class for {', '.join(missing)}")
        return self.table[[self.elements.index(element) for element in elements]]


#: what stands around an atom: (class name, bond order) of each neighbor, sorted
Surroundings = tuple[tuple[str, int], ...]


def neighbor_code(neighbor_class: int, order: int) -> int:
    """The number that stands for a neighbor of a class behind a bond of an order, 1 and up; 0 is no neighbor."""
    return neighbor_class * HIGHEST_ORDER + order


def environment_count(classes: int) -> int:
    """How many surroundings of at most four neighbors there are: multisets of four codes."""
    return comb(classes * HIGHEST_ORDER + HIGHEST_VALENCE, HIGHEST_VALENCE)


def environment_number(codes: tuple[int, ...]) -> int:
    """The place of surroundings in a table of environments: the multiset of four codes in the combinatorial number
    system, largest code first."""
    padded = sorted((*codes, *[0] * (HIGHEST_VALENCE - len(codes))), reverse=True)
    return sum(comb(code + HIGHEST_VALENCE - 1 - k, HIGHEST_VALENCE - k) for k, code in enumerate(padded))


def surroundings(classes: int) -> Iterator[tuple[tuple[int, int], ...]]:
    """All (class, order) tuples of up to four neighbors with a sum of orders of at most 4, each sorted."""
    kinds = list(product(range(classes), range(1, HIGHEST_ORDER + 1)))

    def extend(chosen: tuple[tuple[int, int], ...], first: int, left: int) -> Iterator[tuple[tuple[int, int], ...]]:
        yield chosen
        for k in range(first, len(kinds)):
            if kinds[k][1] <= left:
                yield from extend((*chosen, kinds[k]), k, left - kinds[k][1])

    return extend((), 0, HIGHEST_VALENCE)


def forbidden_environments(classes: AtomClasses, forbids: Callable[[str, Surroundings], bool]) -> np.ndarray:
    """The table (classes, ``environment_count``) bool of forbidden environments: ``forbids(center, around)`` for the
    name of the center's class and those of its neighbors with bond orders, sorted by name. It is asked only
    of what the valences allow."""
    names = classes.names
    table = np.zeros((len(names), environment_count(len(names))), np.bool_)
    for chosen in surroundings(len(names)):
        number = environment_number(tuple(neighbor_code(kind, order) for kind, order in chosen))
        around = tuple(sorted((names[kind], order) for kind, order in chosen))
        bonds = sum(order for _, order in chosen), sum(order - 1 for _, order in chosen)
        for center, name in enumerate(names):
            table[center, number] = bonds in classes.bonds[center] and forbids(name, around)
    return table


def allowed_pairs(classes: AtomClasses, allows: Callable[[str, str, int], bool]) -> np.ndarray:
    """The table (classes, classes, 3) bool of allowed bonds: ``allows(a, b, order)`` and ``allows(b, a, order)``."""
    names, count = classes.names, len(classes.names)
    table = np.zeros((count, count, HIGHEST_ORDER), np.bool_)
    for a, b, order in np.ndindex(*table.shape):
        table[a, b, order] = allows(names[a], names[b], order + 1) and allows(names[b], names[a], order + 1)
    return table


class BondLimits(NamedTuple):
    """Bounds on the bonds of one graph: ``max_order`` (e,) for each edge, ``max_order_sum`` (n,) for the sum of orders
    at each vertex, hydrogens not counted; both as in ``Graph``, and the same for equivalent edges and vertices."""

    max_order: np.ndarray
    max_order_sum: np.ndarray


@dataclass(frozen=True)
class Pruning:
    """What is forbidden at each stage. The default forbids nothing.

    Graphs
        ``small_rings_apart``: no vertex in two different cycles of length 3 or 4 (G1), kept while graphs grow.
        ``keep_graph(graph)``: whether a finished graph is used.
    Bonds
        ``bond_limits(graph)``: bounds on orders, for example 1 on edges of a 3-ring; None for no bounds.
        ``cumulated``: whether an atom may have two multiple bonds.
    Elements
        ``sites(graph, orders, symbols)``: what each vertex may become, (n, k) bool in the order of ``symbols``; None
        for no restriction. ``orders`` (e,) uint8. False everywhere on a vertex removes the multigraph.
        ``classes`` with ``pairs`` (classes, classes, 3) bool, symmetric: which may be bonded with order 1, 2, 3;
        ``environments`` (classes, ``environment_count``) bool: which surroundings of a class are forbidden.
        ``max_heteroatoms_in_ring``: for a ring size of 3 to 8, how many atoms of it may be other than carbon.
        ``nitro``: up to how many nitro groups to place, each [N+](=O)[O-] on a neighbor to which it is the element
        "NO2", sp3 and without hydrogens. It counts as three heavy atoms, one N and two O.
    """

    small_rings_apart: bool = False
    keep_graph: Callable[[Graph], bool] | None = None
    bond_limits: Callable[[Graph], BondLimits | None] | None = None
    cumulated: bool = True
    sites: Callable[[Graph, np.ndarray, tuple[str, ...]], np.ndarray | None] | None = None
    classes: AtomClasses | None = None
    pairs: np.ndarray | None = None
    environments: np.ndarray | None = None
    max_heteroatoms_in_ring: dict[int, int] = field(default_factory=dict)
    nitro: int = 0

    def __post_init__(self) -> None:
        count = 0 if self.classes is None else len(self.classes.names)
        if self.classes is None and not (self.pairs is None and self.environments is None):
            raise ValueError("tables of pairs and environments need atom classes")
        if self.pairs is not None and self.pairs.shape != (count, count, HIGHEST_ORDER):
            raise ValueError(f"pairs must have the shape {(count, count, HIGHEST_ORDER)}, not {self.pairs.shape}")
        if self.pairs is not None and not (self.pairs == self.pairs.transpose(1, 0, 2)).all():
            raise ValueError("the table of pairs must be symmetric in its classes")
        if self.environments is not None and self.environments.shape != (count, environment_count(count)):
            shape = (count, environment_count(count))
            raise ValueError(f"environments must have the shape {shape}, not {self.environments.shape}")
        if any(not 3 <= size <= 8 for size in self.max_heteroatoms_in_ring):
            raise ValueError("heteroatoms are counted in rings of 3 to 8 atoms")


@dataclass
class Removed:
    """How many branches each field of ``Pruning`` cut: a branch may hold many molecules, or none."""

    keep_graph: int = 0
    bond_limits: int = 0
    cumulated: int = 0
    sites: int = 0
    pairs: int = 0
    environments: int = 0
    max_heteroatoms_in_ring: int = 0


#: nothing is forbidden but what valences forbid
NOTHING: Final = Pruning()
