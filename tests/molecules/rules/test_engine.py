"""The whole way: enumerated with the pruning of gdb11, then its rules, then one tautomer a class."""

from __future__ import annotations

import pytest

from qmgen.molecules.rules.pruning import pruning_of
from qmgen.molecules.rules.ruleset import load_rules
from qmgen.molecules.rules.table import Stage
from qmgen.molecules.rules.tautomers import is_representative


@pytest.mark.parametrize(
    ("size", "accepted", "classes"), [(1, 4, 4), (2, 9, 9), (3, 20, 20), (4, 83, 80), (5, 370, 351), (6, 2018, 1837)]
)
def test_counts_with_pruning_are_those_without(size: int, accepted: int, classes: int):
    """The numbers of docs/rules.md, which ``scripts/measure_rules`` counts from all candidates."""
    pytest.importorskip("qmgen.molecules.enumeration")
    from qmgen.molecules.enumeration.chemistry import molecules
    from qmgen.molecules.enumeration.items import Query, batches
    from tests.molecules.enumeration.emitted import emit_rows

    rules = load_rules("gdb11")
    kept = chosen = 0
    for batch in batches(Query(size, pruning=pruning_of(rules))):
        forms = dict(enumerate(molecules(batch)))
        for row, _ in emit_rows(batch, lambda mol: rules.first_violation(mol, after=Stage.GRAPH) is None):
            kept += 1
            chosen += is_representative(forms[row], rules.accepts)
    assert (kept, chosen) == (accepted, classes)
