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
why = "three-membered rings do not survive the synthesis"
source = "optional: where this is known from"
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from qmgen.documents import TooDeep, toml_of
from qmgen.errors import UsageError
from qmgen.molecules.enumeration.pruning import VALENCES
from qmgen.molecules.types import one_line


class Stage(StrEnum):
    """What a rule looks at, and so how early it can be applied."""

    VALENCE = "valence"
    GRAPH = "graph"
    BONDS = "bonds"
    ATOMS = "atoms"


@dataclass
class Rule:
    """Removes every molecule that ``test`` is true of; ``removed`` counts them.

    ``test`` gets an RDKit molecule in the aromatic form of ``topology.aromatic_form``. ``smarts`` and ``also`` are the
    patterns of the table, empty for a test beyond SMARTS. ``why`` describes in words what is removed, ``source``
    where that is known from.
    """

    name: str
    stage: Stage
    why: str
    source: str
    test: Callable[[Any], bool] = field(repr=False)
    smarts: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    removed: int = 0


_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_]*")
_PLACE: Final = re.compile(r"\{([a-z_][a-z0-9_]*)\}")
_TABLE_KEYS: Final = {"name", "description", "base", "elements", "nitro", "tautomers", "define", "rule"}
_RULE_KEYS: Final = {"name", "stage", "smarts", "also", "test", "why", "source"}

# Bounds far beyond any rule set (gdb11: 10 kB, 700 characters, 2300, 3, 5), checked before time and memory are taken.
#: bytes of a file
LARGEST_FILE: Final = 1 << 18
#: characters of one pattern with its definitions filled in (RDKit takes 12 MB for so much of nested ``$(…)``), of all
LONGEST_PATTERN, LONGEST_PATTERNS = 10_000, 200_000
#: definitions inside of definitions
DEEPEST_DEFINITION: Final = 50
#: dots in one line: ``tomllib`` takes memory with the square of the parts of a dotted key
MOST_DOTS: Final = 100


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
    """A rule set as written. ``nitro``: whether nitro groups on aromatic carbon are molecules of it."""

    name: str
    description: str
    base: str
    elements: tuple[str, ...]
    nitro: bool
    tautomers: str
    rules: tuple[RuleEntry, ...]


def read_table(path: Path) -> RuleTable:
    """The table in a file. Raises ``UsageError`` for anything wrong but the SMARTS themselves."""
    data = _parsed(path)
    _only(path, "the table", data, _TABLE_KEYS)
    elements = tuple(_strings(path, "the table", data, "elements")) or tuple(VALENCES)
    if unknown := [e for e in elements if e not in VALENCES]:
        raise UsageError(
            f"{path}: no valence rule for element {one_line(repr(unknown[0]))}; elements are {' '.join(VALENCES)}"
        )
    tautomers = _string(path, "the table", data, "tautomers") or "keep"
    if tautomers not in ("merge", "keep"):
        raise UsageError(f"{path}: tautomers is {one_line(repr(tautomers))}; give merge or keep")
    define = data.get("define", {})
    if not isinstance(define, dict) or not all(isinstance(text, str) for text in define.values()):
        raise UsageError(f"{path}: [define] must give a text for each name")
    rules = data.get("rule", [])
    if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
        raise UsageError(f"{path}: rules must be written as [[rule]]")
    definitions = _Definitions(path, define)
    entries = tuple(_entry(path, index, rule, definitions) for index, rule in enumerate(rules))
    if twice := [name for name, count in Counter(entry.name for entry in entries).items() if count > 1]:
        raise UsageError(f"{path}: two rules are named {twice[0]!r}; give each its own name")
    return RuleTable(
        _string(path, "the table", data, "name") or path.stem,
        _string(path, "the table", data, "description"),
        _string(path, "the table", data, "base"),
        elements,
        data.get("nitro", False) is True,
        tautomers,
        entries,
    )


def _parsed(path: Path) -> dict[str, Any]:
    """The TOML of a file as plain values. Raises ``UsageError``."""
    try:
        with path.open("rb") as stream:
            content = stream.read(LARGEST_FILE + 1)
        if len(content) > LARGEST_FILE:
            raise UsageError(f"{path} holds more than {LARGEST_FILE} bytes, and is no rule set")
        text = content.decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")
        if any(line.count(".") > MOST_DOTS for line in text.split("\n")):
            raise UsageError(f"{path}: a line has more than {MOST_DOTS} dots, and no rule set such keys")
        return toml_of(text)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not TOML: it is not UTF-8 text") from None
    except TooDeep:
        raise UsageError(f"{path}: its lists or tables are nested too deeply for a rule set") from None
    except ValueError as error:  # TOMLDecodeError, and numbers of thousands of digits
        raise UsageError(f"{path} is not TOML: {one_line(error)}") from None


