"""Bond orders on the edges of a graph, elements on the vertices of a multigraph: one assignment of each orbit.

Orders are tried edge by edge, from one up. An assignment x is kept if no element g of the group makes it smaller:
x ≤ x∘g in lexicographic order for all g, known from a prefix as soon as the compared edges have orders. So branches
that hold no representative are cut where they begin; the elements with x∘g = x at the end are the multigraph's group.

Elements are tried vertex by vertex, in the order of ``Graph``, by the same rule. What the valences, the formula and the
rule set forbid is left as soon as it can be seen. The search stops when its table of results is full and goes on from
there at the next call: memory does not depend on how many there are.

Reference: R. C. Read, Ann. Discrete Math. 2, 107 (1978), orderly generation.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from qmgen.molecules.enumeration.graphs import jit, popcount


@jit
def smaller_image(values: np.ndarray, group: np.ndarray, before: np.ndarray, after: np.ndarray, assigned: int) -> bool:
    """Whether an element of the group makes the first ``assigned`` values smaller.

    ``before`` and ``after`` (g,) int8: up to where an element has been found equal, -1 once it gives something larger.
    """
    for g in range(1, group.shape[0]):  # the first is the identity
        at = before[g]
        if at >= 0:
            while at < assigned:
                other = group[g, at]
                if other >= assigned:
                    break
                if values[other] < values[at]:
                    return True
                if values[other] > values[at]:
                    at = -1
                    break
                at += 1
        after[g] = at
    return False


@jit
def assign_orders(
    edges: np.ndarray,
    edge_group: np.ndarray,
    degree: np.ndarray,
    extra: int,
    max_order: np.ndarray,
    max_sum: np.ndarray,
    room: np.ndarray,
    cumulated: bool,
    removed: np.ndarray,
) -> np.ndarray:
    """Bond orders (k, e) uint8 with a total of e + ``extra``, in lexicographic order.

    ``max_order`` (e,) and ``max_sum`` (n,) int64 bound the order of each edge and the sum at each vertex; ``room`` (5,)
    int64 how many vertices may have a sum of at least 0…4; without ``cumulated`` no vertex has two multiple bonds.
    ``removed`` (2,) int64 counts branches cut by the first two, and by the last.
    """
    count_edges = edges.shape[0]
    found = np.empty((16, count_edges), np.uint8)
    count = 0
    sums = degree.copy()
    tall = np.zeros(6, np.int64)  # vertices with a sum of at least s
    for v in range(degree.shape[0]):
        if degree[v] > max_sum[v]:
            return found[:0]
        for s in range(degree[v] + 1):
            tall[s] += 1
    for s in range(5):
        if tall[s] > room[s]:
            return found[:0]
    if count_edges == 0:
        return found[: 1 if extra == 0 else 0]
    capacity = np.zeros(count_edges + 1, np.int64)
    for e in range(count_edges - 1, -1, -1):
        capacity[e] = capacity[e + 1] + max_order[e] - 1
    multiple = np.zeros(degree.shape[0], np.int64)
    equal = np.zeros((count_edges + 1, edge_group.shape[0]), np.int8)
    x = np.zeros(count_edges, np.int64)
    left = extra
    e = 0
    while e >= 0:
        u = edges[e, 0]
        v = edges[e, 1]
        x[e] += 1
        fits = True
        if x[e] > 1:
            left -= 1
            for w in (u, v):
                sums[w] += 1
                tall[sums[w]] += 1
                if x[e] == 2:
                    multiple[w] += 1
            if left < 0 or sums[u] > 4 or sums[v] > 4 or tall[sums[u]] > room[sums[u]] or tall[sums[v]] > room[sums[v]]:
                fits = False
            elif x[e] > max_order[e] or sums[u] > max_sum[u] or sums[v] > max_sum[v]:
                fits = False
                removed[0] += 1
            elif not cumulated and (multiple[u] > 1 or multiple[v] > 1):
                fits = False
                removed[1] += 1
        if not fits:  # nor does any higher order
            for w in (u, v):
                if x[e] > 1:
                    multiple[w] -= 1
                for _ in range(x[e] - 1):
                    tall[sums[w]] -= 1
                    sums[w] -= 1
            left += x[e] - 1
            x[e] = 0
            e -= 1
            continue
        if left > capacity[e + 1] or smaller_image(x, edge_group, equal[e], equal[e + 1], e + 1):
            continue
        if e + 1 < count_edges:
            e += 1
            continue
        if left == 0:
            if count == found.shape[0]:
                larger = np.empty((2 * count, count_edges), np.uint8)
                larger[:count] = found
                found = larger
            for k in range(count_edges):
                found[count, k] = x[k]
            count += 1
    return found[:count]


#: parts share out the colorings of all vertices but these: at most 64 molecules of C, N, O, F stay together
UNDEALT: Final = 3


class Palette(NamedTuple):
    """The elements of an enumeration and what is asked of them, for ``color``.

    ``valence`` (k,) int64, ``lone_pair`` and ``heteroatom`` (k,) bool; ``counts`` (2, k) and ``hydrogens`` (2,) int64:
    the smallest and largest numbers asked for; ``classes`` (k, 3, 5, 2, 2) uint8, ``pairs`` (c, c, 3) and
    ``environments`` (c, E) bool as in ``Pruning``; ``binomials`` (codes + 4, 5) int64; ``uses`` (3,) bool: whether
    counts, pairs and environments restrict anything.
    """

    valence: np.ndarray
    lone_pair: np.ndarray
    heteroatom: np.ndarray
    counts: np.ndarray
    hydrogens: np.ndarray
    classes: np.ndarray
    pairs: np.ndarray
    environments: np.ndarray
    binomials: np.ndarray
    uses: np.ndarray


@jit
def _two_core(mask: int, adjacency: np.ndarray) -> int:
    """The vertices of ``mask`` on or between cycles inside ``mask``."""
    while True:
        kept = mask
        for v in range(adjacency.shape[0]):
            if (mask >> v) & 1 and popcount(adjacency[v] & mask) < 2:
                kept &= ~(1 << v)
        if kept == mask:
            return mask
        mask = kept


class Rings(NamedTuple):
    """Vertices in rings of 3 and 4 as bits, where a rule asks; rings (r,) int64 as bits of their vertices, and how many
    heteroatoms (r,) int64 each may have."""

    small: int
    counted: np.ndarray
    limits: np.ndarray


class ColoringSearch(NamedTuple):
    """The state of ``color`` between its calls, int64 but ``equal``.

    ``cursor`` (3,): the vertex, the part that is next, and that of the coloring in hand. ``elements`` (n,) codes, at
    first -1; the others are at first 0: ``used`` (k,) atoms of each element, ``tracks`` (3, n + 1) and ``equal``
    (n + 1, g) int8.
    """

    cursor: np.ndarray
    elements: np.ndarray
    used: np.ndarray
    tracks: np.ndarray
    equal: np.ndarray


class Colorings(NamedTuple):
    """Tables of colorings: ``elements`` (capacity, n) uint8; ``aromatic`` (capacity,) bool: whether aromatic bonds are
    possible; ``parts`` (capacity,) int64: the part, from 0, to which each was dealt."""

    elements: np.ndarray
    aromatic: np.ndarray
    parts: np.ndarray


@jit
def _class_of(
    v: int, x: np.ndarray, hybridization: np.ndarray, spare: np.ndarray, core: int, small: int, palette: Palette
) -> int:
    """The class of a colored vertex; ``spare`` is minus the sum of its bond orders."""
    e = x[v]
    hydrogens = palette.valence[e] + spare[v]
    return int(palette.classes[e, hybridization[v], hydrogens, (core >> v) & 1, (small >> v) & 1])


@jit
def _environment(
    v: int,
    x: np.ndarray,
    adjacent: np.ndarray,
    bonds: np.ndarray,
    degree: np.ndarray,
    hybridization: np.ndarray,
    spare: np.ndarray,
    core: int,
    small: int,
    palette: Palette,
) -> int:
    """The place of the surroundings of ``v`` in the table of environments (``pruning.environment_number``)."""
    a = b = c = d = 0  # four codes, largest first
    for k in range(degree[v]):
        kind = _class_of(adjacent[v, k], x, hybridization, spare, core, small, palette)
        code = kind * 3 + bonds[v, k]
        if code > a:
            a, b, c, d = code, a, b, c
        elif code > b:
            b, c, d = code, b, c
        elif code > c:
            c, d = code, c
        else:
            d = code
    binomials = palette.binomials
    return binomials[a + 3, 4] + binomials[b + 2, 3] + binomials[c + 1, 2] + binomials[d, 1]


@jit
def color(
    adjacency: np.ndarray,
    edges: np.ndarray,
    orders: np.ndarray,
    group: np.ndarray,
    domains: np.ndarray,
    rings: Rings,
    palette: Palette,
    wanted: np.ndarray,
    search: ColoringSearch,
    table: Colorings,
    removed: np.ndarray,
) -> int:
    """Fills ``table`` with the next colorings and returns their number; less than its capacity means that there are no
    more.

    ``domains`` (n, k) bool: what each vertex may become. ``wanted`` (N,) bool: the colorings of all but the last
    vertices are dealt to N parts as they are met, and only those of wanted parts are finished. ``removed`` (3,) counts
    branches cut by pairs, by environments and by rings.
    """
    valence, lone_pair, heteroatom, counts = palette.valence, palette.lone_pair, palette.heteroatom, palette.counts
    small, cursor, x, used, tracks = rings.small, search.cursor, search.elements, search.used, search.tracks
    n = adjacency.shape[0]
    kinds = valence.shape[0]
    adjacent = np.empty((n, 4), np.int64)
    bonds = np.empty((n, 4), np.int64)
    degree = np.zeros(n, np.int64)
    spare = np.zeros(n, np.int64)
    multiple = np.zeros(n, np.int64)
    hybridization = np.zeros(n, np.int64)
    for k in range(edges.shape[0]):
        u = int(edges[k, 0])
        v = int(edges[k, 1])
        order = int(orders[k])
        for here, there in ((u, v), (v, u)):
            adjacent[here, degree[here]] = there
            bonds[here, degree[here]] = order
            degree[here] += 1
            spare[here] -= order
            hybridization[here] += order - 1
            if order > 1:
                multiple[here] += 1
    # what the vertices after each one can add: hydrogens at least and at most, and vertices with a sum of at least s
    fewest = np.zeros(n + 1, np.int64)
    most = np.zeros(n + 1, np.int64)
    tall = np.zeros((n + 1, 5), np.int64)
    last = np.empty(n, np.int64)
    core = 0
    for v in range(n - 1, -1, -1):
        low = 99
        high = -1
        possible = multiple[v] == 1
        for e in range(kinds):
            if domains[v, e]:
                low = min(low, valence[e])
                high = max(high, valence[e])
                if multiple[v] == 0 and lone_pair[e]:
                    possible = True
        if high < 0:
            return 0
        if possible:
            core |= 1 << v
        fewest[v] = fewest[v + 1] + low + spare[v]
        most[v] = most[v + 1] + high + spare[v]
        for s in range(1, 5):
            tall[v, s] = tall[v + 1, s] + (1 if -spare[v] >= s else 0)
        last[v] = v
        for k in range(degree[v]):
            last[v] = max(last[v], adjacent[v, k])
    core = _two_core(core, adjacency)
    tracks[1, 0] = core
    found = 0
    dealt = max(0, n - 1 - UNDEALT)
    d = cursor[0]
    while d >= 0:
        if x[d] >= 0:
            used[x[d]] -= 1
        x[d] += 1
        e = x[d]
        if e == kinds:
            x[d] = -1
            d -= 1
            continue
        used[e] += 1
        if not domains[d, e] or used[e] > counts[1, e]:
            continue
        free = tracks[0, d] + valence[e] + spare[d]
        if free + fewest[d + 1] > palette.hydrogens[1] or free + most[d + 1] < palette.hydrogens[0]:
            continue
        if palette.uses[0]:
            fits = True
            needed = 0
            for k in range(kinds):
                needed += max(0, counts[0, k] - used[k])
            if needed > n - 1 - d:
                continue
            for s in range(1, 5):
                able = 0
                for k in range(kinds):
                    if valence[k] >= s:
                        able += counts[1, k] - used[k]
                if able < tall[d + 1, s]:
                    fits = False
            if not fits:
                continue
        if smaller_image(x, group, search.equal[d], search.equal[d + 1], d + 1):
            continue
        here = 1 << d
        hetero = tracks[2, d] | (here if heteroatom[e] else 0)
        if heteroatom[e] and rings.counted.shape[0]:
            fits = True
            for k in range(rings.counted.shape[0]):
                if rings.counted[k] & here and popcount(rings.counted[k] & hetero) > rings.limits[k]:
                    fits = False
                    break
            if not fits:
                removed[2] += 1
                continue
        alive = tracks[1, d]
        if alive & here and multiple[d] == 0 and not lone_pair[e]:
            alive = _two_core(alive & ~here, adjacency)
        # at the last vertex everything is judged again: rings that once might have been aromatic may not be any more
        again = d == n - 1 and alive != core
        if palette.uses[1]:
            fits = True
            for v in range(0 if again else d, d + 1):
                mine = _class_of(v, x, hybridization, spare, alive, small, palette)
                for k in range(degree[v]):
                    u = adjacent[v, k]
                    if u < v:
                        other = _class_of(u, x, hybridization, spare, alive, small, palette)
                        fits = fits and palette.pairs[mine, other, bonds[v, k] - 1]
            if not fits:
                removed[0] += 1
                continue
        if palette.uses[2]:
            fits = True
            for v in range(d + 1):
                if last[v] == d or again:
                    mine = _class_of(v, x, hybridization, spare, alive, small, palette)
                    around = _environment(v, x, adjacent, bonds, degree, hybridization, spare, alive, small, palette)
                    if palette.environments[mine, around]:
                        fits = False
                        break
            if not fits:
                removed[1] += 1
                continue
        if d == dealt:
            part = cursor[1]
            cursor[1] = (part + 1) % wanted.shape[0]
            if not wanted[part]:
                continue
            cursor[2] = part
        if d + 1 < n:
            tracks[0, d + 1] = free
            tracks[1, d + 1] = alive
            tracks[2, d + 1] = hetero
            d += 1
            continue
        for v in range(n):
            table.elements[found, v] = x[v]
        table.aromatic[found] = alive != 0
        table.parts[found] = cursor[2]
        found += 1
        if found == table.elements.shape[0]:
            cursor[0] = d
            return found
    cursor[0] = -1
    return found
