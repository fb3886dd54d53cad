"""Bond orders on the edges of a graph: every assignment, one of each orbit of the automorphism group.

Orders are tried edge by edge, from one up. An assignment x is kept if no element g of the group makes it smaller:
x ≤ x∘g in lexicographic order for all g, known from a prefix as soon as the compared edges have orders. So branches
that hold no representative are cut where they begin; the elements with x∘g = x at the end are the multigraph's group.

Reference: R. C. Read, Ann. Discrete Math. 2, 107 (1978), orderly generation.
"""

from __future__ import annotations

import numpy as np

from qmgen.molecules.enumeration.jit import jit


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
