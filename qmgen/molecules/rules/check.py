"""A list of molecules against a rule set: what ``qmgen enumerate --check`` prints."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from qmgen.molecules.entries import quiet_chem
from qmgen.molecules.rules.ruleset import RuleSet
from qmgen.molecules.rules.tautomers import representative
from qmgen.molecules.smiles import syntax_problem, without_labels

#: what stands in place of a rule's name
OK: Final = "ok"
UNREADABLE: Final = "unreadable"
#: larger molecules are judged as written: a peptide has a form for each subset of its amides
LARGEST_WITH_TAUTOMERS: Final = 20


def check_lines(lines: Iterable[str], rules: RuleSet, tautomers: str = "") -> Iterator[tuple[str, str]]:
    """For each line, its SMILES (the first word) and ``ok``, the first rule that removes it, or ``unreadable``.

    Blank lines are left out. ``tautomers`` is "merge" or "keep" (default: the rule set's own). Under "merge" a molecule
    is ``ok`` if one of its tautomers is, since that one stands for it; otherwise the rule is the one that removes the
    form as written. Molecules of more than ``LARGEST_WITH_TAUTOMERS`` atoms are judged as written.
    """
    merge = (tautomers or rules.tautomers) == "merge"
    for line in lines:
        if words := line.split():
            yield words[0], _verdict(words[0], rules, merge)


def _verdict(smiles: str, rules: RuleSet, merge: bool) -> str:
    mol = read_molecule(smiles)
    if mol is None:
        return UNREADABLE
    if rules.accepts(mol):
        return OK
    merge = merge and mol.GetNumAtoms() <= LARGEST_WITH_TAUTOMERS
    if merge and not rules.breaks_valence(mol) and representative(mol, rules.accepts) is not None:
        return OK
    return rules.first_violation(mol) or OK  # counted only here, where it counts


def read_molecule(smiles: str) -> Any | None:
    """The molecule of a SMILES without its labels and its stereochemistry, which no rule looks at; None if none."""
    if not smiles.isascii() or syntax_problem(smiles):
        return None
    with quiet_chem() as chem:
        mol = chem.MolFromSmiles(without_labels(smiles))
        if mol is None or mol.GetNumAtoms() == 0:
            return None
        chem.RemoveStereochemistry(mol)
        return mol
