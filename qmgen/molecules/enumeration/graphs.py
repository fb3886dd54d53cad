"""All connected graphs of degree at most 4, each once: canonical augmentation, vertex by vertex.

    from qmgen.molecules.enumeration.graphs import graphs

    sum(len(chunk) for chunk in graphs(8))        # 1929
    next(graphs(3))                               # adjacency bits: array([[6, 1, 1], [6, 5, 3]], dtype=uint16)

A graph of n vertices is made from exactly one of n - 1 vertices: the one left when its canonically last non-cut vertex
is taken away. A child is accepted if and only if its new vertex lies in the orbit of that vertex, and of the neighbour
sets that the parent's automorphisms turn into each other only the smallest is tried; so there is nothing to remember.
"Last" begins with "of the smallest degree": then new vertices mostly have one neighbour, and few children are rejected.

Reference: B. D. McKay, J. Algorithms 26, 306 (1998).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from qmgen.errors import UsageError
from qmgen.molecules.enumeration.jit import jit
from qmgen.molecules.enumeration.labelling import (
    LARGEST_GROUP,
    MOST_NODES,
    automorphisms,
    connected_without,
    degree_colours,
    neighbour_table,
    popcount,
    refine,
)

HIGHEST_DEGREE: Final = 4
#: the table of children is filled this far (graphs), then handed on
CHUNK: Final = 1 << 14
#: as far as the labelling goes; from 12 on (some 6.5 million graphs) only with few rings is it quick
MOST_HEAVY_ATOMS: Final = MOST_NODES


@jit
def small_cycles_apart(adjacency: np.ndarray, neighbours: np.ndarray, degree: np.ndarray) -> bool:
    """Whether no vertex belongs to two different cycles of length 3 or 4 (rule G1 of GDB-11)."""
    for v in range(degree.shape[0]):
        cycles = 0
        for i in range(degree[v]):
            a = neighbours[v, i]
            for j in range(i):
                b = neighbours[v, j]
                cycles += (adjacency[a] >> b) & 1  # the triangle v a b
                cycles += popcount(adjacency[a] & adjacency[b]) - 1  # squares v a w b; v itself is a common neighbour
        if cycles > 1:
            return False
    return True


@jit
def _accept(
    adjacency: np.ndarray,
    neighbours: np.ndarray,
    degree: np.ndarray,
    colour: np.ndarray,
    place: np.ndarray,
    group: np.ndarray,
    scratch: np.ndarray,
) -> bool:
    """Whether the newest vertex lies in the orbit of the canonically last vertex that is no cut vertex."""
    n = degree.shape[0]
    newest = n - 1
    for v in range(newest):
        if degree[v] < degree[newest] and (degree[v] == 1 or connected_without(adjacency, v)):
            return False
    degree_colours(degree, colour)
    refine(neighbours, degree, colour, scratch)
    rivals = 0
    for v in range(newest):
        if colour[v] > colour[newest]:
            if connected_without(adjacency, v):
                return False
        elif colour[v] == colour[newest] and connected_without(adjacency, v):
            rivals |= 1 << v
    if not rivals:
        return True
    order = automorphisms(neighbours, degree, colour, place, group)
    last = newest
    for v in range(newest):
        if (rivals >> v) & 1 and place[v] > place[last]:
            last = v
    same_orbit = False
    for g in range(order):
        same_orbit = same_orbit or group[g, last] == newest
    return same_orbit


@jit
def _extend(parents: np.ndarray, first: int, most_rings: int, apart: bool, children: np.ndarray) -> tuple[int, int]:
    """Children of the parents from ``first`` on, until the table may not hold those of one more.

    ``parents`` (p, n - 1) uint16, ``children`` (capacity, n) uint16. Returns the next parent and the number found.
    """
    n = parents.shape[1] + 1
    most_children = 1
    for size in range(1, 5):
        ways = 1
        for k in range(size):
            ways = ways * max(n - 1 - k, 0) // (k + 1)
        most_children += ways
    adjacency = np.zeros(n, np.int64)
    neighbours = np.empty((n, 4), np.int64)
    degree = np.empty(n, np.int64)
    colour = np.empty(n, np.int64)
    place = np.empty(n, np.int64)
    scratch = np.empty((2, n), np.int64)
    group = np.empty((LARGEST_GROUP, n), np.int8)
    family = np.empty((LARGEST_GROUP, n - 1), np.int8)
    count = 0
    for parent in range(first, parents.shape[0]):
        if count + most_children > children.shape[0]:
            return parent, count
        for v in range(n - 1):
            adjacency[v] = parents[parent, v]
        neighbour_table(adjacency[: n - 1], neighbours, degree)
        degree_colours(degree[: n - 1], colour)
        refine(neighbours, degree, colour[: n - 1], scratch)
        order = automorphisms(neighbours, degree, colour[: n - 1], place[: n - 1], family)
        ends = 0
        full = 0
        for v in range(n - 1):
            ends += degree[v]
            if degree[v] == HIGHEST_DEGREE:
                full |= 1 << v
        rings = ends // 2 - (n - 2)
        open_places = ((1 << (n - 1)) - 1) & ~full
        chosen = 0
        while True:
            chosen = (chosen - open_places) & open_places  # the next subset
            if not chosen:
                break
            size = popcount(chosen)
            if size > HIGHEST_DEGREE or rings + size - 1 > most_rings:
                continue
            smallest = True
            for g in range(1, order):
                turned = 0
                for v in range(n - 1):
                    if (chosen >> v) & 1:
                        turned |= 1 << family[g, v]
                if turned < chosen:
                    smallest = False
                    break
            if not smallest:
                continue
            for v in range(n - 1):
                adjacency[v] = int(parents[parent, v]) | (((chosen >> v) & 1) << (n - 1))
            adjacency[n - 1] = chosen
            neighbour_table(adjacency, neighbours, degree)
            if apart and size > 1 and not small_cycles_apart(adjacency, neighbours, degree):
                continue
            if _accept(adjacency, neighbours, degree, colour, place, group, scratch):
                for v in range(n):
                    children[count, v] = adjacency[v]
                count += 1
        adjacency[n - 1] = 0
    return parents.shape[0], count


def graphs(nodes: int, *, max_rings: int | None = None, small_rings_apart: bool = False) -> Iterator[np.ndarray]:
    """Chunks (k, nodes) uint16 of adjacency bits, in a fixed order: bit u of entry v is the edge between u and v.

    ``max_rings`` bounds the cycle rank, edges - nodes + 1. ``small_rings_apart`` leaves out graphs with a vertex in two
    different cycles of length 3 or 4. Both properties are handed down when a vertex is removed, so they prune early.
    Holds the graphs of one vertex less (1.8 MB for those of 11 vertices) and one chunk.

    Raises ``UsageError`` for a number of vertices out of range.
    """
    if not 1 <= nodes <= MOST_HEAVY_ATOMS:
        raise UsageError(f"cannot enumerate molecules of {nodes} heavy atoms: give 1 to {MOST_HEAVY_ATOMS}")
    rings = nodes * HIGHEST_DEGREE if max_rings is None else max_rings
    if nodes == 1:
        if rings >= 0:
            yield np.zeros((1, 1), np.uint16)
        return
    smaller = list(graphs(nodes - 1, max_rings=max_rings, small_rings_apart=small_rings_apart))
    parents = np.concatenate(smaller) if smaller else np.zeros((0, nodes - 1), np.uint16)
    children = np.empty((CHUNK, nodes), np.uint16)
    following = 0
    while following < len(parents):
        following, count = _extend(parents, following, rings, small_rings_apart, children)
        if count:
            yield children[:count].copy()
