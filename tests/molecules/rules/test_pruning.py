"""Pruning is sound: whatever it cuts, the rules remove too."""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path

import pytest
from rdkit import Chem

from qmgen.molecules.rules import pruning
from qmgen.molecules.rules.ruleset import RuleSet, load_rules
from tests.molecules.rules.brute_force import VALENCE, molecule, multigraphs, without_touching_small_rings

DATA = Path(__file__).parent / "data"
SYMBOLS = {6: "C", 7: "N", 8: "O", 9: "F"}


@cache
def rules() -> RuleSet:
    return load_rules("gdb11")


@cache
def of_graph(edges: tuple[tuple[int, int], ...], size: int) -> tuple[pruning.BondLimits, list[tuple[int, ...]]]:
    mol = molecule(edges, (1,) * len(edges), (6,) * size)
    return pruning.bond_limits(edges, size), [ring for ring in mol.GetRingInfo().AtomRings() if len(ring) < 5]


def possibly_aromatic(near: list[set[int]], flat: set[int]) -> set[int]:
    """The atoms on or between cycles of atoms with one multiple bond or a lone pair."""
    while True:
        kept = {v for v in flat if len(near[v] & flat) > 1}
        if kept == flat:
            return kept
        flat = kept


def why_pruned(edges, orders, numbers) -> str:
    """What would cut this Kekulé structure, or nothing."""
    size = len(numbers)
    limits, small_rings = of_graph(edges, size)
    sums, multiple, near = [0] * size, [0] * size, [set() for _ in range(size)]
    for (a, b), order in zip(edges, orders):
        for v, other in ((a, b), (b, a)):
            sums[v] += order
            multiple[v] += order > 1
            near[v].add(other)
    if any(order > most for order, most in zip(orders, limits.max_order)):
        return "max_order"
    if any(total > most for total, most in zip(sums, limits.max_order_sum)):
        return "max_order_sum"
    if size > 1 and max(multiple) > 1:
        return "cumulated"
    if any(numbers[v] != 8 for v in pruning.carbonyl_leaves(edges, orders, size)):
        return "carbonyl_leaves"
    if any(sum(numbers[v] != 6 for v in r) > pruning.MAX_HETEROATOMS_IN_RING[len(r)] for r in small_rings):
        return "heteroatoms"
    flat = {v for v in range(size) if multiple[v] or numbers[v] in (7, 8)}
    core, small = possibly_aromatic(near, flat), {v for ring in small_rings for v in ring}
    classes = [
        pruning.atom_class(
            SYMBOLS[numbers[v]],
            ("sp3", "sp2", "sp")[sums[v] - len(near[v])],
            VALENCE[numbers[v]] - sums[v],
            v in core,
            v in small,
        )
        for v in range(size)
    ]
    around: list[list[tuple[str, int]]] = [[] for _ in range(size)]
    for (a, b), order in zip(edges, orders):
        for v, other in ((a, b), (b, a)):
            if not pruning.bond_allowed(classes[v], classes[other], order):
                return f"bond {classes[v]} {classes[other]}"
            around[v].append((classes[other], order))
    cut = next((v for v in range(size) if pruning.environment_forbidden(classes[v], around[v])), None)
    return "" if cut is None else f"environment {classes[cut]}"


def structure(mol):
    """Edges, orders and numbers of a Kekulé form; None with charges, which the engine builds as one pseudo-element."""
    if Chem.GetFormalCharge(mol) or any(atom.GetFormalCharge() for atom in mol.GetAtoms()):
        return None
    mol = Chem.Mol(mol)
    Chem.Kekulize(mol, clearAromaticFlags=True)
    edges = tuple((bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()) for bond in mol.GetBonds())
    orders = tuple(int(bond.GetBondTypeAsDouble()) for bond in mol.GetBonds())
    return edges, orders, tuple(atom.GetAtomicNum() for atom in mol.GetAtoms())


@pytest.mark.parametrize("size", range(1, 8))
def test_no_accepted_member_is_pruned(size: int):
    for line in (DATA / f"size{size:02}.tsv").read_text("ascii").splitlines():
        mol = Chem.MolFromSmiles(line.split("\t")[0])
        if rules().accepts(mol):
            cut = why_pruned(*structure(mol))
            assert not cut, (line, cut)


def test_no_larger_example_is_pruned():
    for line in (DATA / "examples.tsv").read_text("ascii").splitlines():
        mol = Chem.MolFromSmiles(line.split("\t")[0])
        if (made := structure(mol)) and rules().accepts(mol):
            assert pruning.keep_graph(made[0], mol.GetNumAtoms()), line
            assert not why_pruned(*made), (line, why_pruned(*made))


@pytest.mark.parametrize(("size", "share"), [(1, 1.0), (2, 1.0), (3, 1.0), (4, 1.0), (5, 1.0), (6, 0.15)])
def test_what_is_pruned_the_rules_remove(size: int, share: float):
    """All candidates of a size, or a seeded share of them; nearly all that the rules remove is pruned."""
    chosen = random.Random(7)
    pruned = left = accepted = 0
    for graph in multigraphs(size, without_touching_small_rings):
        if chosen.random() >= share:
            continue
        cut = why_pruned(*graph)
        pruned += bool(cut)
        left += not cut
        kept = rules().accepts(molecule(*graph))
        accepted += kept
        assert not (cut and kept), (Chem.MolToSmiles(molecule(*graph)), cut)
    assert left < 2 * accepted and (size < 4 or pruned > left)
