"""Tautomers by heteroatom prototropy: one key for all forms of a molecule, and one form that stands for them.

A hydrogen on N or O moves to another N or O while double bonds shift on the way between them: amides and imidic acids,
amidines, vinylogous ones, pyridones, azoles. Carbon keeps its hydrogens, so that keto and enol forms remain two
molecules, as in GDB-11. On the Kekulé graph this is simple: every carbon keeps its number of pi bonds, each N and O
trades pi bonds for hydrogens, and each conjugated region keeps its number of both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from itertools import product
from typing import Any, NamedTuple

#: pi bonds at most in one bond
_MOST: int = 2


class Region(NamedTuple):
    """A connected part of a Kekulé structure over which hydrogens may move.

    ``edges`` (a, b) with their ``orders`` in pi bonds; ``fixed`` pi bonds of each carbon; ``room`` pi bonds plus
    hydrogens of each N and O.
    """

    edges: list[tuple[int, int]]
    orders: tuple[int, ...]
    fixed: dict[int, int]
    room: dict[int, int]


def tautomer_key(mol: Any) -> str:
    """A text that all tautomers of a molecule share, and nothing else: its canonical SMILES where it has no others.

    Otherwise RDKit's hash of the structure without its double bonds and without the hydrogens of N and O.
    """
    from rdkit.Chem import rdMolHash

    if not _may_move(mol) or not mobile_regions(kekule_form(mol)):
        return _smiles(mol)
    return str(rdMolHash.MolHash(mol, rdMolHash.HashFunction.HetAtomTautomer))


def is_representative(mol: Any, accepts: Callable[[Any], bool]) -> bool:
    """Whether ``mol``, itself accepted, is the form that stands for its tautomers: decided from the molecule alone.

    Of the forms that ``accepts`` keeps it is the one that RDKit's tautomer score prefers (aromatic rings, C=O, oximes),
    and of several the first by length and text of the canonical SMILES.
    """
    if not _may_move(mol):
        return True
    kekule = kekule_form(mol)
    regions = mobile_regions(kekule)
    if not regions:
        return True
    score, smiles = _score(mol), ""
    for other in _others(mol, kekule, regions):
        ahead = _score(other) - score
        if ahead < 0:
            continue
        if ahead == 0:
            smiles = smiles or _smiles(mol)
            if _shorter_first(_smiles(other)) >= _shorter_first(smiles):
                continue
        if accepts(other):
            return False
    return True


def representative(mol: Any, accepts: Callable[[Any], bool]) -> Any | None:
    """The form that stands for the tautomers of ``mol``, or None if ``accepts`` keeps none of them."""
    forms = sorted(tautomers(mol), key=lambda form: (-_score(form), *_shorter_first(_smiles(form))))
    return next((form for form in forms if accepts(form)), None)


def tautomers(mol: Any) -> list[Any]:
    """All forms of a molecule, itself included, as sanitized RDKit molecules."""
    kekule = kekule_form(mol)
    regions = mobile_regions(kekule)
    return list({_smiles(form): form for form in (mol, *_others(mol, kekule, regions))}.values())


def _may_move(mol: Any) -> bool:
    """Whether there is a hydrogen on N or O at all, and a pi bond at N or O: most molecules lack one of them."""
    return all(mol.HasSubstructMatch(query) for query in _donor_and_acceptor())


@cache
def _donor_and_acceptor() -> tuple[Any, Any]:
    from rdkit import Chem

    return Chem.MolFromSmarts("[#7,#8;!H0;+0]"), Chem.MolFromSmarts("[#7X1,#7X2,#8X1;+0]")


def kekule_form(mol: Any) -> Any:
    """A copy with single, double and triple bonds only."""
    from rdkit import Chem

    kekule = Chem.Mol(mol)
    Chem.Kekulize(kekule, clearAromaticFlags=True)
    return kekule


def mobile_regions(kekule: Any) -> list[Region]:
    """The regions with both a hydrogen and a pi bond on N or O: others have one form only."""
    fixed: dict[int, int] = {}
    room: dict[int, int] = {}
    hydrogens: dict[int, int] = {}
    for atom in kekule.GetAtoms():
        if atom.GetFormalCharge():
            continue
        number, index = atom.GetAtomicNum(), atom.GetIdx()
        if number == 6:
            if pi := 4 - atom.GetTotalDegree():
                fixed[index] = pi
        elif number in (7, 8) and (most := 10 - number - atom.GetDegree()):
            room[index] = most
            hydrogens[index] = atom.GetTotalNumHs()
    if not room or not any(hydrogens.values()) or all(hydrogens[i] == room[i] for i in room):
        return []
    edges, orders = [], []
    parent = {index: index for index in (*fixed, *room)}

    def root(index: int) -> int:
        while parent[index] != index:
            index = parent[index]
        return index

    for bond in kekule.GetBonds():
        a, b = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
        if a in parent and b in parent:
            edges.append((a, b))
            orders.append(int(bond.GetBondTypeAsDouble()) - 1)
            parent[root(a)] = root(b)
    regions = []
    for top in {root(index) for index in room}:
        inside = [index for index in room if root(index) == top]
        moving = sum(hydrogens[index] for index in inside)
        if len(inside) > 1 and 0 < moving < sum(room[index] for index in inside):
            own = [i for i, (a, _) in enumerate(edges) if root(a) == top]
            regions.append(
                Region(
                    [edges[i] for i in own],
                    tuple(orders[i] for i in own),
                    {index: pi for index, pi in fixed.items() if root(index) == top},
                    {index: room[index] for index in inside},
                )
            )
    return regions


def _placements(region: Region) -> Iterator[tuple[int, ...]]:
    """Every way to place the region's pi bonds: orders of its edges."""
    edges, total = region.edges, sum(region.orders)
    left = {**region.fixed, **region.room}
    last = {index: max(i for i, edge in enumerate(edges) if index in edge) for index in left}
    orders: list[int] = []

    def extend(i: int, placed: int) -> Iterator[tuple[int, ...]]:
        if i == len(edges):
            if placed == total:
                yield tuple(orders)
            return
        a, b = edges[i]
        for order in range(min(_MOST, left[a], left[b], total - placed) + 1):
            left[a] -= order
            left[b] -= order
            if all(not left[v] or last[v] > i for v in (a, b) if v in region.fixed):
                orders.append(order)
                yield from extend(i + 1, placed + order)
                orders.pop()
            left[a] += order
            left[b] += order

    yield from extend(0, 0)


