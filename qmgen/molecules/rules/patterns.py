"""SMARTS compiled into tests that are quick to say no: most molecules break no rule, and are asked all of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from qmgen.errors import UsageError
from qmgen.molecules.entries import quiet_chem

#: what a molecule may have and a pattern may need, as bits of a plain integer, since they are asked of every rule
SIGNS: Final = {"F": 1, "*=*": 2, "*#*": 4, "*:*": 8}
RING: Final = 16
_BONDS: Final = {"=": SIGNS["*=*"], "#": SIGNS["*#*"], ":": SIGNS["*:*"]}


class Pattern(NamedTuple):
    """Whether one of some SMARTS matches, and what a molecule must have for that."""

    matches: Callable[[Any], bool]
    needs: int


def features(mol: Any) -> int:
    """The bits of what this molecule has."""
    found = RING if mol.GetRingInfo().NumRings() else 0
    for query, bit in _signs():
        if mol.HasSubstructMatch(query):
            found |= bit
    return found


def any_of(path: Path, name: str, patterns: tuple[str, ...]) -> Pattern:
    """One test for several SMARTS. Raises ``UsageError`` for one that RDKit cannot read."""
    tests, needs = [], -1
    for text in patterns:
        full, loose_text = _read(path, name, text), without_exceptions(text)
        loose = _read(path, name, loose_text)
        tests.append(_matches(full) if loose_text == text else both(_matches(loose), _matches(full)))
        needs &= _needs(loose)
    if len(tests) == 1:
        return Pattern(tests[0], needs)
    return Pattern(lambda mol: any(test(mol) for test in tests), needs)


def screen(patterns: list[str]) -> Callable[[Any], bool]:
    """Whether any of many SMARTS matches, in one call: half the time of asking them one by one."""
    from rdkit.Chem import FilterCatalog

    catalog = FilterCatalog.FilterCatalog()
    for text in patterns:
        catalog.AddEntry(FilterCatalog.FilterCatalogEntry(text, FilterCatalog.SmartsMatcher(text, text, 1)))
    return lambda mol: bool(catalog.HasMatch(mol))


def both(one: Callable[[Any], bool], other: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """Whether both tests are true."""
    return lambda mol: one(mol) and other(mol)


def without_exceptions(smarts: str) -> str:
    """The pattern without its ``;!$(…)``: it matches wherever the pattern does, and a no costs a tenth.

    RDKit looks for all matches of every recursive pattern before it looks at the first atom.
    """
    kept, at = "", 0
    while (found := smarts.find(";!$(", at)) >= 0:
        kept += smarts[at:found]
        at, depth = found + 4, 1
        while depth and at < len(smarts):
            depth += {"(": 1, ")": -1}.get(smarts[at], 0)
            at += 1
        if at == len(smarts) or smarts[at] not in ";]":  # one of several alternatives: leave it
            return smarts
    return kept + smarts[at:]


def _needs(query: Any) -> int:
    """What the atoms and bonds of a pattern ask for beyond doubt."""
    needs = SIGNS["F"] if any(atom.GetSmarts() == "F" for atom in query.GetAtoms()) else 0
    needs |= RING if query.GetNumBonds() >= query.GetNumAtoms() else 0
    for bond in query.GetBonds():
        needs |= _BONDS.get(bond.GetSmarts(), 0)
    return needs


def _matches(query: Any) -> Callable[[Any], bool]:
    return lambda mol: mol.HasSubstructMatch(query)


def _read(path: Path, name: str, text: str) -> Any:
    with quiet_chem() as chem:
        query = chem.MolFromSmarts(text)
    if query is None:
        raise UsageError(f"{path}: rule {name!r}: not a SMARTS that RDKit can read: {text}")
    return query


@cache
def _signs() -> tuple[tuple[Any, int], ...]:
    from rdkit import Chem

    return tuple((Chem.MolFromSmarts(smarts), bit) for smarts, bit in SIGNS.items())
