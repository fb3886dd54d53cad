"""SMARTS compiled into tests that are quick to say no: most molecules break no rule, and are asked all of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from qmgen.errors import UsageError
from qmgen.molecules.entries import one_line, quiet_chem


def any_of(path: Path, name: str, patterns: tuple[str, ...]) -> Callable[[Any], bool]:
    """One test for several SMARTS. Raises ``UsageError`` for one that RDKit cannot read."""
    tests = []
    for text in patterns:
        full, loose = _matches(path, name, text), without_exceptions(text)
        tests.append(full if loose == text else both(_matches(path, name, loose), full))
    if len(tests) == 1:
        return tests[0]
    return lambda mol: any(test(mol) for test in tests)


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
    kept += smarts[at:]
    return smarts if "!$(" in kept else kept  # what is left may have lost an exception to an exception


def _matches(path: Path, name: str, text: str) -> Callable[[Any], bool]:
    with quiet_chem() as chem:
        query = chem.MolFromSmarts(text)
    if query is None:
        raise UsageError(f"{path}: rule {name!r}: not a SMARTS that RDKit can read: {one_line(text)}")
    return lambda mol: mol.HasSubstructMatch(query)
