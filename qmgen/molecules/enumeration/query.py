"""What is to be enumerated: a number of heavy atoms and elements, or one formula, with bounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from qmgen.errors import UsageError
from qmgen.molecules.enumeration.colours import Palette
from qmgen.molecules.enumeration.graphs import MOST_HEAVY_ATOMS
from qmgen.molecules.enumeration.pruning import (
    HIGHEST_ORDER,
    NOTHING,
    Pruning,
    environment_count,
)
from qmgen.molecules.enumeration.valences import (
    HIGHEST_VALENCE,
    NITRO,
    VALENCES,
    check_elements,
    parse_formula,
    unsaturations,
    valence_of,
)

#: atoms in a nitro group, by element
NITRO_ATOMS = {"N": 1, "O": 2}


@dataclass(frozen=True)
class Query:
    """All molecules of ``heavy_atoms`` atoms of ``elements``, or those of one ``formula`` (see ``of_formula``).

    ``min_hydrogens`` and ``max_hydrogens`` bound the hydrogens of the whole molecule, ``max_rings`` the cycle rank.
    Raises ``UsageError`` for what cannot be enumerated.
    """

    heavy_atoms: int
    elements: tuple[str, ...] = tuple(VALENCES)
    formula: Mapping[str, int] | None = None
    min_hydrogens: int = 0
    max_hydrogens: int | None = None
    max_bond_order: int = HIGHEST_ORDER
    max_rings: int | None = None
    pruning: Pruning = NOTHING

    def __post_init__(self) -> None:
        object.__setattr__(self, "elements", check_elements(self.elements))
        if not 1 <= self.heavy_atoms <= MOST_HEAVY_ATOMS:
            raise UsageError(
                f"cannot enumerate molecules of {self.heavy_atoms} heavy atoms: give 1 to {MOST_HEAVY_ATOMS}"
            )
        if not 1 <= self.max_bond_order <= HIGHEST_ORDER:
            raise UsageError(f"the highest bond order must be 1 to {HIGHEST_ORDER}, not {self.max_bond_order}")
        if self.min_hydrogens < 0 or (self.max_hydrogens is not None and self.max_hydrogens < self.min_hydrogens):
            raise UsageError(f"no number of hydrogens is from {self.min_hydrogens} to {self.max_hydrogens}")
        if self.max_rings is not None and self.max_rings < 0:
            raise UsageError(f"the largest number of rings must be 0 or more, not {self.max_rings}")

    @staticmethod
    def of_formula(text: str, **bounds: int | Pruning | None) -> Query:
        """The molecules of a formula such as ``C7H10O2``; ``bounds`` are the other fields of ``Query``.

        Raises ``UsageError`` for a formula that cannot exist.
        """
        counts = parse_formula(text)
        unsaturations(counts)
        heavy = {symbol: number for symbol, number in counts.items() if symbol != "H" and number}
        query = Query(sum(heavy.values()), tuple(heavy), {**heavy, "H": counts.get("H", 0)})
        return replace(query, **bounds)  # type: ignore[arg-type]

    def nitro_numbers(self) -> range:
        """How many nitro groups a molecule may have: 0 unless the rule set asks for them."""
        most = min(self.pruning.nitro, (self.heavy_atoms - 1) // 3)
        if self.formula is not None:
            most = min(most, self.formula.get("N", 0), self.formula.get("O", 0) // 2)
        elif not {"N", "O"} <= set(self.elements):
            most = 0
        return range(most + 1)


@dataclass(frozen=True)
class Subquery:
    """The molecules of a query with exactly ``nitro`` nitro groups, each one vertex.

    ``nodes`` vertices; ``symbols`` the element of each code; ``counts`` (2, k) and ``hydrogens`` (2,) int64 bounds.
    ``bonds``: the sum of all bond orders where the formula fixes it. ``room`` (5,) int64: how many vertices may have a
    sum of orders of at least 0…4. ``most_bonds``: the largest sum of orders that leaves enough hydrogens.
    """

    nitro: int
    nodes: int
    symbols: tuple[str, ...]
    counts: np.ndarray
    hydrogens: np.ndarray
    bonds: int | None
    most_bonds: int
    room: np.ndarray
    palette: Palette

    @property
    def most_rings(self) -> int:
        """The largest cycle rank that ``most_bonds`` leaves; below 0 there is no molecule."""
        return self.most_bonds - self.nodes + 1


def subquery(query: Query, nitro: int) -> Subquery:
    """The part of a query with this number of nitro groups."""
    nodes = query.heavy_atoms - 2 * nitro
    symbols = (*query.elements, NITRO) if nitro else query.elements
    valences = np.array([valence_of(symbol) for symbol in symbols], np.int64)
    if query.formula is None:
        counts = np.array([[0] * len(symbols), [nodes] * len(symbols)], np.int64)
    else:
        left = [query.formula[symbol] - nitro * NITRO_ATOMS.get(symbol, 0) for symbol in query.elements]
        counts = np.array([left + [0] * (len(symbols) - len(left))] * 2, np.int64)
    if nitro:
        counts[:, -1] = nitro
    hydrogens = [query.min_hydrogens, HIGHEST_VALENCE * nodes if query.max_hydrogens is None else query.max_hydrogens]
    bonds = None
    if query.formula is None:
        highest = int(valences[: len(query.elements)].max()) * (nodes - nitro) + nitro
        most_bonds = (highest - hydrogens[0]) // 2
    else:
        asked = query.formula["H"]
        hydrogens = [max(hydrogens[0], asked), min(hydrogens[1], asked)]
        most_bonds = bonds = (int(counts[0] @ valences) - asked) // 2
        if hydrogens[0] > hydrogens[1]:
            most_bonds = -1  # no molecule
    room = np.array([counts[1, valences >= s].sum() for s in range(5)], np.int64)
    if query.formula is None:
        room = np.where(room > 0, nodes, 0)
        if nitro:
            room[2:] = np.minimum(room[2:], nodes - nitro)
    bounds = np.array(hydrogens, np.int64)
    palette = _palette(query.pruning, symbols, valences, counts, bounds, exact=nitro > 0 or query.formula is not None)
    return Subquery(nitro, nodes, symbols, counts, bounds, bonds, most_bonds, room, palette)


def _palette(
    pruning: Pruning,
    symbols: tuple[str, ...],
    valences: np.ndarray,
    counts: np.ndarray,
    hydrogens: np.ndarray,
    exact: bool,
) -> Palette:
    """The tables of ``colour``; those that are not used have the smallest size that they may have."""
    classes = pruning.classes
    table = np.zeros((len(symbols), 3, 5, 2, 2), np.uint8) if classes is None else classes.select(symbols)
    number = 1 if classes is None else len(classes.names)
    pairs = np.ones((1, 1, HIGHEST_ORDER), np.bool_) if pruning.pairs is None else pruning.pairs
    environments = np.zeros((1, 1), np.bool_) if pruning.environments is None else pruning.environments
    return Palette(
        valence=valences,
        lone_pair=np.array([symbol in ("N", "O") for symbol in symbols]),
        heteroatom=np.array([symbol != "C" for symbol in symbols]),
        counts=counts,
        hydrogens=hydrogens,
        classes=np.ascontiguousarray(table),
        pairs=np.ascontiguousarray(pairs),
        environments=np.ascontiguousarray(environments),
        binomials=_binomials(number),
        uses=np.array([exact, pruning.pairs is not None, pruning.environments is not None]),
    )


def _binomials(classes: int) -> np.ndarray:
    """Pascal's triangle (codes + 4, 5) int64 as far as the number of an environment needs it."""
    table = np.zeros((HIGHEST_ORDER * classes + HIGHEST_VALENCE + 1, HIGHEST_VALENCE + 1), np.int64)
    table[:, 0] = 1
    for row in range(1, len(table)):
        table[row, 1:] = table[row - 1, 1:] + table[row - 1, :-1]
    assert table[-1, -1] == environment_count(classes)
    return table
