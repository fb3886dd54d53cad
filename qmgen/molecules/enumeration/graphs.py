"""All connected graphs of degree at most 4, each once, and the automorphism group of each.

    from qmgen.molecules.enumeration.graphs import graphs

    sum(len(chunk) for chunk in graphs(8))        # 1929
    next(graphs(3))                               # adjacency bits: array([[6, 1, 1], [6, 5, 3]], dtype=uint16)

Canonical augmentation, vertex by vertex: a graph of n vertices is made from exactly one of n - 1 vertices, the one left
when its canonically last non-cut vertex is taken away. A child is accepted if and only if its new vertex lies in the
orbit of that vertex, and of the neighbor sets that the parent's automorphisms turn into each other only the smallest is
tried; so nothing is remembered. "Last" begins with "of the smallest degree": then new vertices mostly have one
neighbor, and few children are rejected.

Canonical labeling is color refinement and individualization, for connected graphs of at most 15 vertices. Every leaf of
the search is visited and every automorphism kept, since the later stages need the whole group as a list (it has 1 to 8
elements for most graphs).

Vertices are numbered from 0. ``adjacency`` (n,) int64 holds the neighbors of each as bits; ``neighbors`` (n, 4) and
``degree`` (n,) int64 are the same as a table. A *coloring* (n,) int64 gives each vertex the number of vertices of a
smaller color, so that one without equal colors is a permutation.

The inner loops of the enumeration are compiled by Numba (``jit``) and kept on disk beside the other compiled programs.

References: B. D. McKay, J. Algorithms 26, 306 (1998), augmentation; B. D. McKay and A. Piperno, J. Symb. Comput. 60, 94
(2014), labeling, here without pruning by automorphisms.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numba
import numpy as np

from qmgen.caches import cache_directory
from qmgen.errors import UsageError


def _directory() -> Path:
    """Where the compiled loops of exactly these sources are kept.

    Numba looks only at the file of a function, not at the functions it calls in other files: so the name of the
    directory is a hash of all files with compiled functions.
    """
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        text = path.read_bytes()
        if b"@jit" in text:
            digest.update(path.name.encode() + b"\n" + text)
    return cache_directory("numba") / f"numba-{digest.hexdigest()[:16]}"


def _choose_cache() -> None:
    """Points Numba to the directory above; ``NUMBA_CACHE_DIR`` has the first word, a read-only place leaves Numba's own
    choice."""
    if os.environ.get("NUMBA_CACHE_DIR"):
        return
    directory = _directory()
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError:
        return
    if os.access(directory, os.W_OK):
        numba.config.CACHE_DIR = str(directory)


_choose_cache()


def jit(function: Callable[..., Any]) -> Any:
    """``function`` compiled at its first call, from the cache where there is one."""
    try:
        return numba.njit(cache=True)(function)
    except RuntimeError:  # no place that can be written to: compiled anew in each process, slower, not wrong
        return numba.njit(function)


#: 3 bits hold how often each of 15 colors stands around a vertex (at most 4 times)
MOST_NODES: Final = 15
#: more than the largest group of a connected graph of degree 4 that fits (K4,4: 1152; 12 nodes: below 2000)
LARGEST_GROUP: Final = 8192
_COLOR_SHIFT: Final = 3 * MOST_NODES


@jit
def popcount(bits: int) -> int:
    """The number of bits set."""
    count = 0
    while bits:
        bits &= bits - 1
        count += 1
    return count


@jit
def neighbor_table(adjacency: np.ndarray, neighbors: np.ndarray, degree: np.ndarray) -> None:
    """Fills ``neighbors`` and ``degree`` from the bits; unused places are -1."""
    n = adjacency.shape[0]
    for v in range(n):
        count = 0
        for u in range(n):
            if (adjacency[v] >> u) & 1:
                neighbors[v, count] = u
                count += 1
        degree[v] = count
        for k in range(count, 4):
            neighbors[v, k] = -1


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
def refine(neighbors: np.ndarray, degree: np.ndarray, color: np.ndarray, scratch: np.ndarray) -> None:
    """Splits colors by the colors around each vertex until nothing changes (in place). ``scratch`` (2, n) int64."""
    n = color.shape[0]
    while True:
        for v in range(n):
            signature = color[v] << _COLOR_SHIFT
            for k in range(degree[v]):
                signature += 1 << (3 * color[neighbors[v, k]])
            scratch[0, v] = signature
        changed = False
        for v in range(n):
            smaller = 0
            mine = scratch[0, v]
            for u in range(n):
                if scratch[0, u] < mine:
                    smaller += 1
            scratch[1, v] = smaller
            if smaller != color[v]:
                changed = True
        if not changed:
            return
        for v in range(n):
            color[v] = scratch[1, v]


@jit
def degree_colors(degree: np.ndarray, color: np.ndarray) -> None:
    """The first coloring: vertices of high degree before those of low degree."""
    n = degree.shape[0]
    for v in range(n):
        larger = 0
        for u in range(n):
            if degree[u] > degree[v]:
                larger += 1
        color[v] = larger


@jit
def automorphisms(
    neighbors: np.ndarray, degree: np.ndarray, start: np.ndarray, place: np.ndarray, group: np.ndarray
) -> int:
    """The canonical place of each vertex, and the automorphism group.

    ``start`` (n,) is a refined coloring that does not depend on the labels. Fills ``place`` (n,) int64, a permutation
    that gives isomorphic graphs the same image and respects ``start``, and ``group`` (capacity, n) int8: element g
    takes vertex v to ``group[g, v]``. Returns the order of the group; raises ``OverflowError`` past the capacity.
    """
    n = start.shape[0]
    colors = np.empty((n + 1, n), np.int64)
    members = np.empty((n + 1, n), np.int64)
    size = np.zeros(n + 1, np.int64)
    following = np.zeros(n + 1, np.int64)
    scratch = np.empty((2, n), np.int64)
    image = np.empty(n, np.int64)
    best = np.empty(n, np.int64)
    at_place = np.empty(n, np.int64)
    order = 0
    colors[0] = start
    depth = 0
    entering = True
    while depth >= 0:
        color = colors[depth]
        if entering:
            # the first color that several vertices share; none: a leaf
            size[depth] = 0
            following[depth] = 0
            seen = 0
            shared = 0
            for v in range(n):
                bit = 1 << color[v]
                shared |= seen & bit
                seen |= bit
            if shared:
                target = 0
                while not (shared >> target) & 1:
                    target += 1
                for v in range(n):
                    if color[v] == target:
                        members[depth, size[depth]] = v
                        size[depth] += 1
            else:
                image[:] = 0
                for v in range(n):
                    row = 0
                    for k in range(degree[v]):
                        row |= 1 << color[neighbors[v, k]]
                    image[color[v]] = row
                compared = -1 if order == 0 else 0
                if order:
                    for k in range(n):
                        if image[k] != best[k]:
                            compared = -1 if image[k] < best[k] else 1
                            break
                if compared < 0:
                    best[:] = image
                    place[:] = color
                    for v in range(n):
                        at_place[color[v]] = v
                        group[0, v] = v
                    order = 1
                elif compared == 0:
                    if order == group.shape[0]:
                        raise OverflowError("an automorphism group is larger than its table")
                    for v in range(n):
                        group[order, v] = at_place[color[v]]
                    order += 1
        entering = False
        if following[depth] == size[depth]:
            depth -= 1
            continue
        chosen = members[depth, following[depth]]
        following[depth] += 1
        deeper = colors[depth + 1]
        for v in range(n):
            deeper[v] = color[v]
            if v != chosen and color[v] == color[chosen]:
                deeper[v] += 1
        refine(neighbors, degree, deeper, scratch)
        depth += 1
        entering = True
    return order


HIGHEST_DEGREE: Final = 4
#: the table of children is filled this far (graphs), then handed on
CHUNK: Final = 1 << 14
#: as far as the labeling goes; from 12 on (some 6.5 million graphs) only with few rings is it quick
MOST_HEAVY_ATOMS: Final = MOST_NODES


@jit
def small_cycles_apart(adjacency: np.ndarray, neighbors: np.ndarray, degree: np.ndarray) -> bool:
    """Whether no vertex belongs to two different cycles of length 3 or 4 (rule G1 of GDB-11)."""
    for v in range(degree.shape[0]):
        cycles = 0
        for i in range(degree[v]):
            a = neighbors[v, i]
            for j in range(i):
                b = neighbors[v, j]
                cycles += (adjacency[a] >> b) & 1  # the triangle v a b
                cycles += popcount(adjacency[a] & adjacency[b]) - 1  # squares v a w b; v itself is a common neighbor
        if cycles > 1:
            return False
    return True


@jit
def _accept(
    adjacency: np.ndarray,
    neighbors: np.ndarray,
    degree: np.ndarray,
    color: np.ndarray,
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
    degree_colors(degree, color)
    refine(neighbors, degree, color, scratch)
    rivals = 0
    for v in range(newest):
        if color[v] > color[newest]:
            if connected_without(adjacency, v):
                return False
        elif color[v] == color[newest] and connected_without(adjacency, v):
            rivals |= 1 << v
    if not rivals:
        return True
    order = automorphisms(neighbors, degree, color, place, group)
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
    neighbors = np.empty((n, 4), np.int64)
    degree = np.empty(n, np.int64)
    color = np.empty(n, np.int64)
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
        neighbor_table(adjacency[: n - 1], neighbors, degree)
        degree_colors(degree[: n - 1], color)
        refine(neighbors, degree, color[: n - 1], scratch)
        order = automorphisms(neighbors, degree, color[: n - 1], place[: n - 1], family)
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
            neighbor_table(adjacency, neighbors, degree)
            if apart and size > 1 and not small_cycles_apart(adjacency, neighbors, degree):
                continue
            if _accept(adjacency, neighbors, degree, color, place, group, scratch):
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
