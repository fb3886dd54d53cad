"""Canonical labelling and the automorphism group of a small graph: colour refinement and individualisation.

Made for connected graphs of at most 15 vertices and degree at most 4. Every leaf of the search is visited and every
automorphism kept, since the later stages need the whole group as a list (it has 1 to 8 elements for most graphs).

Reference: B. D. McKay and A. Piperno, J. Symb. Comput. 60, 94 (2014), without their pruning by automorphisms.

Vertices are numbered from 0. ``adjacency`` (n,) int64 holds the neighbours of each as bits; ``neighbours`` (n, 4) and
``degree`` (n,) int64 are the same as a table. A *colouring* (n,) int64 gives each vertex the number of vertices of a
smaller colour, so that one without equal colours is a permutation.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from qmgen.molecules.enumeration.jit import jit

#: 3 bits hold how often each of 15 colours stands around a vertex (at most 4 times)
MOST_NODES: Final = 15
#: more than the largest group of a connected graph of degree 4 that fits (K4,4: 1152; 12 nodes: below 2000)
LARGEST_GROUP: Final = 8192
_COLOUR_SHIFT: Final = 3 * MOST_NODES


@jit
def popcount(bits: int) -> int:
    """The number of bits set."""
    count = 0
    while bits:
        bits &= bits - 1
        count += 1
    return count


@jit
def neighbour_table(adjacency: np.ndarray, neighbours: np.ndarray, degree: np.ndarray) -> None:
    """Fills ``neighbours`` and ``degree`` from the bits; unused places are -1."""
    n = adjacency.shape[0]
    for v in range(n):
        count = 0
        for u in range(n):
            if (adjacency[v] >> u) & 1:
                neighbours[v, count] = u
                count += 1
        degree[v] = count
        for k in range(count, 4):
            neighbours[v, k] = -1


@jit
def connected_without(adjacency: np.ndarray, v: int) -> bool:
    """Whether the graph stays connected without vertex ``v``."""
    n = adjacency.shape[0]
    everything = ((1 << n) - 1) & ~(1 << v)
    reached = everything & -everything
    while True:
        grown = reached
        for u in range(n):
            if (reached >> u) & 1:
                grown |= adjacency[u]
        grown &= everything
        if grown == reached:
            return reached == everything
        reached = grown


@jit
def refine(neighbours: np.ndarray, degree: np.ndarray, colour: np.ndarray, scratch: np.ndarray) -> None:
    """Splits colours by the colours around each vertex until nothing changes (in place). ``scratch`` (2, n) int64."""
    n = colour.shape[0]
    while True:
        for v in range(n):
            signature = colour[v] << _COLOUR_SHIFT
            for k in range(degree[v]):
                signature += 1 << (3 * colour[neighbours[v, k]])
            scratch[0, v] = signature
        changed = False
        for v in range(n):
            smaller = 0
            mine = scratch[0, v]
            for u in range(n):
                if scratch[0, u] < mine:
                    smaller += 1
            scratch[1, v] = smaller
            if smaller != colour[v]:
                changed = True
        if not changed:
            return
        for v in range(n):
            colour[v] = scratch[1, v]


@jit
def degree_colours(degree: np.ndarray, colour: np.ndarray) -> None:
    """The first colouring: vertices of high degree before those of low degree."""
    n = degree.shape[0]
    for v in range(n):
        larger = 0
        for u in range(n):
            if degree[u] > degree[v]:
                larger += 1
        colour[v] = larger


@jit
def automorphisms(
    neighbours: np.ndarray, degree: np.ndarray, start: np.ndarray, place: np.ndarray, group: np.ndarray
) -> int:
    """The canonical place of each vertex, and the automorphism group.

    ``start`` (n,) is a refined colouring that does not depend on the labels. Fills ``place`` (n,) int64, a permutation
    that gives isomorphic graphs the same image and respects ``start``, and ``group`` (capacity, n) int8: element g
    takes vertex v to ``group[g, v]``. Returns the order of the group; raises ``OverflowError`` past the capacity.
    """
    n = start.shape[0]
    colours = np.empty((n + 1, n), np.int64)
    members = np.empty((n + 1, n), np.int64)
    size = np.zeros(n + 1, np.int64)
    following = np.zeros(n + 1, np.int64)
    scratch = np.empty((2, n), np.int64)
    image = np.empty(n, np.int64)
    best = np.empty(n, np.int64)
    at_place = np.empty(n, np.int64)
    order = 0
    colours[0] = start
    depth = 0
    entering = True
    while depth >= 0:
        colour = colours[depth]
        if entering:
            # the first colour that several vertices share; none: a leaf
            size[depth] = 0
            following[depth] = 0
            seen = 0
            shared = 0
            for v in range(n):
                bit = 1 << colour[v]
                shared |= seen & bit
                seen |= bit
            if shared:
                target = 0
                while not (shared >> target) & 1:
                    target += 1
                for v in range(n):
                    if colour[v] == target:
                        members[depth, size[depth]] = v
                        size[depth] += 1
            else:
                image[:] = 0
                for v in range(n):
                    row = 0
                    for k in range(degree[v]):
                        row |= 1 << colour[neighbours[v, k]]
                    image[colour[v]] = row
                compared = -1 if order == 0 else 0
                if order:
                    for k in range(n):
                        if image[k] != best[k]:
                            compared = -1 if image[k] < best[k] else 1
                            break
                if compared < 0:
                    best[:] = image
                    place[:] = colour
                    for v in range(n):
                        at_place[colour[v]] = v
                        group[0, v] = v
                    order = 1
                elif compared == 0:
                    if order == group.shape[0]:
                        raise OverflowError("an automorphism group is larger than its table")
                    for v in range(n):
                        group[order, v] = at_place[colour[v]]
                    order += 1
        entering = False
        if following[depth] == size[depth]:
            depth -= 1
            continue
        chosen = members[depth, following[depth]]
        following[depth] += 1
        deeper = colours[depth + 1]
        for v in range(n):
            deeper[v] = colour[v]
            if v != chosen and colour[v] == colour[chosen]:
                deeper[v] += 1
        refine(neighbours, degree, deeper, scratch)
        depth += 1
        entering = True
    return order
