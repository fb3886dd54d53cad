"""Texts that may be SMILES, as a network proposes them: which are molecules, and which pass a rule set."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from qmgen.molecules.entries import LONGEST_SMILES, quiet_chem
from qmgen.molecules.rules.check import OK, check_lines
from qmgen.molecules.rules.ruleset import RuleSet, load_rules

#: lines by which a list is taken to be canonical or not
_LOOKED_AT: Final = 200


def canonical(text: str) -> str | None:
    """The canonical SMILES of ``text``; None where RDKit reads no molecule in it."""
    if not text or len(text) > LONGEST_SMILES or not text.isascii():
        return None
    with quiet_chem() as chem:
        mol = chem.MolFromSmiles(text)
        return str(chem.MolToSmiles(mol)) if mol is not None and mol.GetNumAtoms() else None


def canonical_set(texts: Sequence[str]) -> set[str]:
    """The canonical SMILES of ``texts``; as they are, where some spread over all of them are canonical already."""
    if all(canonical(text) == text for text in texts[:: max(len(texts) // _LOOKED_AT, 1)]):
        return set(texts)
    return {found for found in map(canonical, texts) if found is not None}


class Filter:
    """What the rule set ``rules`` (a name, or a TOML file) keeps. Raises ``UsageError`` where there is no such one."""

    def __init__(self, rules: str) -> None:
        self._rules: RuleSet = load_rules(rules)

    def verdicts(self, texts: Iterable[str]) -> list[str]:
        """For each text ``ok`` or the first rule that removes it."""
        return [verdict for _, verdict in check_lines(texts, self._rules)]


__all__ = ["OK", "Filter", "canonical", "canonical_set"]
