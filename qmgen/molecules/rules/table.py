"""The TOML of a rule set, checked: one clear line for whatever is wrong with it.

name = "mine"
description = "what this set is for"
base = "gdb11"                          # optional: all rules of this set come first
elements = ["C", "N", "O"]              # what molecules may hold (default: C N O F)
tautomers = "keep"                      # or "merge": one representative a class (default)

[define]                                # optional: {halogen} in a pattern stands for this text
halogen = "F"

[[rule]]
name = "no_three_rings"
smarts = "[r3]"                         # or a list: any match removes the molecule
also = "[{halogen}]"                    # optional: only where one of these matches too, anywhere
why = "three-membered rings do not survive our synthesis"
source = "optional: where this is known from"
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from qmgen.errors import UsageError
from qmgen.molecules.rules.rule import Stage

#: elements with a valence rule: the most bonds of each to heavy atoms and hydrogens
VALENCE: Final = {"C": 4, "N": 3, "O": 2, "F": 1}
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_]*")
_PLACE: Final = re.compile(r"\{([a-z_][a-z0-9_]*)\}")
_TABLE_KEYS: Final = {"name", "description", "base", "elements", "nitro", "tautomers", "define", "rule"}
_RULE_KEYS: Final = {"name", "stage", "smarts", "also", "test", "why", "source"}


@dataclass(frozen=True)
class RuleEntry:
    """One ``[[rule]]``: patterns with their definitions filled in, or the name of a test in ``topology.TESTS``."""

    name: str
    stage: Stage
    smarts: tuple[str, ...]
    also: tuple[str, ...]
    test: str
    why: str
    source: str


@dataclass(frozen=True)
class RuleTable:
    """A rule set as written. ``nitro`` says whether nitro groups on aromatic carbon are molecules of it."""

    name: str
    description: str
    base: str
    elements: tuple[str, ...]
    nitro: bool
    tautomers: str
    rules: tuple[RuleEntry, ...]


def read_table(path: Path) -> RuleTable:
    """The table in a file. Raises ``UsageError`` for anything wrong but the SMARTS themselves."""
    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not TOML: it is not UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not TOML: {error}") from None
    _only(path, "the table", data, _TABLE_KEYS)
    elements = tuple(_strings(path, "the table", data, "elements")) or tuple(VALENCE)
    if unknown := [e for e in elements if e not in VALENCE]:
        raise UsageError(f"{path}: no valence rule for element {unknown[0]!r}; elements are {' '.join(VALENCE)}")
    tautomers = _string(path, "the table", data, "tautomers") or "keep"
    if tautomers not in ("merge", "keep"):
        raise UsageError(f"{path}: tautomers is {tautomers!r}; give merge or keep")
    define = data.get("define", {})
    if not isinstance(define, dict) or not all(isinstance(text, str) for text in define.values()):
        raise UsageError(f"{path}: [define] must give a text for each name")
    rules = data.get("rule", [])
    if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
        raise UsageError(f"{path}: rules must be written as [[rule]]")
    entries = tuple(_entry(path, index, rule, define) for index, rule in enumerate(rules))
    names = [entry.name for entry in entries]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"{path}: two rules are named {twice!r}; give each its own name")
    return RuleTable(
        _string(path, "the table", data, "name") or path.stem,
        _string(path, "the table", data, "description"),
        _string(path, "the table", data, "base"),
        elements,
        data.get("nitro", False) is True,
        tautomers,
        entries,
    )


def _entry(path: Path, index: int, rule: dict[str, Any], define: dict[str, str]) -> RuleEntry:
    name = _string(path, f"rule {index + 1}", rule, "name")
    if not name:
        raise UsageError(f"{path}: rule {index + 1} has no name")
    if not _NAME.fullmatch(name):
        raise UsageError(f"{path}: the name {name!r} must be lower-case letters, digits and underscores")
    where = f"rule {name!r}"
    _only(path, where, rule, _RULE_KEYS)
    stage = _string(path, where, rule, "stage") or Stage.ATOMS
    if stage not in tuple(Stage):
        raise UsageError(f"{path}: {where}: stage is {stage!r}; give one of {' '.join(Stage)}")
    smarts, also = (
        tuple(_fill(path, where, text, define) for text in _strings(path, where, rule, key))
        for key in ("smarts", "also")
    )
    test = _string(path, where, rule, "test")
    if bool(smarts) == bool(test):
        raise UsageError(f"{path}: {where} must have either smarts or test")
    why, source = (_string(path, where, rule, key) for key in ("why", "source"))
    return RuleEntry(name, Stage(stage), smarts, also, test, why, source)


def _fill(path: Path, where: str, text: str, define: dict[str, str]) -> str:
    """``text`` with every {name} replaced by its definition, which may use others."""
    for _ in range(20):
        if not (found := _PLACE.search(text)):
            return text
        if found[1] not in define:
            raise UsageError(f"{path}: {where} uses {found[0]}, which [define] does not have")
        text = _PLACE.sub(lambda m: define.get(m[1], m[0]), text)
    raise UsageError(f"{path}: {where}: definitions in [define] go in a circle")


def _only(path: Path, where: str, data: dict[str, Any], keys: set[str]) -> None:
    if unknown := sorted(set(data) - keys):
        raise UsageError(f"{path}: {where} has an unknown key {unknown[0]!r}; known are {' '.join(sorted(keys))}")


def _string(path: Path, where: str, data: dict[str, Any], key: str) -> str:
    value = data.get(key, "")
    if not isinstance(value, str):
        raise UsageError(f"{path}: {where}: {key} must be a text")
    return value


def _strings(path: Path, where: str, data: dict[str, Any], key: str) -> list[str]:
    value = data.get(key, [])
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not all(isinstance(text, str) and text for text in values):
        raise UsageError(f"{path}: {where}: {key} must be a text or a list of texts")
    return values
