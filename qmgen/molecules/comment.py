"""The comment line of an XYZ frame: its ``key=value`` pairs and free words, its length unit, and its periodic cell.

The pairs are those of extended XYZ as ASE and OVITO write it: a value is bare, in quotes (``\\"`` stands for a quote),
or in brackets; white space may stand around ``=``. A comment that is one JSON object gives its members as pairs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple

from qmgen.molecules.geometry import unit_of_length
from qmgen.molecules.types import EntryRefused, Reason, one_line

_QUOTED: Final = {mark: re.compile(rf"{mark}(?:[^{mark}\\]|\\.)*{mark}", re.DOTALL) for mark in "\"'"}
_CLOSING: Final = {"[": "]", "{": "}"}
#: a pair without gaps, escapes, and anything that would go on after the value
_SIMPLE_PAIR: Final = re.compile(r"""([A-Za-z_][\w.-]*)=(?:"([^"\\]*)"|([^\s"'\[\]{}(),;=\\]+))(?:\s+|$)""")
_BARE_KEY: Final = re.compile(r"[^\s=]+")
#: up to white space, or to the comma before the next key; a name may hold such a comma
_BARE_VALUE: Final = re.compile(r"(?:[^\s,;]|[,;](?!\s*[A-Za-z_][\w.-]*\s*=))*")
_BARE_NAME: Final = re.compile(r"\S*")
_SPACE: Final = re.compile(r"\s*")
_ESCAPED: Final = re.compile(r"\\([\"'\\])")


