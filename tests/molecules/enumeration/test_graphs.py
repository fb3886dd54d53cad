"""Connected graphs of degree at most 4, and the group of each."""

from __future__ import annotations

from itertools import combinations, permutations

import numpy as np
import pytest

from qmgen.errors import UsageError
from qmgen.molecules.enumeration.graphs import graphs
from qmgen.molecules.enumeration.structure import prepare

#: OEIS A121941, read off geng by the authors of GDB-11 (J. Chem. Inf. Model. 47, 342 (2007))
GRAPHS = [1, 1, 2, 6, 21, 78, 353, 1929, 12207, 89402, 739335]
#: graphs without a vertex in two cycles of length 3 or 4, made by another program (shared/gdb11.md), up to 10 vertices.
#: There 11 has 19218; counting triangles and squares in all 739335 graphs of 11 vertices leaves 19215, and so do we.
APART = [1, 1, 2, 4, 8, 20, 57, 199, 780, 3600, 19215]
#: trees of degree at most 4, OEIS A000602
TREES = [1, 1, 1, 2, 3, 5, 9, 18, 35, 75, 159, 355, 802, 1858]


def count(nodes, **limits):
    return sum(len(chunk) for chunk in graphs(nodes, **limits))


@pytest.mark.parametrize("nodes", range(1, 12))
def test_number_of_graphs(nodes):
    assert count(nodes) == GRAPHS[nodes - 1]


@pytest.mark.parametrize("nodes", range(1, 12))
def test_number_of_graphs_with_small_rings_apart(nodes):
    assert count(nodes, small_rings_apart=True) == APART[nodes - 1]


@pytest.mark.parametrize("nodes", range(1, 15))
def test_number_of_trees(nodes):
    assert count(nodes, max_rings=0) == TREES[nodes - 1]


def matrix(bits):
    return np.array([[int(row) >> u & 1 for u in range(len(bits))] for row in bits])


@pytest.mark.parametrize("nodes", range(2, 6))
def test_the_same_graphs_as_all_labeled_ones_sorted_by_hand(nodes):
    """Every subset of the edges of a complete graph, made canonical by trying all permutations."""
    places = list(combinations(range(nodes), 2))
    turns = [np.array(turn) for turn in permutations(range(nodes))]

    def canonical(m):
        return min(m[turn][:, turn].tobytes() for turn in turns)

    wanted = set()
    for chosen in range(1 << len(places)):
        m = np.zeros((nodes, nodes), int)
        for k, (u, v) in enumerate(places):
            m[u, v] = m[v, u] = chosen >> k & 1
        if m.sum(axis=0).max() <= 4 and (np.linalg.matrix_power(m + np.eye(nodes, dtype=int), nodes) > 0).all():
            wanted.add(canonical(m))
    found = [canonical(matrix(bits)) for chunk in graphs(nodes) for bits in chunk]
    assert set(found) == wanted and len(found) == len(wanted)


@pytest.mark.parametrize("nodes", range(1, 7))
def test_the_group_is_all_of_the_automorphisms(nodes):
    for chunk in graphs(nodes):
        for bits in chunk:
            graph = prepare(0, bits)
            m = matrix(graph.adjacency)
            wanted = {turn for turn in permutations(range(nodes)) if (m[np.ix_(turn, turn)] == m).all()}
            assert {tuple(element) for element in graph.group.tolist()} == wanted
            assert len(graph.group) == len(wanted)
            assert graph.group[0].tolist() == list(range(nodes))
            for element, turned in zip(graph.group.tolist(), graph.edge_group.tolist()):
                for e, (u, v) in enumerate(graph.edges.tolist()):
                    assert graph.edge_number[element[u], element[v]] == turned[e]


def test_the_largest_group_fits():
    """K4,4, the largest there is up to 12 vertices: 4! · 4! · 2 elements."""
    bits = np.array([0b11110000] * 4 + [0b00001111] * 4, np.uint16)
    assert len(prepare(0, bits).group) == 1152


def test_a_prepared_graph_keeps_its_edges_and_finds_its_rings():
    (bowtie,) = [
        prepare(0, bits)
        for chunk in graphs(5)
        for bits in chunk
        if sorted(np.bitwise_count(bits).tolist()) == [2, 2, 2, 2, 4]
        and len(prepare(0, bits).edges) == 6
        and len(prepare(0, bits).cycles(3)) == 2
    ]
    assert bowtie.rings == 2 and len(bowtie.cycles(5)) == 2
    assert all(len(ring) == 3 for ring in bowtie.cycles(5))
    assert sorted(bowtie.degree.tolist()) == [2, 2, 2, 2, 4]
    assert (bowtie.edges[:, 0] < bowtie.edges[:, 1]).all()


def test_the_order_is_fixed():
    assert all((a == b).all() for a, b in zip(graphs(8), graphs(8)))


@pytest.mark.parametrize("nodes", [0, -1, 16])
def test_sizes_out_of_range(nodes):
    with pytest.raises(UsageError, match="heavy atoms"):
        next(graphs(nodes))
