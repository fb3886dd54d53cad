"""Multigraphs: bond orders and elements, by exact counts and against all labeled ones sorted by hand."""

from __future__ import annotations

from itertools import combinations, combinations_with_replacement, permutations

import numpy as np
import pytest

from qmgen.molecules.enumeration import items as items_module
from qmgen.molecules.enumeration.items import Query, batches
from qmgen.molecules.enumeration.pruning import VALENCES

#: counts made by other programs; the alkanes are also OEIS A000602
ALKANES = [1, 1, 1, 2, 3, 5, 9, 18, 35, 75, 159]
#: with rings, at least one hydrogen: the graphs of degree at most 4 less the 4-regular ones
SATURATED = [1, 1, 2, 6, 20, 77, 351, 1923, 12191]
#: as multigraphs without quadruple bonds, hydrogen-free ones counted too
HYDROCARBONS = [1, 3, 9, 37, 146, 772, 4449, 30307]
#: isomers as multigraphs, without charges and quadruple bonds
ISOMERS = {"C6H6": 217, "C3H4O3": 152, "C6H6O": 2237, "C4H7NO3": 18469, "C10H16": 24938}


def count(query):
    return sum(len(batch) for batch in batches(query))


@pytest.mark.parametrize("carbons", range(1, 12))
def test_alkanes(carbons):
    assert count(Query.of_formula(f"C{carbons}H{2 * carbons + 2}")) == ALKANES[carbons - 1]
    assert count(Query(carbons, ("C",), max_rings=0, max_bond_order=1)) == ALKANES[carbons - 1]


@pytest.mark.parametrize("carbons", range(1, 10))
def test_saturated_hydrocarbons_with_rings(carbons):
    assert count(Query(carbons, ("C",), max_bond_order=1, min_hydrogens=1)) == SATURATED[carbons - 1]


@pytest.mark.parametrize("carbons", range(1, 9))
def test_all_hydrocarbons(carbons):
    assert count(Query(carbons, ("C",))) == HYDROCARBONS[carbons - 1]


@pytest.mark.parametrize("formula", ISOMERS)
def test_isomers(formula):
    assert count(Query.of_formula(formula)) == ISOMERS[formula]


@pytest.mark.parametrize("formula", ["CH4", "HF", "F2", "N2", "O2", "CHN", "CO2", "CH2O", "HFO"])
def test_formulas_of_one_molecule(formula):
    assert count(Query.of_formula(formula)) == 1


def test_there_are_no_quadruple_bonds():
    assert count(Query.of_formula("C2")) == 0
    assert count(Query.of_formula("C3")) == 1  # C1=C=C=1... a ring of double bonds: three carbons, six bonds


def labeled(symbols):
    """Bond matrices of connected molecules whose atoms are ``symbols`` in this order."""
    n = len(symbols)
    pairs = list(combinations(range(n), 2))
    free = [VALENCES[symbol] for symbol in symbols]
    m = np.zeros((n, n), np.uint8)

    def connected():
        reached = {0}
        while True:
            grown = reached | {v for v in range(n) for u in reached if m[u, v]}
            if grown == reached:
                return len(reached) == n
            reached = grown

    def fill(k):
        if k == len(pairs):
            if connected():
                yield m.copy()
            return
        u, v = pairs[k]
        for order in range(min(3, free[u], free[v]) + 1):
            m[u, v] = m[v, u] = order
            free[u] -= order
            free[v] -= order
            yield from fill(k + 1)
            free[u] += order
            free[v] += order
        m[u, v] = m[v, u] = 0

    yield from fill(0)


def by_hand(symbols):
    """Canonical forms of all molecules of these atoms: the least over permutations that keep the elements in order."""
    turns = [
        np.array(turn)
        for turn in permutations(range(len(symbols)))
        if "".join(symbols[v] for v in turn) == "".join(symbols)
    ]
    seen, forms = set(), set()
    for m in labeled(symbols):
        if m.tobytes() not in seen:
            images = {m[turn][:, turn].tobytes() for turn in turns}
            seen |= images
            forms.add(min(images))
    return forms