def _entry(path: Path, index: int, rule: dict[str, Any], definitions: _Definitions) -> RuleEntry:
    name = _string(path, f"rule {index + 1}", rule, "name")
    if not name:
        raise UsageError(f"{path}: rule {index + 1} has no name")
    if not _NAME.fullmatch(name):
        raise UsageError(f"{path}: the name {one_line(repr(name))} must be lower-case letters, digits and underscores")
    where = f"rule {name!r}"
    _only(path, where, rule, _RULE_KEYS)
    stage = _string(path, where, rule, "stage") or Stage.ATOMS
    if stage not in tuple(Stage):
        raise UsageError(f"{path}: {where}: stage is {one_line(repr(stage))}; give one of {' '.join(Stage)}")
    smarts, also = (
        tuple(definitions.fill(where, text) for text in _strings(path, where, rule, key)) for key in ("smarts", "also")
    )
    test = _string(path, where, rule, "test")
    if bool(smarts) == bool(test):
        raise UsageError(f"{path}: {where} must have either smarts or test")
    why, source = (_string(path, where, rule, key) for key in ("why", "source"))
    return RuleEntry(name, Stage(stage), smarts, also, test, why, source)


class _Definitions:
    """What {name} stands for. Lengths are added up before any text is filled in: twenty definitions that each name the
    one before twice stand for a million characters."""

    def __init__(self, path: Path, define: dict[str, str]) -> None:
        self._path, self._define = path, define
        self._known: dict[str, tuple[int, int]] = {}
        self._texts: dict[str, str] = {}
        self._total = 0

    def fill(self, where: str, text: str) -> str:
        """``text`` with every {name} replaced by its definition, which may use others.

        Raises ``UsageError``: no such definition, definitions in a circle, too deep, or too long.
        """
        length, _ = self._size(where, text, ())
        self._total += length
        if length > LONGEST_PATTERN:
            raise self._error(
                where, f"a pattern of more than {LONGEST_PATTERN} characters once definitions are filled in"
            )
        if self._total > LONGEST_PATTERNS:
            raise self._error(where, f"the patterns up to here have more than {LONGEST_PATTERNS} characters in all")
        return self._filled(text)

    def _filled(self, text: str) -> str:
        """Each definition is filled in once: empty ones may be named as often as others, and have no length."""
        for place in _PLACE.finditer(text):
            if place[1] not in self._texts:
                self._texts[place[1]] = self._filled(self._define[place[1]])
        return _PLACE.sub(lambda place: self._texts[place[1]], text)

    def _size(self, where: str, text: str, inside: tuple[str, ...]) -> tuple[int, int]:
        """The length of ``text`` once it is filled in, and how deep its definitions are nested; ``inside`` are those
        that it stands in."""
        length, depth = len(text), 0
        for place in _PLACE.finditer(text):
            name = place[1]
            if name not in self._define:
                raise self._error(where, f"uses {one_line(place[0])}, which [define] does not have", colon=False)
            if name in inside:
                raise self._error(where, "definitions in [define] go in a circle")
            if name not in self._known and len(inside) < DEEPEST_DEFINITION:
                self._known[name] = self._size(where, self._define[name], (*inside, name))
            more, deeper = self._known.get(name, (0, 0))
            length, depth = length + more - len(place[0]), max(depth, deeper + 1)
            if len(inside) + depth > DEEPEST_DEFINITION:
                raise self._error(where, f"definitions in [define] are nested more than {DEEPEST_DEFINITION} deep")
        return length, depth

    def _error(self, where: str, what: str, colon: bool = True) -> UsageError:
        return UsageError(f"{self._path}: {where}{':' * colon} {what}")


def _only(path: Path, where: str, data: dict[str, Any], keys: set[str]) -> None:
    if unknown := sorted(set(data) - keys):
        known = " ".join(sorted(keys))
        raise UsageError(f"{path}: {where} has an unknown key {one_line(repr(unknown[0]))}; known are {known}")


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
