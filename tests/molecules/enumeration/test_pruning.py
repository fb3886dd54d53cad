"""What is forbidden while molecules are built is exactly what a filter at the end would take away."""

from __future__ import annotations

import numpy as np
import pytest

from qmgen.molecules.enumeration.items import Query, batches, items
from qmgen.molecules.enumeration.pruning import (
    HYBRIDIZATIONS,
    NITRO,
    VALENCES,
    Atom,
    AtomClasses,
    BondLimits,
    Pruning,
    Removed,
    allowed_pairs,
    environment_count,
    environment_number,
    forbidden_environments,
    surroundings,
    valence_of,
)

ELEMENTS = tuple(VALENCES)


class Drawn:
    """One molecule, looked at as a whole and in plain Python."""

    def __init__(self, batch, row):
        self.graph, self.orders = batch.graph, batch.orders.tolist()
        self.symbols = [batch.symbols[e] for e in batch.elements[row]]
        self.bonds = {v: [] for v in range(self.graph.nodes)}
        for (u, v), order in zip(self.graph.edges.tolist(), self.orders):
            self.bonds[u].append((v, order))
            self.bonds[v].append((u, order))
        small = {v for ring in self.graph.cycles(4) for v in ring}
        core = {v for v in self.bonds if self.may_be_aromatic(v)}
        while thin := {v for v in core if sum(u in core for u, _ in self.bonds[v]) < 2}:
            core -= thin
        self.atoms = [
            Atom(
                symbol,
                HYBRIDIZATIONS[sum(order - 1 for _, order in self.bonds[v])],
                valence_of(symbol) - sum(order for _, order in self.bonds[v]),
                v in core,
                v in small,
            )
            for v, symbol in enumerate(self.symbols)
        ]

    def may_be_aromatic(self, v):
        multiple = sum(order > 1 for _, order in self.bonds[v])
        return multiple == 1 or (multiple == 0 and self.symbols[v] in "NO")

    def key(self):
        return self.graph.edges.tobytes(), bytes(self.orders), tuple(self.symbols)


def drawn(query):
    return [Drawn(batch, row) for batch in batches(query) for row in range(len(batch))]


def difference(heavy_atoms, pruning, kept, elements=ELEMENTS):
    """Checks that pruning leaves what ``kept`` keeps, in the same order, and that it takes something away."""
    everything = drawn(Query(heavy_atoms, elements))
    wanted = [molecule.key() for molecule in everything if kept(molecule)]
    found = [molecule.key() for molecule in drawn(Query(heavy_atoms, elements, pruning=pruning))]
    assert found == wanted
    assert 0 < len(wanted) < len(everything)


def name(atom):
    return f"{atom.element} {atom.hybridization}{' h' if atom.hydrogens else ''}{' a' if atom.maybe_aromatic else ''}"


CLASSES = AtomClasses.of(ELEMENTS, name)


def enol(center, around):
    """A hydroxyl on a doubly bonded carbon that can belong to no aromatic ring."""
    return center == "C sp2" and any(other.startswith("O sp3 h") for other, _ in around)


def crowded(center, around):
    """Two or more heteroatoms on a saturated carbon."""
    return center.startswith("C sp3") and sum(not other.startswith("C") for other, _ in around) > 1


@pytest.mark.parametrize(
    "forbids", [enol, crowded, lambda center, around: enol(center, around) or crowded(center, around)]
)
@pytest.mark.parametrize("heavy_atoms", [4, 5, 6])
def test_environments(heavy_atoms, forbids):
    def kept(molecule):
        return not any(
            forbids(name(atom), tuple(sorted((name(molecule.atoms[u]), order) for u, order in molecule.bonds[v])))
            for v, atom in enumerate(molecule.atoms)
        )

    elements = ELEMENTS if heavy_atoms < 6 else ("C", "O")
    pruning = Pruning(classes=CLASSES, environments=forbidden_environments(CLASSES, forbids))
    difference(heavy_atoms, pruning, kept, elements)


@pytest.mark.parametrize("heavy_atoms", [3, 5])
def test_pairs(heavy_atoms):
    """No two heteroatoms side by side, unless both might be aromatic; no C=N outside either."""

    def allows(a, b, order):
        aromatic = a.endswith("a") and b.endswith("a")
        return aromatic or (not (a[0] != "C" and b[0] != "C") and not (a[0] == "C" and b[0] == "N" and order == 2))

    def kept(molecule):
        return all(
            allows(name(molecule.atoms[v]), name(molecule.atoms[u]), order)
            for v in molecule.bonds
            for u, order in molecule.bonds[v]
        )

    difference(heavy_atoms, Pruning(classes=CLASSES, pairs=allowed_pairs(CLASSES, allows)), kept)


def test_cumulated_double_bonds():
    difference(
        5,
        Pruning(cumulated=False),
        lambda molecule: all(sum(order > 1 for _, order in bonds) < 2 for bonds in molecule.bonds.values()),
    )


def test_bond_limits():
    """Single bonds only at the atoms of 3-rings."""

    def limits(graph):
        ring = {v for cycle in graph.cycles(3) for v in cycle}
        orders = [1 if ring & {u, v} else 3 for u, v in graph.edges.tolist()]
        return BondLimits(np.array(orders, np.int64), np.full(graph.nodes, 4))

    def kept(molecule):
        ring = {v for cycle in molecule.graph.cycles(3) for v in cycle}
        return all(order == 1 for v in ring for _, order in molecule.bonds[v])

    difference(4, Pruning(bond_limits=limits), kept)