def enumerated(query):
    """The same forms of what the engine finds; a list, so that what comes twice is seen."""
    found = []
    for batch in batches(query):
        n = batch.graph.nodes
        m = np.zeros((n, n), np.uint8)
        for (u, v), order in zip(batch.graph.edges, batch.orders):
            m[u, v] = m[v, u] = order
        for row in batch.elements:
            ordered = sorted(range(n), key=lambda v: row[v])
            numbers = [row[v] for v in ordered]
            base = m[np.ix_(ordered, ordered)]
            turns = [np.array(t) for t in permutations(range(n)) if [numbers[v] for v in t] == numbers]
            found.append(("".join(batch.symbols[e] for e in numbers), min(base[t][:, t].tobytes() for t in turns)))
    return found


@pytest.mark.parametrize("heavy_atoms", range(1, 5))
def test_all_molecules_against_labeled_multigraphs(heavy_atoms):
    wanted = {
        ("".join(symbols), form)
        for symbols in combinations_with_replacement(VALENCES, heavy_atoms)
        for form in by_hand(symbols)
    }
    found = enumerated(Query(heavy_atoms))
    assert len(found) == len(wanted) and set(found) == wanted


@pytest.mark.parametrize("symbols", ["CCCCC", "CCCCN", "CCNNO", "CNNOO", "CCCOF", "CCNFF"])
def test_five_atoms_against_labeled_multigraphs(symbols):
    hydrogens = {}
    for form in by_hand(symbols):
        free = sum(VALENCES[symbol] for symbol in symbols) - int(np.frombuffer(form, np.uint8).sum())
        hydrogens.setdefault(free, set()).add(("".join(symbols), form))
    for free, wanted in sorted(hydrogens.items()):
        formula = "".join(f"{symbol}{symbols.count(symbol)}" for symbol in sorted(set(symbols)))
        found = enumerated(Query.of_formula(formula + (f"H{free}" if free else "")))
        assert len(found) == len(wanted) and set(found) == wanted


@pytest.mark.parametrize(
    "bounds", [{"min_hydrogens": 4}, {"max_hydrogens": 5}, {"min_hydrogens": 2, "max_hydrogens": 6}]
)
def test_bounds_on_hydrogens_leave_what_a_filter_would(bounds):
    low, high = bounds.get("min_hydrogens", 0), bounds.get("max_hydrogens", 99)
    everything = np.concatenate([batch.hydrogens() for batch in batches(Query(5))])
    bounded = np.concatenate([batch.hydrogens() for batch in batches(Query(5, **bounds))])
    kept = everything[(everything >= low) & (everything <= high)]
    assert sorted(bounded.tolist()) == sorted(kept.tolist())


@pytest.mark.parametrize("elements", [("C",), ("N", "O"), ("C", "F"), ("C", "N", "O")])
def test_a_choice_of_elements_leaves_what_a_filter_would(elements):
    everything = [symbols for symbols, _ in enumerated(Query(4))]
    assert len(enumerated(Query(4, elements))) == sum(set(symbols) <= set(elements) for symbols in everything)


def test_formulas_add_up_to_the_whole():
    found = {}
    for batch in batches(Query(4)):
        for row, hydrogens in zip(batch.elements, batch.hydrogens().tolist()):
            key = tuple(np.bincount(row, minlength=4).tolist()), hydrogens
            found[key] = found.get(key, 0) + 1
    for (atoms, hydrogens), number in found.items():
        text = "".join(f"{symbol}{k}" for symbol, k in zip(VALENCES, atoms) if k)
        assert count(Query.of_formula(text + (f"H{hydrogens}" if hydrogens else ""))) == number


def test_small_batches_hold_the_same(monkeypatch):
    """The search stops whenever its table is full, and goes on from there."""
    whole = [row for batch in batches(Query(5)) for row in batch.elements.tolist()]
    monkeypatch.setattr(items_module, "BATCH", 7)
    pieces = list(batches(Query(5)))
    assert max(map(len, pieces)) == 7
    assert [row for batch in pieces for row in batch.elements.tolist()] == whole
