"""What is to be enumerated (``Query``), as a sequence: items, in each item multigraphs, of each multigraph batches.

    query = Query(9, pruning=Pruning(small_rings_apart=True))
    for batch in batches(query, Part.parse("3/64")):
        ...

The order is fixed by the query alone. An item is one graph with one total of extra bonds. Shares are dealt out like
cards: of each multigraph of an item the colorings of all vertices but the last three, one by one to N parts, from a
part on that a hash of the item gives. So parts are disjoint, complete, even, and independent of each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from qmgen.errors import UsageError
from qmgen.molecules.enumeration.assignment import Colorings, ColoringSearch, Palette, Rings, assign_orders, color
from qmgen.molecules.enumeration.graphs import MOST_HEAVY_ATOMS, graphs
from qmgen.molecules.enumeration.pruning import (
    HIGHEST_ORDER,
    HIGHEST_VALENCE,
    NITRO,
    NOTHING,
    VALENCES,
    BondLimits,
    Pruning,
    Removed,
    check_elements,
    environment_count,
    parse_formula,
    unsaturations,
    valence_of,
)
from qmgen.molecules.enumeration.structure import Graph, kekule_forms, prepare, stabilizer

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
        """How many nitro groups a molecule may have: 0 unless the rule set allows them."""
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
    """The tables of ``color``; those that are not used have the smallest size that they may have."""
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


#: colorings in a batch at most
BATCH: Final = 1 << 13


@dataclass(frozen=True)
class Part:
    """The shares ``numbers`` (1…``of``) of a whole that is dealt out to ``of`` parts."""

    numbers: tuple[int, ...] = (1,)
    of: int = 1

    def __post_init__(self) -> None:
        if self.of < 1 or not self.numbers or not all(1 <= number <= self.of for number in self.numbers):
            given = ",".join(map(str, self.numbers))
            raise UsageError(f"no part {given}/{self.of}: give K/N with K from 1 to N, such as 3/64")

    @staticmethod
    def parse(text: str) -> Part:
        """The part written as ``K/N``. Raises ``UsageError`` for anything else."""
        number, slash, of = text.partition("/")
        if not (slash and number.isascii() and of.isascii() and number.isdigit() and of.isdigit()):
            raise UsageError(f"{text!r} is no part: give K/N with K from 1 to N, such as 3/64")
        return Part((int(number),), int(of))

    def wanted(self) -> np.ndarray:
        """Whether each of the ``of`` shares (of,) bool is among the ``numbers``."""
        return np.isin(np.arange(self.of), np.array(self.numbers) - 1)


WHOLE: Final = Part()
EVERYTHING: Final = np.ones(1, np.bool_)


@dataclass(frozen=True)
class Item:
    """One unit of the sequence: ``number`` is its 0-based place; ``extra`` the sum of (order - 1) over the bonds."""

    number: int
    graph: Graph
    extra: int
    limits: BondLimits
    rings: Rings
    within: Subquery
    pruning: Pruning

    @property
    def offset(self) -> int:
        """Where dealing out begins: a 64-bit hash (splitmix64) of what the item is."""
        state = 0
        for part in (self.within.nodes, self.within.nitro, self.graph.number, self.extra):
            state = (state + part + 0x9E3779B97F4A7C15) & _WORD
            state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _WORD
            state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _WORD
            state ^= state >> 31
        return state


_WORD: Final = (1 << 64) - 1


@dataclass(frozen=True)
class MultigraphBatch:
    """Colorings of one multigraph: ``orders`` (e,) uint8 on the edges of ``graph``, ``elements`` (k, n) uint8 as codes
    into ``symbols``, ``aromatic`` (k,) bool: False where no bond can be aromatic, ``parts`` (k,) int64: the part, from
    0, to which each was dealt."""

    item: Item
    graph: Graph
    symbols: tuple[str, ...]
    orders: np.ndarray
    elements: np.ndarray
    aromatic: np.ndarray
    parts: np.ndarray
    _forms: dict[tuple[int, ...], list[np.ndarray]] = field(default_factory=dict, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.elements)

    def rows(self, chosen: np.ndarray) -> MultigraphBatch:
        """The batch with only some colorings."""
        return replace(self, elements=self.elements[chosen], aromatic=self.aromatic[chosen], parts=self.parts[chosen])

    def forms(self, loose: tuple[int, ...]) -> list[np.ndarray]:
        """The Kekulé forms with these aromatic bonds (``kekule_forms``), found once for all rows."""
        if loose not in self._forms:
            self._forms[loose] = kekule_forms(self.graph, self.orders, loose)
        return self._forms[loose]

    def hydrogens(self) -> np.ndarray:
        """Hydrogens of each molecule (k,) int64."""
        bonds = self.item.within.palette.valence[self.elements].sum(axis=1)
        return bonds - 2 * int(self.orders.sum(dtype=np.int64))


def items(query: Query, removed: Removed | None = None) -> Iterator[Item]:
    """The items of a query in order. Graphs that cannot carry the elements asked for make none."""
    counters = Removed() if removed is None else removed
    number = 0
    for nitro in query.nitro_numbers():
        within = subquery(query, nitro)
        most_rings = within.most_rings if query.max_rings is None else min(query.max_rings, within.most_rings)
        if within.nodes < 1 or most_rings < 0:
            continue
        for graph in _graphs(query, within, most_rings, counters):
            limits, rings = _limits(query, graph), _rings(query.pruning, graph)
            if within.bonds is None:
                slack = np.minimum(limits.max_order_sum, (within.palette.valence).max()) - graph.degree
                by_vertices = int(np.maximum(slack, 0).sum()) // 2
                by_edges = int((limits.max_order - 1).sum())
                totals = range(min(by_vertices, by_edges, within.most_bonds - len(graph.edges)) + 1)
            else:
                totals = range(within.bonds - len(graph.edges), within.bonds - len(graph.edges) + 1)
            for extra in totals:
                yield Item(number, graph, extra, limits, rings, within, query.pruning)
                number += 1


def _graphs(query: Query, within: Subquery, most_rings: int, removed: Removed) -> Iterator[Graph]:
    """The graphs that may carry the elements: no more vertices of high degree than atoms of high valence."""
    pruning = query.pruning
    number = 0
    for chunk in graphs(within.nodes, max_rings=most_rings, small_rings_apart=pruning.small_rings_apart):
        degree = np.bitwise_count(chunk)
        tall = np.stack([(degree >= s).sum(axis=1) for s in range(5)], axis=1)
        for k in np.flatnonzero((tall <= within.room).all(axis=1)).tolist():
            graph = prepare(number + k, chunk[k])
            if pruning.keep_graph is not None and not pruning.keep_graph(graph):
                removed.keep_graph += 1
                continue
            yield graph
        number += len(chunk)


def _limits(query: Query, graph: Graph) -> BondLimits:
    """The bounds on bonds of a graph: the query's, and the rule set's.

    Raises ``ValueError`` where a rule set treats equivalent atoms or bonds differently.
    """
    max_order = np.full(len(graph.edges), query.max_bond_order, np.int64)
    max_sum = np.full(graph.nodes, HIGHEST_VALENCE, np.int64)
    given = None if query.pruning.bond_limits is None else query.pruning.bond_limits(graph)
    if given is None:
        return BondLimits(max_order, max_sum)
    limits = BondLimits(np.minimum(max_order, given.max_order), np.minimum(max_sum, given.max_order_sum))
    if not (
        (limits.max_order[graph.edge_group] == limits.max_order).all()
        and (limits.max_order_sum[graph.group] == limits.max_order_sum).all()
    ):
        raise ValueError("bond_limits must be the same for equivalent edges and vertices")
    if (limits.max_order < 1).any():
        raise ValueError("bond_limits must leave each edge a bond of order 1")
    return limits


def _rings(pruning: Pruning, graph: Graph) -> Rings:
    """The rings of a graph that the tables of a rule set need."""
    limits = pruning.max_heteroatoms_in_ring
    small = 0
    if pruning.classes is not None:
        for ring in graph.cycles(4):
            small |= sum(1 << v for v in ring)
    counted = [ring for ring in graph.cycles(max(limits)) if len(ring) in limits] if limits else []
    bits = np.array([sum(1 << v for v in ring) for ring in counted], np.int64)
    return Rings(small, bits, np.array([limits[len(ring)] for ring in counted], np.int64))


def multigraphs(item: Item, removed: Removed | None = None) -> np.ndarray:
    """The bond orders (k, e) uint8 of an item, in order."""
    counts = np.zeros(2, np.int64)
    orders: np.ndarray = assign_orders(
        item.graph.edges,
        item.graph.edge_group,
        item.graph.degree,
        item.extra,
        item.limits.max_order,
        item.limits.max_order_sum,
        item.within.room,
        item.pruning.cumulated,
        counts,
    )
    if removed is not None:
        removed.bond_limits += int(counts[0])
        removed.cumulated += int(counts[1])
    return orders


def molecules_of(item: Item, part: Part = WHOLE, removed: Removed | None = None) -> Iterator[MultigraphBatch]:
    """The batches of an item that belong to a part, in order."""
    wanted, offset = part.wanted(), item.offset
    for k, orders in enumerate(multigraphs(item, removed)):
        domains = element_choices(item, orders)
        if domains is None:
            if removed is not None:
                removed.sites += 1
            continue
        group, _ = stabilizer(item.graph.group, item.graph.edge_group, orders)
        for table in colorings(item, orders, group, domains, removed, wanted, (offset + k) % part.of):
            yield MultigraphBatch(item, item.graph, item.within.symbols, orders, *table)


def colorings(
    item: Item,
    orders: np.ndarray,
    group: np.ndarray,
    domains: np.ndarray,
    removed: Removed | None = None,
    wanted: np.ndarray = EVERYTHING,
    first: int = 0,
) -> Iterator[Colorings]:
    """The colorings of one multigraph, batch by batch.

    ``group`` (g, n) int8 is that of the multigraph, ``domains`` (n, kinds) bool what each vertex may become, ``wanted``
    (N,) bool the parts to take, ``first`` the one to which the first coloring is dealt.
    """
    graph, palette = item.graph, item.within.palette
    table = Colorings(np.empty((BATCH, graph.nodes), np.uint8), np.empty(BATCH, np.bool_), np.empty(BATCH, np.int64))
    search = ColoringSearch(
        cursor=np.array([0, first, 0], np.int64),
        elements=np.full(graph.nodes, -1, np.int64),
        used=np.zeros(len(palette.valence), np.int64),
        tracks=np.zeros((3, graph.nodes + 1), np.int64),
        equal=np.zeros((graph.nodes + 1, len(group)), np.int8),
    )
    counts = np.zeros(3, np.int64)
    fixed = (graph.adjacency, graph.edges, orders, group, domains, item.rings, palette, wanted)
    count = BATCH
    while count == BATCH:
        count = color(*fixed, search, table, counts)
        if count:
            yield Colorings(*(column[:count].copy() for column in table))
    if removed is not None:
        removed.pairs += int(counts[0])
        removed.environments += int(counts[1])
        removed.max_heteroatoms_in_ring += int(counts[2])


def element_choices(item: Item, orders: np.ndarray) -> np.ndarray | None:
    """What each vertex may become (n, k) bool; None if there is a vertex that may become nothing.

    Raises ``ValueError`` where a rule set treats equivalent vertices differently.
    """
    graph, symbols = item.graph, item.within.symbols
    sums = graph.incidence @ orders
    domains: np.ndarray = item.within.palette.valence >= sums[:, None]
    if symbols[-1] == NITRO:
        domains[:, -1] = sums == 1  # on an atom, not alone
    if item.pruning.sites is not None:
        allowed = item.pruning.sites(graph, orders, symbols)
        if allowed is not None:
            domains &= allowed
            group, _ = stabilizer(graph.group, graph.edge_group, orders)
            if not (domains[group] == domains).all():
                raise ValueError("sites must be the same for equivalent vertices")
    return domains if domains.any(axis=1).all() else None


def batches(
    query: Query, part: Part = WHOLE, removed: Removed | None = None, first_item: int = 0
) -> Iterator[MultigraphBatch]:
    """All batches of a part of a query, in order, from an item on: the way to go on after a stop."""
    for item in items(query, removed):
        if item.number >= first_item:
            yield from molecules_of(item, part, removed)