def test_limits_of_the_sum_of_orders():
    def limits(graph):
        return BondLimits(np.full(len(graph.edges), 3), np.where(graph.degree == 2, 3, 4))

    def kept(molecule):
        return all(sum(order for _, order in bonds) < 4 for bonds in molecule.bonds.values() if len(bonds) == 2)

    difference(4, Pruning(bond_limits=limits), kept)


def test_sites():
    """Only oxygen at the end of a double bond."""

    def sites(graph, orders, symbols):
        allowed = np.ones((graph.nodes, len(symbols)), bool)
        for (u, v), order in zip(graph.edges.tolist(), orders.tolist()):
            for end in (u, v):
                if order == 2 and graph.degree[end] == 1:
                    allowed[end] = [symbol == "O" for symbol in symbols]
        return allowed

    def kept(molecule):
        return all(
            molecule.symbols[v] == "O" for v, bonds in molecule.bonds.items() if len(bonds) == 1 and bonds[0][1] == 2
        )

    difference(4, Pruning(sites=sites), kept)


def test_heteroatoms_in_rings():
    def kept(molecule):
        return all(
            sum(molecule.symbols[v] != "C" for v in ring) <= {3: 0, 4: 1}.get(len(ring), 9)
            for ring in molecule.graph.cycles(5)
        )

    difference(5, Pruning(max_heteroatoms_in_ring={3: 0, 4: 1}), kept, ("C", "N", "O"))


def test_graphs():
    difference(5, Pruning(keep_graph=lambda graph: graph.rings < 2), lambda molecule: molecule.graph.rings < 2)


def test_small_rings_apart():
    difference(
        5,
        Pruning(small_rings_apart=True),
        lambda molecule: all(
            sum(v in cycle for cycle in molecule.graph.cycles(4)) < 2 for v in range(molecule.graph.nodes)
        ),
        ("C", "O"),
    )


def test_what_is_removed_is_counted():
    removed = Removed()
    pruning = Pruning(
        keep_graph=lambda graph: graph.rings < 2,
        bond_limits=lambda graph: BondLimits(np.full(len(graph.edges), 2), np.full(graph.nodes, 4)),
        cumulated=False,
        sites=lambda graph, orders, symbols: (
            np.ones((graph.nodes, len(symbols)), bool)
            if len(orders) != 5
            else np.zeros((graph.nodes, len(symbols)), bool)
        ),
        classes=CLASSES,
        pairs=allowed_pairs(CLASSES, lambda a, b, order: not a[0] == b[0] == "O"),
        environments=forbidden_environments(CLASSES, crowded),
        max_heteroatoms_in_ring={3: 0},
    )
    for size in (4, 5):
        for _ in batches(Query(size, pruning=pruning), removed=removed):
            pass
    assert all(number > 0 for number in vars(removed).values())


def test_numbers_of_environments_are_a_count_from_zero():
    numbers = [environment_number(codes) for codes in _codes(7)]
    assert sorted(numbers) == list(range(environment_count(2)))


def _codes(number):
    for a in range(number):
        for b in range(a + 1):
            for c in range(b + 1):
                for d in range(c + 1):
                    yield (a, b, c, d)


def test_surroundings_hold_four_bonds():
    assert all(sum(order for _, order in around) <= 4 for around in surroundings(3))
    assert () in set(surroundings(3)) and ((0, 1), (0, 1), (1, 2)) in set(surroundings(3))


def test_a_rule_that_depends_on_numbers_of_atoms_is_refused():
    def first_edge(graph):
        return BondLimits(np.where(np.arange(len(graph.edges)) == 0, 1, 3), np.full(graph.nodes, 4))

    def first_atom(graph, orders, symbols):
        allowed = np.ones((graph.nodes, len(symbols)), bool)
        allowed[0, 0] = False
        return allowed

    with pytest.raises(ValueError, match="bond_limits"):
        list(items(Query(3, pruning=Pruning(bond_limits=first_edge))))
    with pytest.raises(ValueError, match="sites"):
        list(batches(Query(3, pruning=Pruning(sites=first_atom))))


@pytest.mark.parametrize(
    "fields",
    [
        {"pairs": np.ones((1, 1, 3), bool)},
        {"classes": CLASSES, "pairs": np.ones((1, 1, 3), bool)},
        {"classes": CLASSES, "environments": np.ones((1, 1), bool)},
        {"max_heteroatoms_in_ring": {2: 0}},
    ],
)
def test_tables_of_the_wrong_shape(fields):
    with pytest.raises(ValueError):
        Pruning(**fields)


def test_a_nitro_group_counts_three_atoms():
    """Nitromethane and its isomers: one more multigraph with the group than without."""
    plain = sum(map(len, batches(Query.of_formula("CH3NO2"))))
    found = list(batches(Query.of_formula("CH3NO2", pruning=Pruning(nitro=1))))
    assert sum(map(len, found)) == plain + 1
    assert [NITRO in batch.symbols for batch in found][-1]
    assert found[-1].graph.nodes == 2