def _others(mol: Any, kekule: Any, regions: list[Region]) -> Iterator[Any]:
    """Every other form as a sanitized molecule; placements that are Kekulé forms of one molecule make it once."""
    from rdkit import Chem

    edges = [edge for region in regions for edge in region.edges]
    first = tuple(order for region in regions for order in region.orders)
    made = [(first, mol)]
    for placements in product(*(list(_placements(region)) for region in regions)):
        orders = tuple(order for placement in placements for order in placement)
        if any(_same_molecule(form, edges, before, orders) for before, form in made):
            continue
        draft = Chem.RWMol(kekule)
        for region in regions:
            for index in region.room:
                atom = draft.GetAtomWithIdx(index)
                atom.SetNumExplicitHs(0)
                atom.SetNoImplicit(False)
        for (a, b), order, before in zip(edges, orders, first):
            if order != before:
                draft.GetBondBetweenAtoms(a, b).SetBondType(Chem.BondType.values[order + 1])
        form = draft.GetMol()
        Chem.SanitizeMol(form)
        made.append((orders, form))
        yield form


def _same_molecule(form: Any, edges: list[tuple[int, int]], orders: tuple[int, ...], others: tuple[int, ...]) -> bool:
    """Whether a placement differs from that of ``form`` by aromatic bonds alone, and by no hydrogen."""
    change: dict[int, int] = {}
    for edge, order, other in zip(edges, orders, others):
        if order != other:
            if not form.GetBondBetweenAtoms(*edge).GetIsAromatic():
                return False
            for index in edge:
                change[index] = change.get(index, 0) + other - order
    return not any(change.values())


def _score(mol: Any) -> int:
    from rdkit.Chem.MolStandardize.rdMolStandardize import TautomerEnumerator

    return int(TautomerEnumerator.ScoreTautomer(mol))


def _smiles(mol: Any) -> str:
    from rdkit import Chem

    return str(Chem.MolToSmiles(mol))


def _shorter_first(smiles: str) -> tuple[int, str]:
    return len(smiles), smiles
