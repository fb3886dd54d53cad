"""The Kekulé forms of one molecule, as bond orders on one graph: which exist, which are the same, which are allowed.

Two forms are the same multigraph if an automorphism of the graph that keeps the elements turns one into the other, as
it does with the two of benzene.
"""

from __future__ import annotations

import numpy as np

from qmgen.molecules.enumeration.items import Item, colourings, element_choices
from qmgen.molecules.enumeration.structure import Graph


def _keepers(graph: Graph, elements: np.ndarray) -> np.ndarray:
    """What the automorphisms that keep the elements (n,) do to edges (g, e) int8."""
    return graph.edge_group[(elements[graph.group] == elements).all(axis=1)]


def same_form(graph: Graph, elements: np.ndarray, one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two assignments of bond orders (e,) to a graph with elements (n,) are the same multigraph."""
    return bool((one == other).all()) or bool((one[_keepers(graph, elements)] == other).all(axis=1).any())


def first_form(graph: Graph, elements: np.ndarray, forms: list[np.ndarray], orders: np.ndarray) -> bool:
    """Whether ``orders`` is the same multigraph as the first of ``forms``: the least in lexicographic order of all that
    the automorphisms make of them."""
    keepers = _keepers(graph, elements)
    least = min((image.tobytes() for form in forms for image in form[keepers]), default=orders.tobytes())
    return least in {image.tobytes() for image in orders[keepers]}


def allowed(item: Item, orders: np.ndarray, elements: np.ndarray) -> bool:
    """Whether bond orders (e,) and elements (n,) on the graph of an item pass all that the rule set prunes by."""
    graph, limits = item.graph, item.limits
    if (orders > limits.max_order).any() or (graph.incidence @ orders > limits.max_order_sum).any():
        return False
    if not item.pruning.cumulated and (graph.incidence @ (orders > 1) > 1).any():
        return False
    choices = element_choices(item, orders)
    if choices is None or not choices[np.arange(graph.nodes), elements].all():
        return False
    # the search with no choice left, on a group of which only the identity is known
    fixed = elements[:, None] == np.arange(choices.shape[1])
    return any(True for _ in colourings(item, orders, graph.group[:1], fixed))
