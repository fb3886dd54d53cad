"""The pruning of a rule set in the terms of the enumeration."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from qmgen.molecules.rules import pruning
from qmgen.molecules.rules.ruleset import RuleSet

#: nitro groups at most: four do not fit on an aromatic ring in molecules of up to 16 atoms
MOST_NITRO: Final = 3


def pruning_of(rules: RuleSet) -> Any:
    """The ``enumeration.pruning.Pruning`` that is sound for a rule set: that of ``gdb11`` for it and sets on top of it.

    Other sets start from valence alone.
    """
    from qmgen.molecules.enumeration.pruning import (
        NOTHING,
        AtomClasses,
        BondLimits,
        Pruning,
        allowed_pairs,
        forbidden_environments,
    )

    if rules.prunes_as != "gdb11":
        return NOTHING
    classes = AtomClasses.of(("C", "N", "O", "F", "NO2"), lambda atom: pruning.atom_class(*atom))

    def bond_limits(graph: Any) -> Any:
        limits = pruning.bond_limits(graph.edges.tolist(), graph.nodes)
        return BondLimits(np.array(limits.max_order, np.int64), np.array(limits.max_order_sum, np.int64))

    def sites(graph: Any, orders: np.ndarray, symbols: tuple[str, ...]) -> np.ndarray | None:
        leaves = pruning.carbonyl_leaves(graph.edges.tolist(), orders.tolist(), graph.nodes)
        if not leaves:
            return None
        table = np.ones((graph.nodes, len(symbols)), np.bool_)
        table[leaves] = [symbol == "O" for symbol in symbols]
        return table

    return Pruning(
        small_rings_apart=True,
        keep_graph=lambda graph: pruning.keep_graph(graph.edges.tolist(), graph.nodes),
        bond_limits=bond_limits,
        cumulated=pruning.CUMULATED,
        sites=sites,
        classes=classes,
        pairs=allowed_pairs(classes, pruning.bond_allowed),
        environments=forbidden_environments(classes, pruning.environment_forbidden),
        max_heteroatoms_in_ring=pruning.MAX_HETEROATOMS_IN_RING,
        nitro=MOST_NITRO if rules.nitro else 0,
    )
