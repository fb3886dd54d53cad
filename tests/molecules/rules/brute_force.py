"""Every molecule of C, N, O and F of a size, the plain way: graphs, bond orders and colors up to symmetry.

Slow and simple on purpose (n = 7: minutes): what rules and pruning are measured with, independent of the enumeration.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

from rdkit import Chem

VALENCE = {6: 4, 7: 3, 8: 2, 9: 1}
ELEMENTS = (6, 7, 8, 9)
Edges = tuple[tuple[int, int], ...]


def molecule(edges: Edges, orders: tuple[int, ...], numbers: tuple[int, ...]) -> Any:
    """The sanitized RDKit molecule with these bonds and atoms."""
    mol = Chem.RWMol()
    for number in numbers:
        mol.AddAtom(Chem.Atom(number))
    for (a, b), order in zip(edges, orders):
        mol.AddBond(a, b, Chem.BondType.values[order])
    Chem.SanitizeMol(mol)
    return mol.GetMol()


def graphs(size: int, keep: Callable[[Edges, int], bool] = lambda edges, size: True) -> list[Edges]:
    """Connected graphs of degree at most four; ``keep`` must be hereditary under removal of a vertex."""
    found: dict[str, Edges] = {"C": ()}
    for n in range(1, size):
        larger: dict[str, Edges] = {}
        for edges in found.values():
            degree = [sum(v in edge for edge in edges) for v in range(n)]
            free = [v for v in range(n) if degree[v] < 4]
            for mask in range(1, 1 << len(free)):
                chosen = [v for i, v in enumerate(free) if mask >> i & 1]
                if len(chosen) > 4:
                    continue
                grown = edges + tuple((v, n) for v in chosen)
                if keep(grown, n + 1):
                    mol = molecule(grown, (1,) * len(grown), (6,) * (n + 1))
                    larger.setdefault(Chem.MolToSmiles(mol), grown)
        found = larger
    return [found[key] for key in sorted(found)]


def without_touching_small_rings(edges: Edges, size: int) -> bool:
    """G1: no vertex in two different cycles of length three or four, by counting closed walks through pairs."""
    near = [{b if a == v else a for a, b in edges if v in (a, b)} for v in range(size)]
    cycles = set()
    for a in range(size):
        for b in near[a]:
            cycles |= {frozenset((a, b, c)) for c in near[a] & near[b]}
        for c in range(a + 1, size):
            both = sorted(near[a] & near[c])
            cycles |= {
                frozenset((frozenset((a, c)), frozenset((b, d)))) for i, b in enumerate(both) for d in both[i + 1 :]
            }
    members = [frozenset().union(*cycle) if isinstance(next(iter(cycle)), frozenset) else cycle for cycle in cycles]
    return sum(map(len, members)) == len(frozenset().union(*members))


def automorphisms(edges: Edges, size: int) -> list[tuple[int, ...]]:
    mol = molecule(edges, (1,) * len(edges), (6,) * size)
    return list(mol.GetSubstructMatches(mol, uniquify=False, maxMatches=1_000_000))


def bond_orders(edges: Edges, size: int, symmetries: list[tuple[int, ...]]) -> Iterator[tuple[tuple[int, ...], list]]:
    """Orders 1 to 3 within carbon's valence, one of each orbit, with the symmetries that keep it."""
    place = {frozenset(edge): i for i, edge in enumerate(edges)}
    images = [tuple(place[frozenset((p[a], p[b]))] for a, b in edges) for p in symmetries]

    def extend(orders: tuple[int, ...], room: list[int]) -> Iterator[tuple[int, ...]]:
        if len(orders) == len(edges):
            yield orders
            return
        a, b = edges[len(orders)]
        for order in range(1, min(3, room[a] + 1, room[b] + 1) + 1):
            room[a] -= order - 1
            room[b] -= order - 1
            if room[a] >= 0 and room[b] >= 0:
                yield from extend((*orders, order), room)
            room[a] += order - 1
            room[b] += order - 1

    degree = [sum(v in edge for edge in edges) for v in range(size)]
    for orders in extend((), [4 - d for d in degree]):
        moved = [tuple(orders[i] for i in image) for image in images]
        if all(orders <= other for other in moved):
            yield orders, [p for p, other in zip(symmetries, moved) if other == orders]


def colors(edges: Edges, orders: tuple[int, ...], size: int, symmetries: list) -> Iterator[tuple[int, ...]]:
    used = [sum(o for edge, o in zip(edges, orders) if v in edge) for v in range(size)]
    for numbers in product(*([z for z in ELEMENTS if VALENCE[z] >= u] for u in used)):
        if all(numbers <= tuple(numbers[i] for i in p) for p in symmetries):
            yield numbers


def multigraphs(
    size: int, keep: Callable[[Edges, int], bool] = lambda edges, size: True
) -> Iterator[tuple[Edges, tuple[int, ...], tuple[int, ...]]]:
    """Every multigraph with its colors once: edges, orders, atomic numbers."""
    for edges in graphs(size, keep):
        for orders, symmetries in bond_orders(edges, size, automorphisms(edges, size)):
            for numbers in colors(edges, orders, size, symmetries):
                yield edges, orders, numbers