def word_set(words: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(words.split())


#: units of length, and kinds of coordinates, that are not read
_OTHER_LENGTHS: Final = word_set("m meter metre meters metres fractional scaled direct crystal")
#: units that are not of lengths; "real" and "metal" are LAMMPS' sets, whose lengths are in Angstrom
_OTHER_UNITS: Final = word_set(
    "ev mev kev hartree hartrees ha eh mha rydberg ry kcal kj mol kcal/mol kj/mol kelvin k fs ps e debye d ev/atom "
    "ev/angstrom ev/a ev/å ev/ang ev/bohr ha/bohr hartree/bohr eh/bohr kcal/mol/angstrom kcal/mol/a cm-1 cm^-1 amu da "
    "dalton gpa bar e*angstrom e*bohr real metal"
)
_LENGTHS: Final = word_set(
    "length lengths pos position positions coord coords coordinate coordinates distance distances xyz geom geometry "
    "cartesian cartesians"
)
_QUANTITIES: Final = word_set(
    "energy energies force forces gradient gradients charge charges dipole dipoles time stress virial velocity "
    "velocities momentum momenta mass masses temperature frequency frequencies polarizability spin hessian"
)
_OF_UNITS: Final = _LENGTHS | {"unit", "units"}
#: keys whose value is free text
_TEXT_KEYS: Final = word_set("comment comments description note notes remark remarks info")
#: keys whose value is a title, in which a unit counts only where it is plainly one
_TITLE_KEYS: Final = word_set("name title label")
_UNIT: Final = (
    r"(?P<unit>bohrs?(?: radi(?:us|i))?|a_?0|a\.u\.?|au|atomic[ _]units?|[aåÅ\u212b]ngstr(?:o|ö|oe)ms?|[åÅ\u212b]|nm|pm"
    r"|(?:nano|pico)met(?:er|re)s?|fractional|scaled)(?![\w/*^])"
)
#: what each unit in words has, so that most texts are searched once
_UNIT_HINT: Final = re.compile(
    "bohr|a_?0|a\\.?u|atomic|ngstr|[å\u212b]|nm|pm|met|fractional|scaled|system", re.IGNORECASE
)
_UNIT_WORD: Final = re.compile(rf"(?<![\w/*^.]){_UNIT}", re.IGNORECASE)
#: "x/bohr", "pos / nm", "coords_bohr"
_PER_UNIT: Final = re.compile(
    r"(?<![\w/])(?:[xyzr]\s*/|(?:xyz|pos(?:ition)?s?|coord(?:inate)?s?|geom(?:etry)?|distances?|lengths?)\s*[/_])"
    rf"\s*{_UNIT}",
    re.IGNORECASE,
)
_UNIT_SYSTEM: Final = re.compile(
    r"(?<![A-Za-z])units?[\s_-]+system\W{0,4}(?:is\s+)?(?P<unit>[A-Za-z][\w.]*)", re.IGNORECASE
)
_QUANTITY: Final = (
    r"(?:energ\w+|E|gradients?|forces?|dipoles?|homo|lumo|gap|charges?|velocit\w+|moment\w+|hessian|time|mass(?:es)?)"
)
_NOUN: Final = re.compile(
    rf"\b{_QUANTITY}\b(?:[\s_-]+units?\b)?|\bunits?\s+(?:of|for)\s+(?:the\s+)?{_QUANTITY}\b"
    r"|(?P<lengths>\b(?:coord\w*|positions?|geometr\w+|xyz|distances?|lengths?|cartesians?|units?|r(?=\s+in\b))\b)",
    re.IGNORECASE,
)
#: words of a key that, with a unit, state whether it is the unit: "in_bohr", "use_angstrom", "coordinates_in_bohr"
_WHETHER: Final = word_set(
    "in is are use uses using unit units pos position positions coord coords coordinate coordinates xyz geometry"
)
_NUMBER_BEFORE: Final = re.compile(r"(?:\d\.\d*(?:e[+-]?\d+)?|= ?[+-]?\d+)\s*[(\[]?$", re.IGNORECASE)
_MARKED: Final = re.compile(r"(?:\bin(?: units of)?|(?<![A-Za-z])units?\s*:?|[(\[{])\s*$", re.IGNORECASE)
_IN_UNITS: Final = re.compile(r"(?<![A-Za-z])units?\W*$", re.IGNORECASE)
_FOLLOWED: Final = re.compile(r"[)\]]?\s*(?:units?|coord\w*|positions?|geometr\w+)\b", re.IGNORECASE)
#: characters before and after a unit in which its quantity is looked for
_WINDOW: Final = 200
#: keys of a cell, by their letters: "Lattice", "unit_cell", "box_vectors", "cell_lengths", "latvec"
_CELL_KEY: Final = re.compile(
    r"(?:unit|super|simulation|sim|periodic)?(?:cell|box|lattice|lat)"
    r"(?:vectors?|vecs?|lengths?|angles?|parameters?|params?|constants?|matrix|dimensions?|dims?|sizes?|abc|h|[xyz])?"
)
_NO_LATTICE: Final = frozenset({"lat", "lath", "latx", "laty", "latz", "cellh", "boxh"})
#: a cell in free words; i-PI writes "CELL(abcABC): 10 10 10 90 90 90", the PDB "CRYST1 10 10 10 90 90 90"
_CELL_WORDS: Final = re.compile(
    r"(?<![\w-])(?:CRYST1(?!\w)|(?:lattice|cell|box)(?:[({\[][A-Za-z_]{1,20}[)}\]])*\W*(?:[+-]?\d[\d.e+-]*[\s,]+){2}[+-]?\d)",
    re.IGNORECASE,
)
#: words for a periodic system, or for none
_PERIODIC_WORDS: Final = re.compile(
    r"(?P<no>(?:\bno|\bnon|\bnot|\bnot a|\bwithout|\bun)(?:[\s_-]*(?:is|any|3d|2d|1d))?[\s_-]*)?"
    r"(?<![A-Za-z])(?P<word>pbc|periodic(?:ally|ity)?)(?![A-Za-z])"
    r"(?P<value>[\s:=\"'(\[-]{1,4}(?:(?:no|none|null|off|false|f|0)(?!\w)(?:[\s,]+(?:f|false|0)(?!\w)){0,2}|fff(?!\w)))?"
    r"(?P<table>\s+(?:table|trends?|law|group|acid)(?!\w))?",
    re.IGNORECASE,
)
_TRUTH: Final = dict.fromkeys(("f", "false", "0", "n", "no", "none", "null", "off"), False) | dict.fromkeys(
    ("t", "true", "1", "y", "yes", "on"), True
)
_NO_CELL: Final = frozenset({"", "none", "null"})
_CELL_NUMBER: Final = re.compile(r"\d*\.?\d+(?:[eE][+-]?\d+)?|\d+")
_EDGES: Final = frozenset("abc")
_ANGLES: Final = frozenset({"alpha", "beta", "gamma"})


class XyzComment(NamedTuple):
    """A comment: ``text`` as it stands, ``pairs`` of key and value in order, and ``words``, what is no pair.

    A value is a string, or any JSON value where the comment ``is_json``, a JSON object. ``context`` is ``words`` with
    each pair, shortened, in its place.
    """

    text: str
    pairs: tuple[tuple[str, Any], ...]
    words: str
    context: str
    is_json: bool = False

    def values(self, *keys: str) -> list[Any]:
        """The values of all pairs whose key, in any case, is one of ``keys``."""
        return [value for key, value in self.pairs if key.lower() in keys]

    @property
    def name(self) -> str:
        """The value of ``name``; the whole comment where it holds no ``=``."""
        names = [] if self.is_json else self.values("name")
        if names:
            return str(names[0])
        return "" if "=" in self.text else self.text.strip()


def key_words(key: str) -> tuple[str, ...]:
    """The words and numbers in a name, in lower case: "n", "pair" and "2" of ``nPair_2``."""
    return tuple(re.findall(r"[a-z]+|\d+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", key).lower()))


