"""One graph, made ready for bond orders and elements: renumbered for early checks, with its edges and its group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from qmgen.molecules.enumeration.graphs import (
    LARGEST_GROUP,
    automorphisms,
    degree_colors,
    jit,
    neighbor_table,
    refine,
)


@dataclass(frozen=True)
class Graph:
    """A connected graph, its vertices in the order in which they are colored.

    ``number`` is its 0-based place among the graphs of its size (those that the rings and G1 leave). ``adjacency`` (n,)
    int64 bits; ``edges`` (e, 2) uint8, the smaller vertex first, sorted by the larger. ``group`` (g, n) int8: element
    k takes vertex v to ``group[k, v]``; ``edge_group`` (g, e) int8 does the same to edges. The first is the identity.
    """

    number: int
    adjacency: np.ndarray
    edges: np.ndarray
    group: np.ndarray
    edge_group: np.ndarray
    _cycles: dict[int, list[tuple[int, ...]]] = field(default_factory=dict, repr=False, compare=False)

    @property
    def nodes(self) -> int:
        return len(self.adjacency)

    @property
    def rings(self) -> int:
        """The cycle rank, edges - nodes + 1."""
        return len(self.edges) - self.nodes + 1

    @cached_property
    def degree(self) -> np.ndarray:
        """Neighbors of each vertex (n,) int64."""
        return np.bincount(self.edges.ravel(), minlength=self.nodes).astype(np.int64)

    @cached_property
    def incidence(self) -> np.ndarray:
        """(n, e) int64: 1 where an edge ends at a vertex. Times bond orders it gives their sums at each vertex."""
        table = np.zeros((self.nodes, len(self.edges)), np.int64)
        for end in (0, 1):
            table[self.edges[:, end], np.arange(len(self.edges))] = 1
        return table

    @cached_property
    def neighbors(self) -> list[list[int]]:
        """The neighbors of each vertex, in ascending order."""
        return [[u for u in range(self.nodes) if bits >> u & 1] for bits in map(int, self.adjacency)]

    @cached_property
    def edge_number(self) -> dict[tuple[int, int], int]:
        """The place of each edge in ``edges``, under both orders of its vertices."""
        numbers = {}
        for k, (u, v) in enumerate(self.edges.tolist()):
            numbers[u, v] = numbers[v, u] = k
        return numbers

    def cycles(self, longest: int) -> list[tuple[int, ...]]:
        """All simple cycles of at most ``longest`` vertices, as vertices in order around, the smallest first."""
        if longest not in self._cycles:
            self._cycles[longest] = [ring for start in range(self.nodes) for ring in self._from(start, longest)]
        return self._cycles[longest]

    def _from(self, start: int, longest: int) -> list[tuple[int, ...]]:
        rings: list[tuple[int, ...]] = []
        paths: list[tuple[int, ...]] = [(start,)]
        while paths:
            path = paths.pop()
            for u in self.neighbors[path[-1]]:
                if u == start and len(path) > 2 and path[1] < path[-1]:  # each cycle in one of its two directions
                    rings.append(path)
                elif u > start and u not in path and len(path) < longest:
                    paths.append((*path, u))
        return sorted(rings, key=lambda ring: (len(ring), ring))


@jit
def _order(neighbors: np.ndarray, degree: np.ndarray, order: np.ndarray) -> None:
    """The order of coloring: from a vertex of the smallest degree on, always a neighbor of the vertex that lacks the
    fewest colored neighbors, so that surroundings are complete, and can be judged, as early as may be."""
    n = degree.shape[0]
    missing = degree.copy()
    done = np.zeros(n, np.bool_)
    chosen = 0
    for v in range(n):
        if degree[v] < degree[chosen]:
            chosen = v
    for step in range(n):
        order[step] = chosen
        done[chosen] = True
        for k in range(degree[chosen]):
            missing[neighbors[chosen, k]] -= 1
        center = -1
        for k in range(step + 1):  # the longest colored wins a tie
            v = order[k]
            if missing[v] and (center < 0 or missing[v] < missing[center]):
                center = v
        if center < 0:
            return
        chosen = -1
        for k in range(degree[center]):
            u = neighbors[center, k]
            if not done[u] and (chosen < 0 or degree[u] < degree[chosen]):
                chosen = u


@jit
def _prepare(bits: np.ndarray, capacity: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Renumbered adjacency, edges, group and edge group of one graph (see ``Graph``)."""
    n = bits.shape[0]
    old = np.empty(n, np.int64)
    for v in range(n):
        old[v] = bits[v]
    neighbors = np.empty((n, 4), np.int64)
    degree = np.empty(n, np.int64)
    neighbor_table(old, neighbors, degree)
    order = np.empty(n, np.int64)
    _order(neighbors, degree, order)
    adjacency = np.zeros(n, np.int64)
    for i in range(n):
        for j in range(n):
            if (old[order[i]] >> order[j]) & 1:
                adjacency[i] |= 1 << j
    neighbor_table(adjacency, neighbors, degree)
    color = np.empty(n, np.int64)
    place = np.empty(n, np.int64)
    degree_colors(degree, color)
    refine(neighbors, degree, color, np.empty((2, n), np.int64))
    group = np.empty((capacity, n), np.int8)
    size = automorphisms(neighbors, degree, color, place, group)
    edges = np.empty((degree.sum() // 2, 2), np.uint8)
    number = np.zeros((n, n), np.int8)
    count = 0
    for v in range(n):
        for u in range(v):
            if (adjacency[v] >> u) & 1:
                edges[count, 0] = u
                edges[count, 1] = v
                number[u, v] = count
                number[v, u] = count
                count += 1
    edge_group = np.empty((size, count), np.int8)
    for g in range(size):
        for e in range(count):
            edge_group[g, e] = number[group[g, edges[e, 0]], group[g, edges[e, 1]]]
    return adjacency, edges, group[:size].copy(), edge_group


def prepare(number: int, bits: np.ndarray) -> Graph:
    """The graph with adjacency ``bits`` (n,) uint16, as ``graphs`` yields it, made ready."""
    return Graph(number, *_prepare(bits, LARGEST_GROUP))


def stabilizer(group: np.ndarray, edge_group: np.ndarray, orders: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The elements of a group that leave bond orders (e,) as they are: the group of the multigraph."""
    kept = (orders[edge_group] == orders).all(axis=1)
    return group[kept], edge_group[kept]


def kekule_forms(graph: Graph, orders: np.ndarray, loose: Sequence[int]) -> list[np.ndarray]:
    """All bond orders (e,) that differ from ``orders`` only on the edges ``loose``, there by moving double bonds: each
    atom keeps the number that it has. ``orders`` itself is among them."""
    movable = [e for e in loose if orders[e] <= 2]
    needed = np.zeros(graph.nodes, np.int64)
    for e in movable:
        needed[graph.edges[e]] += orders[e] - 1
    last = {int(v): k for k, e in enumerate(movable) for v in graph.edges[e]}
    forms: list[np.ndarray] = []
    form = orders.copy()

    def place(k: int) -> None:
        if k == len(movable):
            forms.append(form.copy())
            return
        ends = graph.edges[movable[k]]
        for order in (1, 2):
            needed[ends] -= order - 1
            # an atom must have its double bond when the last of its edges has an order
            if (needed[ends] >= 0).all() and not any(needed[v] for v in ends.tolist() if last[v] == k):
                form[movable[k]] = order
                place(k + 1)
            needed[ends] += order - 1

    place(0)
    return forms
