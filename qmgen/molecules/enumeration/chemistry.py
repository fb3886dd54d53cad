"""From arrays to RDKit's molecules and canonical SMILES, one Kekulé form of each molecule.

A molecule with aromatic bonds is enumerated once for each of its Kekulé forms that are different multigraphs. Two forms
are the same multigraph if an automorphism of the graph that keeps the elements turns one into the other, as it does
with the two of benzene. The one that stands for the molecule is the form that its canonical SMILES has when it is read
again and kekulized; or, if a rule set forbids that form, the first of those it allows. That is decided from the
molecule alone, so that parts agree.

RDKit is imported when a function is called, not before.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from qmgen.molecules.enumeration.items import Item, MultigraphBatch, colorings, element_choices
from qmgen.molecules.enumeration.pruning import NITRO
from qmgen.molecules.enumeration.structure import Graph
from qmgen.molecules.smiles import quiet_chem


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
    return any(True for _ in colorings(item, orders, graph.group[:1], fixed))


_NUMBERS = {"C": 6, "N": 7, "O": 8, "F": 9, NITRO: 7}


def template(batch: MultigraphBatch) -> Any:
    """The multigraph of a batch as an RDKit ``RWMol`` of carbons, its rings found: atoms and bonds as in ``Graph``."""
    from rdkit import Chem

    kinds = [Chem.BondType.SINGLE, Chem.BondType.DOUBLE, Chem.BondType.TRIPLE]
    mol = Chem.RWMol()
    for _ in range(batch.graph.nodes):
        mol.AddAtom(Chem.Atom(6))
    for (u, v), order in zip(batch.graph.edges.tolist(), batch.orders.tolist()):
        mol.AddBond(u, v, kinds[order - 1])
    mol.UpdatePropertyCache(False)
    Chem.GetSymmSSSR(mol)
    return mol


def molecules(batch: MultigraphBatch) -> Iterator[Any]:
    """RDKit's molecule of each row of a batch, aromatic by RDKit's model, with its rings and hydrogens computed.

    Hybridization and conjugation are set only where aromatic bonds are possible. The two oxygens of a nitro group come
    after the other atoms.
    """
    from rdkit import Chem

    base = template(batch)
    numbers = [_NUMBERS[symbol] for symbol in batch.symbols]
    nitro = batch.symbols.index(NITRO) if NITRO in batch.symbols else -1
    for row, aromatic in zip(batch.elements.tolist(), batch.aromatic.tolist()):
        mol = Chem.RWMol(base)
        for v, code in enumerate(row):
            if numbers[code] != 6:
                mol.GetAtomWithIdx(v).SetAtomicNum(numbers[code])
        if nitro in row:
            _draw_nitro(Chem, mol, [v for v, code in enumerate(row) if code == nitro])
        if aromatic:
            Chem.SanitizeMol(mol)
        else:
            mol.UpdatePropertyCache(False)
        yield mol


def _draw_nitro(chem: Any, mol: Any, places: list[int]) -> None:
    """Turns nitrogens into [N+](=O)[O-]."""
    for v in places:
        mol.GetAtomWithIdx(v).SetFormalCharge(1)
        mol.AddBond(v, mol.AddAtom(chem.Atom(8)), chem.BondType.DOUBLE)
        single = mol.AddAtom(chem.Atom(8))
        mol.GetAtomWithIdx(single).SetFormalCharge(-1)
        mol.AddBond(v, single, chem.BondType.SINGLE)
    chem.GetSymmSSSR(mol)


def is_aromatic(mol: Any) -> bool:
    """Whether a molecule has aromatic bonds."""
    return any(bond.GetIsAromatic() for bond in mol.GetBonds())


def own_form(batch: MultigraphBatch, row: int, mol: Any, smiles: str) -> bool:
    """Whether this Kekulé form is the one that stands for its molecule.

    ``mol`` is the molecule of the row, as ``molecules`` makes it, and ``smiles`` was just written from it.
    """
    if not batch.aromatic[row]:
        return True
    graph, item, elements, orders = batch.graph, batch.item, batch.elements[row], batch.orders
    # the bonds of the graph come first, in its order; those of nitro groups after them
    loose = tuple(k for k, bond in enumerate(mol.GetBonds()) if bond.GetIsAromatic())
    forms = batch.forms(loose)
    if all(same_form(graph, elements, form, orders) for form in forms):
        return True
    named = named_form(graph, orders, mol, smiles)
    if same_form(graph, elements, named, orders):
        return True
    if allowed(item, named, elements):
        return False
    return first_form(graph, elements, [form for form in forms if allowed(item, form, elements)], orders)


def named_form(graph: Graph, orders: np.ndarray, mol: Any, smiles: str) -> np.ndarray:
    """Bond orders (e,) of the form that ``smiles``, just written from ``mol``, has when it is read and kekulized.

    Where RDKit cannot read what it wrote, the form at hand has no better rival: its own orders.
    """
    with quiet_chem() as chem:
        other = chem.MolFromSmiles(smiles)
        if other is None:
            return orders
        chem.Kekulize(other, clearAromaticFlags=True)
    place = mol.GetPropsAsDict(True, True)["_smilesAtomOutputOrder"]  # atom k of the SMILES is atom place[k] here
    named = orders.copy()
    for bond in other.GetBonds():
        edge = graph.edge_number.get((place[bond.GetBeginAtomIdx()], place[bond.GetEndAtomIdx()]))
        if edge is not None:  # a bond inside a nitro group is none of the graph
            named[edge] = int(bond.GetBondTypeAsDouble())
    return named


def stands_for_molecule(batch: MultigraphBatch) -> np.ndarray:
    """Which rows (k,) bool stand for a molecule: all where no bond can be aromatic, without asking RDKit."""
    from rdkit import Chem

    own = ~batch.aromatic
    unsure = np.flatnonzero(batch.aromatic)
    if len(unsure):
        part = batch.rows(unsure)
        for row, mol in enumerate(molecules(part)):
            own[unsure[row]] = not is_aromatic(mol) or own_form(part, row, mol, Chem.MolToSmiles(mol))
    return own