def quoted(text: str) -> str:
    """A comment for a message: one line, shortened, in quotes."""
    return f'"{one_line(text, 70)}"'


def parse_comment(text: str) -> XyzComment:
    """The pairs and words of a comment; any text is one."""
    if (json_members := json_object(text)) is not None:
        return XyzComment(text, tuple(members(json_members)), "", "", is_json=True)
    pairs: list[tuple[str, Any]] = []
    words: list[str] = []
    context: list[str] = []

    def add(key: str, value: str) -> None:
        pairs.append((key, value))
        context.append(f"{key} = {value}" if len(value) < 30 and value[-1:].isdigit() else f"{key} = ...")

    unclosed: set[str] = set()  # brackets and quotes that are ordinary characters from here on
    at = _after_space(text, 0)
    while at < len(text):
        if not unclosed and (simple := _SIMPLE_PAIR.match(text, at)):  # most pairs are
            key, within, alone = simple.groups()
            add(key, alone if within is None else within)
            at = simple.end()
            continue
        token, end = _token(text, at, _BARE_KEY, unclosed)
        after = _after_space(text, end)
        if text[after : after + 1] == "=":
            before, key = re.fullmatch(r"(?:(.*)[,;])?([^,;]*)", token, re.DOTALL).groups()  # type: ignore[union-attr]
            words += [before] if before else []
            context += [before] if before else []
            bare = _BARE_NAME if key.lower() == "name" else _BARE_VALUE
            # the brackets of a SMILES are its own
            ordinary = unclosed | set(_CLOSING) if "smi" in key.lower() else unclosed
            value, end = _token(text, _after_space(text, after + 1), bare, ordinary)
            add(key, value)
        else:
            words.append(token)
            context.append(token)
        at = _after_space(text, end)
    return XyzComment(text, tuple(pairs), " ".join(words), " ".join(context))


def json_object(text: str) -> dict[str, Any] | None:
    """``text`` as a JSON object; None where it is not one."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def members(mapping: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The members of a mapping, and of the mappings in it, by their own keys."""
    waiting: list[Any] = [mapping]
    while waiting:
        for key, value in waiting.pop().items():
            items = value if isinstance(value, list | tuple) else [value]
            nested = [item for item in items if isinstance(item, Mapping)]
            waiting += nested
            if not nested:
                yield str(key), value


