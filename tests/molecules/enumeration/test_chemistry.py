"""Molecules and their canonical SMILES: every one, and each once."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem.rdMolDescriptors import CalcMolFormula

from qmgen.molecules.enumeration.chemistry import is_aromatic, molecules, same_form, stands_for_molecule
from qmgen.molecules.enumeration.items import Part, Query, batches
from qmgen.molecules.enumeration.pruning import BondLimits, Pruning
from qmgen.molecules.enumeration.structure import kekule_forms
from tests.molecules.enumeration.emitted import emit

FORMULAS = ["C6H6", "C5H5N", "C4H4N2O", "C6H6O", "C3H3N3", "C4H3FO", "C2N4O"]


def every_smiles(query):
    """Canonical SMILES of each multigraph, by the long way: all of RDKit's clean-up."""
    for batch in batches(query):
        for mol in molecules(batch):
            fresh = Chem.Mol(mol)
            Chem.Kekulize(fresh, clearAromaticFlags=True)
            yield Chem.MolToSmiles(Chem.MolFromMolBlock(Chem.MolToMolBlock(fresh)))


@pytest.mark.parametrize("formula", FORMULAS)
def test_each_molecule_of_a_formula_once(formula):
    query = Query.of_formula(formula)
    found = [smiles for batch in batches(query) for smiles in emit(batch)]
    assert len(set(found)) == len(found)
    assert set(found) == set(every_smiles(query))


@pytest.mark.parametrize("heavy_atoms", [1, 2, 3, 4, 5])
def test_each_molecule_of_a_size_once(heavy_atoms):
    query = Query(heavy_atoms)
    found = [smiles for batch in batches(query) for smiles in emit(batch)]
    assert len(set(found)) == len(found)
    assert set(found) == set(every_smiles(query))


def test_parts_agree_on_the_form_without_talking():
    query = Query.of_formula("C6H6O")
    whole = [smiles for batch in batches(query) for smiles in emit(batch)]
    parts = [smiles for k in range(1, 6) for batch in batches(query, Part((k,), 5)) for smiles in emit(batch)]
    assert sorted(parts) == sorted(whole)


def test_two_kekule_forms_one_molecule():
    """2-Fluoropyridine has two that are different multigraphs, 4-fluoropyridine one."""
    found = [smiles for batch in batches(Query.of_formula("C5H4FN")) for smiles in emit(batch)]
    assert found.count("Fc1ccccn1") == 1 and found.count("Fc1ccncc1") == 1


def test_a_form_that_a_rule_set_forbids_is_replaced_by_one_that_it_allows():
    """Single bonds only in 4-rings: of the two forms of benzocyclobutene one remains, and it has to do."""

    def limits(graph):
        ring = {graph.edge_number[r[k - 1], r[k]] for r in graph.cycles(4) for k in range(len(r))}
        orders = [1 if e in ring else 3 for e in range(len(graph.edges))]
        return BondLimits(np.array(orders), np.full(graph.nodes, 4))

    pruning = Pruning(small_rings_apart=True, cumulated=False, bond_limits=limits)
    query = Query.of_formula("C8H8", max_rings=2, max_bond_order=2, pruning=pruning)
    found = [smiles for batch in batches(query) for smiles in emit(batch)]
    assert found.count("c1ccc2c(c1)CC2") == 1
    assert len(set(found)) == len(found)
    assert set(found) == set(every_smiles(query))


@pytest.mark.parametrize("formula", ["C4H4N2O", "C5H4FN"])
def test_all_forms_of_a_molecule_are_found(formula):
    """By moving double bonds, and by the enumeration."""
    enumerated, moved = {}, {}
    for batch in batches(Query.of_formula(formula)):
        for row, mol in enumerate(molecules(batch)):
            if is_aromatic(mol):
                smiles = Chem.MolToSmiles(mol)
                enumerated[smiles] = enumerated.get(smiles, 0) + 1
                edges = batch.graph.edges.tolist()
                loose = [k for k, ends in enumerate(edges) if mol.GetBondBetweenAtoms(*ends).GetIsAromatic()]
                forms = []
                for form in kekule_forms(batch.graph, batch.orders, loose):
                    if not any(same_form(batch.graph, batch.elements[row], form, other) for other in forms):
                        forms.append(form)
                moved[smiles] = len(forms)
    assert moved == enumerated and max(moved.values()) > 1  # 2-fluoropyridine has two


@pytest.mark.parametrize("formula", ["C6H6O", "C4H4N2O"])
def test_what_cannot_be_aromatic_is_not(formula):
    """The flag saves RDKit's clean-up, so that it must never be False on an aromatic molecule."""
    seen = 0
    for batch in batches(Query.of_formula(formula)):
        for mol, flag in zip(molecules(batch), batch.aromatic):
            Chem.SanitizeMol(mol)
            assert flag or not is_aromatic(mol)
            seen += is_aromatic(mol)
    assert seen > 10


def test_rows_that_stand_for_molecules_are_those_emitted():
    for batch in batches(Query.of_formula("C5H5N")):
        assert stands_for_molecule(batch).sum() == len(list(emit(batch)))


def test_a_filter_sees_the_aromatic_molecule():
    query = Query.of_formula("C6H6")
    assert [s for batch in batches(query) for s in emit(batch, is_aromatic) if s.count("c") == 6] == ["c1ccccc1"]


def test_formulas_of_the_molecules():
    for formula in ("C3H4O3", "C4H4N2O"):
        for batch in batches(Query.of_formula(formula)):
            assert {CalcMolFormula(mol) for mol in molecules(batch)} == {formula}


def test_nitro_groups():
    query = Query.of_formula("C4H3NO3", pruning=Pruning(nitro=1))
    found = [smiles for batch in batches(query) for smiles in emit(batch)]
    assert len(set(found)) == len(found)
    assert "O=[N+]([O-])c1ccco1" in found and "O=[N+]([O-])c1ccoc1" in found
    assert {CalcMolFormula(Chem.MolFromSmiles(smiles)) for smiles in found} == {"C4H3NO3"}
    assert all(Chem.CanonSmiles(smiles) == smiles for smiles in found)
    plain = {smiles for batch in batches(Query.of_formula("C4H3NO3")) for smiles in emit(batch)}
    assert plain == {smiles for smiles in found if "+" not in smiles}


def test_dinitro():
    query = Query.of_formula("CH2N2O4", pruning=Pruning(nitro=2))
    found = [smiles for batch in batches(query) for smiles in emit(batch)]
    assert "O=[N+]([O-])C[N+](=O)[O-]" in found and len(set(found)) == len(found)


def test_nothing_is_imported_before_it_is_needed():
    program = (
        "import sys, qmgen.molecules, qmgen.molecules.enumeration, qmgen.molecules.enumeration.pruning;"
        "assert 'numba' not in sys.modules and 'rdkit' not in sys.modules;"
        "import qmgen.molecules.enumeration.chemistry; assert 'rdkit' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
