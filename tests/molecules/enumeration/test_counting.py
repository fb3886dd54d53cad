"""Counts by formula."""

from __future__ import annotations

import pytest

from qmgen.molecules.enumeration.items import WHOLE, Part, Query, batches
from qmgen.molecules.enumeration.pruning import Pruning
from qmgen.molecules.geometry import hill_formula
from qmgen.molecules.rules.ruleset import load_rules
from qmgen.molecules.selection import Selection
from tests.molecules.enumeration.emitted import emit


def count(query: Query, part: Part = WHOLE) -> dict[str, tuple[int, int]]:
    """The numbers of multigraphs and of molecules of each formula."""
    found: dict[str, tuple[int, int]] = {}
    for one in Selection([query], load_rules("none"), merge=False, part=part).counts():
        before = found.get(one.formula, (0, 0))
        found[one.formula] = (before[0] + one.multigraphs, before[1] + one.molecules)
    return found


def test_both_columns():
    """C6H6: 217 multigraphs. C5H4FN has two Kekulé forms of 2-fluoropyridine."""
    assert count(Query.of_formula("C6H6"))["C6H6"][0] == 217
    ((multigraphs, molecules),) = count(Query.of_formula("C5H4FN")).values()
    assert multigraphs > molecules
    assert molecules == len([smiles for batch in batches(Query.of_formula("C5H4FN")) for smiles in emit(batch)])


@pytest.mark.parametrize(("heavy_atoms", "molecules"), [(6, 31264), (7, 282582)])
def test_molecules_on_graphs_with_small_rings_apart(heavy_atoms, molecules):
    """Distinct canonical SMILES of all C, N, O, F multigraphs, by another program (shared/gdb11.md, section 3.5)."""
    found = count(Query(heavy_atoms, pruning=Pruning(small_rings_apart=True)))
    assert sum(kept for _, kept in found.values()) == molecules


def test_the_sum_over_parts_is_the_whole():
    whole, summed = count(Query(5)), {}
    for k in range(1, 5):
        for formula, (multigraphs, molecules) in count(Query(5), Part((k,), 4)).items():
            before = summed.get(formula, (0, 0))
            summed[formula] = (before[0] + multigraphs, before[1] + molecules)
    assert summed == whole


def test_each_formula_alone_counts_the_same():
    for formula, numbers in count(Query(4)).items():
        assert count(Query.of_formula(formula)) == {formula: numbers}


def test_with_a_filter():
    batch_by_batch = batches(Query.of_formula("C6H6"))
    kept = [smiles for batch in batch_by_batch for smiles in emit(batch, lambda mol: mol.GetRingInfo().NumRings() == 0)]
    assert len(kept) == count(Query.of_formula("C6H6", max_rings=0))["C6H6"][1]


def test_nitro_groups_count_their_atoms():
    found = count(Query(4, pruning=Pruning(nitro=1)))
    plain = count(Query(4))
    assert found["CH3NO2"][0] == plain["CH3NO2"][0] + 1


def test_formulas_are_in_order():
    assert hill_formula({"O": 1, "N": 2, "C": 3, "F": 0, "H": 4}) == "C3H4N2O"
    assert hill_formula({"O": 1, "F": 1, "H": 1}) == "FHO"
    assert hill_formula({"C": 2, "H": 0}) == "C2"