def length_unit(comment: XyzComment) -> str | None:
    """The length unit that a comment states, a name of ``geometry.unit_of_length``; None where it states none.

    A unit under a key (``units=bohr``) goes before words ("coordinates in Bohr"). Words about another quantity ("energy
    -1.17 a.u.") are not about lengths. Raises ``EntryRefused`` for other units, unclear words, and contradictions.
    """
    units = {unit for key, value in comment.pairs if (unit := _unit_of_pair(key, str(value).strip()))}
    if not units:
        texts = [comment.context, *map(str, comment.values(*_TEXT_KEYS))]
        units = {unit for text in texts for unit in _units_in_words(text, comment)}
        units |= {
            unit for text in map(str, comment.values(*_TITLE_KEYS)) for unit in _units_in_words(text, comment, True)
        }
    if len(units) > 1:
        raise _refused(f"two length units in {quoted(comment.text)}; state one, such as units=angstrom")
    return units.pop() if units else None


def check_molecule(comment: XyzComment) -> None:
    """Raises ``EntryRefused`` where a comment states a periodic cell: ``pbc`` with a true direction, or a cell
    (``Lattice``) without ``pbc``, which extended XYZ takes for periodic in all directions."""
    stated = comment.values("pbc", "periodic", "is_periodic", "periodicity")
    loose = re.findall(r"(?<!\S)[TF](?!\S)", comment.words) if stated else []  # pbc=F F T, without quotes
    for value in stated:
        marks = re.findall(r"[^\s,\[\](){}]+", str(value).lower())
        marks = list(marks[0]) if len(marks) == 1 and set(marks[0]) <= set("tf") else marks
        if not marks or "T" in loose or any(_TRUTH.get(mark, True) for mark in marks):
            raise _refused(f"a periodic cell (pbc={quoted(str(value))}); only molecules are labelled")
    if stated:
        return
    for key, value in comment.pairs:
        if _names_cell(key[:_WINDOW]) and not _is_no_cell(str(value)):
            detail = f'a periodic cell ({key}={quoted(str(value))}); of a molecule, add pbc="F F F" to the comment'
            raise _refused(detail)
    keys = {key.lower() for key, _ in comment.pairs}
    texts = [comment.words, *map(str, comment.values(*_TEXT_KEYS))]
    if (keys >= _EDGES and keys & _ANGLES) or any(_states_cell(text) for text in texts):
        detail = f'a periodic cell in the comment {quoted(comment.text)}; of a molecule, add pbc="F F F" to it'
        raise _refused(detail)


@lru_cache(maxsize=4096)
def _names_cell(key: str) -> bool:
    letters = "".join(part for part in key_words(key) if part.isalpha())
    return _CELL_KEY.fullmatch(letters) is not None and letters not in _NO_LATTICE


def _is_no_cell(value: str) -> bool:
    """Whether the value of a cell is none, or all zero."""
    numbers = _CELL_NUMBER.findall(value)
    return value.strip(" []()").lower() in _NO_CELL or (bool(numbers) and not any(map(float, numbers)))


def _states_cell(text: str) -> bool:
    """Whether free words state a cell, or that anything is periodic."""
    if _CELL_WORDS.search(text):
        return True
    return any(not (match["no"] or match["value"] or match["table"]) for match in _PERIODIC_WORDS.finditer(text))


@lru_cache(maxsize=4096)  # the frames of a file have the same keys
def _parts(key: str) -> frozenset[str]:
    """The words of a key, without numbers."""
    return frozenset(part for part in key_words(key) if part.isalpha())


def _unit_of_pair(key: str, value: str) -> str | None:
    """The length unit that a pair states; None where it states none."""
    parts = _parts(key[:_WINDOW])
    if whether := [unit for part in parts if len(part) > 1 and (unit := unit_of_length(part))]:
        return _unit_of_flag(key, value, whether[0]) if len(parts - _WHETHER) == 1 else None
    if not parts & _OF_UNITS:
        return None
    about = parts - {"unit", "units", "system"}
    words = {word.strip("()[]\"'") for word in re.split(r"[\s,;:=]+", value.lower())} - {""}
    whole = unit_of_length(value)
    units = {whole} if whole else {unit for word in words if (unit := unit_of_length(word))}
    if about == parts:  # "coordinates=bohr"
        if not about or not about <= _LENGTHS or not (whole or (words <= _OTHER_LENGTHS and words)):
            return None
    elif about & _QUANTITIES or (not units and about - _LENGTHS) or (not about and words and words <= _OTHER_UNITS):
        return None
    if about - _LENGTHS and units == {"angstrom"}:
        return None
    if len(units) != 1 or about - _LENGTHS:
        raise _refused(f"{key}={quoted(value)} is no length unit that is read; give angstrom or bohr")
    return units.pop()


