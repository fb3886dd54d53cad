"""The strain rule: exact at eight atoms, and its table is what the force field says."""

from __future__ import annotations

import pytest
from rdkit import Chem

from qmgen.molecules.rules.pruning import keep_graph
from qmgen.molecules.rules.ruleset import check_lines, load_rules
from qmgen.molecules.rules.topology import CUT, smallest_volume, strained_graphs
from tests.molecules.rules.brute_force import graphs, without_touching_small_rings

#: the five graphs of eight atoms that pass the small-ring rule and occur in no member
ABSENT = ("C1CC23CCC1(C2)C3", "C1CC23CC1C(C2)C3", "C1CC23CCC1C2C3", "C1CC23CC1CC2C3", "C1C2C3CC14CC4C23")


@pytest.mark.parametrize(
    ("size", "small_rings", "passing"), [(5, 8, 8), (6, 20, 20), (7, 57, 57), (8, 199, 194), (9, 780, 715)]
)
def test_graphs_that_pass(size: int, small_rings: int, passing: int):
    """Up to eight atoms those that occur in GDB-11; 707 to 714 are expected of nine."""
    found = graphs(size, without_touching_small_rings)
    assert (len(found), sum(keep_graph(edges, size) for edges in found)) == (small_rings, passing)


@pytest.mark.parametrize("smiles", ABSENT)
def test_absent_graphs_are_strained(smiles: str):
    assert list(check_lines([smiles], load_rules("gdb11"))) == [(smiles, "strained_carbon")]


def test_substituents_and_elements_do_not_change_the_verdict():
    verdicts = dict(check_lines(["CC1CC23CCC1(C2)O3", "CC1CC2CCC1C2", "C1CC2CCC1(C)O2"], load_rules("gdb11")))
    assert list(verdicts.values()) == ["strained_carbon", "ok", "ok"]


@pytest.mark.parametrize("smiles", ["C1CC23CC1CC2C3", "C1CC2C1CC1CC12", "C1CC23CCC1C2C3", "C1C2CC3CC1C3C2"])
def test_table_agrees_with_the_force_field(smiles: str):
    assert (smallest_volume(smiles) < CUT) == (Chem.CanonSmiles(smiles) in strained_graphs())
