"""Necessary conditions of ``gdb11``, cheap enough for molecules that are being built: on graphs, bond orders, elements.

Each condition judges a Kekulé structure as its rules would judge the whole molecule: what is pruned here, the rules
remove too (a test checks it), so that pruning changes the speed and nothing else. An atom is known by its class:
element, hybridization, hydrogens, whether it may turn out aromatic, whether it is in a ring of three or four.

Where an atom may be aromatic only what holds either way is pruned.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from qmgen.molecules.enumeration.pruning import (
    HIGHEST_VALENCE,
    NOTHING,
    AtomClasses,
    BondLimits,
    Pruning,
    allowed_pairs,
    forbidden_environments,
)
from qmgen.molecules.rules.ruleset import RuleSet
from qmgen.molecules.rules.topology import bridgeheads, skeleton_of, strained_carbon, touching_small_rings

if TYPE_CHECKING:
    from qmgen.molecules.enumeration.structure import Graph

#: at most one atom other than carbon in a ring of three or four
MAX_HETEROATOMS_IN_RING: Final = {3: 1, 4: 1}

Edges = Sequence[tuple[int, int]]
#: (class, bond order) of each neighbor
Around = Sequence[tuple[str, int]]


# ---- graphs ---------------------------------------------------------------------------------------------------------


def keep_graph(edges: Edges, size: int) -> bool:
    """Whether the graph passes ``touching_small_rings`` and ``strained_carbon``."""
    skeleton = skeleton_of(edges, size)
    return not touching_small_rings(skeleton) and not strained_carbon(skeleton)


def bond_limits(edges: Edges, size: int) -> BondLimits:
    """What rings leave to the bonds of a graph.

    None but single bonds at atoms of three-membered rings and at bridgeheads; at atoms of four-membered rings a double
    bond only to a leaf (C=O) or inside a ring of five or six (aromatic); no triple bond in a ring of up to eight.
    """
    skeleton = skeleton_of(edges, size)
    rings = [tuple(ring) for ring in skeleton.GetRingInfo().AtomRings()]
    small = {length: {v for ring in rings if len(ring) == length for v in ring} for length in (3, 4)}
    saturated = small[3] | {index for index, _ in bridgeheads(skeleton)}
    degree = [0] * size
    for edge in edges:
        for v in edge:
            degree[v] += 1
    max_order = []
    for a, b in edges:
        around = {len(ring) for ring in rings if _is_in_ring(a, b, ring)}
        most = 2 if around and min(around) <= 8 else 3
        if a in saturated or b in saturated:
            most = 1
        for v, other in ((a, b), (b, a)):
            if v in small[4] and not (degree[other] == 1 or around & {5, 6}):
                most = 1
            elif v in small[4]:
                most = min(most, 2)
        max_order.append(most)
    sums = [degree[v] if v in saturated else HIGHEST_VALENCE for v in range(size)]
    return BondLimits(np.array(max_order, np.int64), np.array(sums, np.int64))


def carbonyl_leaves(edges: Edges, orders: Sequence[int], size: int) -> list[int]:
    """The leaves with a double bond to a four-membered ring: oxygen, whatever else."""
    skeleton = skeleton_of(edges, size)  # its rings live as long as it does
    rings = skeleton.GetRingInfo()
    degree = [sum(v in edge for edge in edges) for v in range(size)]
    return [
        leaf
        for (a, b), order in zip(edges, orders)
        if order == 2
        for leaf, other in ((a, b), (b, a))
        if degree[leaf] == 1 and rings.IsAtomInRingOfSize(other, 4)
    ]


def _is_in_ring(a: int, b: int, ring: tuple[int, ...]) -> bool:
    return a in ring and b in ring and abs(ring.index(a) - ring.index(b)) in (1, len(ring) - 1)


# ---- elements -------------------------------------------------------------------------------------------------------


def atom_class(element: str, hybridization: str, hydrogens: int, maybe_aromatic: bool, small_ring: bool) -> str:
    """The class of an atom: the element and what the conditions below distinguish.

    C4 sp3 · C3 sp2 · M =CH2 · C2 sp; N3 sp3 · NH2 · N2 sp2 · NH =NH · N1 sp; O2 · OH · O1 =O; a follows what may be
    aromatic, s a saturated atom of a small ring.
    """
    aromatic, small = "a" * maybe_aromatic, "s" * small_ring
    match element, hybridization:
        case "C", "sp3":
            return "C4" + small
        case "C", "sp2":
            return "M" if hydrogens == 2 and not maybe_aromatic else "C3" + aromatic
        case "N", "sp3":
            return "NH2" if hydrogens >= 2 else "N3" + (small or aromatic)
        case "N", "sp2":
            return "NH" if hydrogens else "N2" + aromatic
        case "O", "sp3":
            return "OH" if hydrogens else "O2" + (small or aromatic)
        case "O", _:
            return "O1"
        case "F" | "NO2", _:
            return element
    return element + "2" if element == "C" else element + "1"


def bond_allowed(one: str, other: str, order: int) -> bool:
    """Whether atoms of these classes may be bonded so; to be called with both orders of the two."""
    if one == "NO2":
        return other == "C3a" and order == 1
    if one == "C2" and order == 1 and other[0] in "NOF":
        return False
    if one[0] == "O" and other[0] == "O":
        return order == 2
    if one[0] in "NO" and other == "F":
        return False
    if one[0] == "N" and other[0] == "N" and order > 1:
        return order == 2 and one == other == "N2a"
    if one[0] == "N" and other[0] == "O":
        return order == 1 and one != "NH2"
    return not one == other == "NH2"


def environment_forbidden(center: str, around: Around) -> bool:
    """Whether no molecule of ``gdb11`` has an atom of this class among these neighbors."""
    single = [name for name, order in around if order == 1]
    double = next((name for name, order in around if order == 2), "")
    match center[:2]:
        case "C4":
            return _at_sp3_carbon(center, single)
        case "C3":
            return _at_sp2_carbon(center, single, double)
        case "C2":
            return list(around) == [("N1", 3)]
        case "N3":
            return not center.endswith("a") and _at_sp3_nitrogen(single)
        case "N2":
            return center == "N2" and double == "M" and any(name[0] == "C" for name in single)
        case "O2":
            return center != "O2a" and sum(name[0] == "N" for name in single) > 1
    return False


def _at_sp3_carbon(center: str, single: list[str]) -> bool:
    nitrogen_oxygen = sum(name[0] in "NO" for name in single)
    if nitrogen_oxygen + single.count("F") < 2 or not nitrogen_oxygen:
        return False
    return (
        "F" in single  # fluoro_ether_or_amine
        or "OH" in single  # hemiacetal
        or "NH2" in single  # aminal
        or nitrogen_oxygen > 2  # three_heteroatoms_on_carbon
        or (center == "C4s" and "O2s" in single)  # acetal_in_small_ring
    )


def _at_sp2_carbon(center: str, single: list[str], double: str) -> bool:
    nitrogen = sum(name[0] == "N" for name in single)
    oxygen = sum(name[0] == "O" for name in single)
    if double == "O1":
        two = nitrogen + oxygen - single.count("OH") > 0
        return "F" in single or ("OH" in single and two)  # acyl_fluoride, carbamic_acid
    if double == "NH" and not nitrogen:
        return True  # imine
    if "F" in single and (nitrogen and double[:1] == "N"):
        return True  # acyl_fluoride, aromatic or not
    if center != "C3":
        return False
    if double[:1] == "N":
        return "F" in single or "OH" in single  # acyl_fluoride, enol
    return (
        "OH" in single  # enol
        or ("F" in single and nitrogen + oxygen > 0)  # fluorine_beside_heteroatom_on_alkene
        or (double == "M" and "NH2" in single)  # enamine
    )


def _at_sp3_nitrogen(single: list[str]) -> bool:
    heteroatoms = [name for name in single if name[0] in "NO"]
    if len(heteroatoms) > 1:
        return True  # chain_of_nitrogen_and_oxygen
    if any(name.startswith("C3") for name in single):
        return False
    return any(name[0] == "O" or name == "NH2" for name in heteroatoms)  # hydroxylamine, hydrazine


#: nitro groups at most: four do not fit on an aromatic ring in molecules of up to 16 atoms
MOST_NITRO: Final = 3


def pruning_of(rules: RuleSet) -> Pruning:
    """The pruning that is sound for a rule set: that of ``gdb11`` for it and sets on top of it.

    Other sets start from valence alone.
    """
    if rules.prunes_as != "gdb11":
        return NOTHING
    classes = AtomClasses.of(("C", "N", "O", "F", "NO2"), lambda atom: atom_class(*atom))

    def sites(graph: Graph, orders: np.ndarray, symbols: tuple[str, ...]) -> np.ndarray | None:
        leaves = carbonyl_leaves(graph.edges.tolist(), orders.tolist(), graph.nodes)
        if not leaves:
            return None
        table = np.ones((graph.nodes, len(symbols)), np.bool_)
        table[leaves] = [symbol == "O" for symbol in symbols]
        return table

    return Pruning(
        small_rings_apart=True,
        keep_graph=lambda graph: keep_graph(graph.edges.tolist(), graph.nodes),
        bond_limits=lambda graph: bond_limits(graph.edges.tolist(), graph.nodes),
        cumulated=False,  # no atom has two multiple bonds
        sites=sites,
        classes=classes,
        pairs=allowed_pairs(classes, bond_allowed),
        environments=forbidden_environments(classes, environment_forbidden),
        max_heteroatoms_in_ring=MAX_HETEROATOMS_IN_RING,
        nitro=MOST_NITRO if rules.nitro else 0,
    )