def _unit_of_flag(key: str, value: str, unit: str) -> str | None:
    """The length unit of a pair such as ``in_bohr=True``."""
    truth = _TRUTH.get(value.lower())
    if truth is None or (truth is False and unit != "angstrom"):
        return None
    if not truth:
        raise _refused(f"{key}={quoted(value)} leaves the unit open; state units=angstrom or units=bohr")
    return unit


def _units_in_words(text: str, comment: XyzComment, title: bool = False) -> Iterator[str]:
    """The length units that free text states for the coordinates; of a ``title`` only those that are plainly stated."""
    if not _UNIT_HINT.search(text):
        return
    for match in _PER_UNIT.finditer(text):
        yield _known(match["unit"], comment)
    for match in _UNIT_SYSTEM.finditer(text):
        if match["unit"].lower() not in _OTHER_UNITS:
            yield _known(match["unit"], comment)
    for match in _UNIT_WORD.finditer(text):
        start, end = match.span()
        word, before, after = match["unit"], text[max(start - _WINDOW, 0) : start], text[end : end + _WINDOW]
        nouns = list(_NOUN.finditer(before))
        if _NUMBER_BEFORE.search(before) or (nouns and not nouns[-1]["lengths"]):
            continue  # the unit of a number, or of another quantity
        alone = len(text) < _WINDOW and text.strip("()[] ") == word
        clear = bool(nouns or _MARKED.search(before) or _FOLLOWED.match(after) or alone)
        unit = unit_of_length(word)
        if word == "Au" and not (_IN_UNITS.search(before) or (nouns and _MARKED.search(before))):
            continue  # gold
        if unit in ("nm", "pm") and before.rstrip(" ([")[-1:].isdigit():
            continue
        if clear or (unit == "angstrom" and not title):
            yield _known(word, comment)
        elif unit == "bohr" and word.lower() not in ("a0", "a_0") and not title:
            raise _unknown(word, comment)


def _known(word: str, comment: XyzComment) -> str:
    if (unit := unit_of_length(word)) is None:
        raise _unknown(word, comment)
    return unit


def _unknown(word: str, comment: XyzComment) -> EntryRefused:
    return _refused(f"the unit {word} in the comment {quoted(comment.text)}; state units=angstrom or units=bohr")


def _refused(detail: str) -> EntryRefused:
    return EntryRefused(Reason.UNREADABLE, detail)


def _after_space(text: str, at: int) -> int:
    return _SPACE.match(text, at).end()  # type: ignore[union-attr]


def _token(text: str, at: int, bare: re.Pattern[str], unclosed: set[str]) -> tuple[str, int]:
    """The token at ``at`` and where it ends. Quotes and brackets hold one together where they enclose all of it."""
    opening = text[at : at + 1]
    if (opening in _QUOTED or opening in _CLOSING) and opening not in unclosed:
        end = _end_of_group(text, at)
        if end < 0:
            unclosed.add(opening)
        elif end == len(text) or text[end] in "=,;" or text[end].isspace():
            inside = text[at + 1 : end - 1]
            return (_ESCAPED.sub(r"\1", inside) if opening in _QUOTED else inside), end
    token = bare.match(text, at)
    return ("", at) if token is None else (token[0], token.end())  # "" before an "=" that has no key


def _end_of_group(text: str, at: int) -> int:
    """The place after the quote or bracket that closes the one at ``at``; -1 if none does."""
    opening = text[at]
    if opening in _QUOTED:
        quoted_text = _QUOTED[opening].match(text, at)
        return quoted_text.end() if quoted_text else -1
    depth = 0
    while at < len(text):
        if text[at] == '"':
            quoted_text = _QUOTED['"'].match(text, at)
            if quoted_text is None:
                return -1
            at = quoted_text.end()
            continue
        depth += (text[at] == opening) - (text[at] == _CLOSING[opening])
        at += 1
        if not depth:
            return at
    return -1
