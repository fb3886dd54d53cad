"""Texts that may be SMILES, as a network proposes them: which are molecules, and which pass a rule set."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from qmgen.molecules.entries import LONGEST_SMILES, canonical_smiles, quiet_chem, syntax_problem, without_labels
from qmgen.molecules.rules.ruleset import OK, RuleSet, check_lines, load_rules


def canonical(text: str) -> str | None:
    """The canonical SMILES of ``text``; None where RDKit reads no molecule in it."""
    with quiet_chem() as chem:
        return _canonical(chem, text)


def canonical_set(texts: Iterable[str]) -> set[str]:
    """The canonical SMILES of ``texts``, some fifteen thousand a second; without what is no molecule."""
    with quiet_chem() as chem:
        return {found for text in texts if (found := _canonical(chem, text)) is not None}


def _canonical(chem: Any, text: str) -> str | None:
    if not text or len(text) > LONGEST_SMILES or not text.isascii() or syntax_problem(text):
        return None
    mol = chem.MolFromSmiles(without_labels(text))
    return canonical_smiles(chem, mol) if mol is not None and mol.GetNumAtoms() else None


class Filter:
    """What the rule set ``rules`` (a name, or a TOML file) keeps. Raises ``UsageError`` where there is no such one."""

    def __init__(self, rules: str) -> None:
        self._rules: RuleSet = load_rules(rules)

    def verdicts(self, texts: Iterable[str]) -> list[str]:
        """For each text ``ok`` or the first rule that removes it."""
        return [verdict for _, verdict in check_lines(texts, self._rules)]


__all__ = ["OK", "Filter", "canonical", "canonical_set"]
