"""The charge and multiplicity that a source states for a geometry: an XYZ comment, or named values (columns).

What is understood is taken; what names a charge or a multiplicity and is not understood is refused, and so are
statements that contradict one another or the number of electrons. Nothing stated means a neutral molecule.

======================================================================  ============================================
``charge=-1`` ``total_charge: 2`` ``Net charge 1`` ``q=1`` ``2+``       net charge in e
``multiplicity=3`` ``mult: 1`` ``2S+1=1`` ``triplet``                   multiplicity 2S + 1
``uhf=2`` ``unpaired_electrons=0`` ``magmom=0.0``                       unpaired electrons 2S
``spin=1``                                                              2S + 1, 2S or S: see below
``0 1`` as the whole comment or before a title, ``charge_mult="0 1"``   charge and multiplicity, as in Gaussian's input
======================================================================  ============================================

``spin`` is the multiplicity in some data sets (OMol25), 2S (ASE, PySCF) or S in others. Only readings that go with the
number of electrons count, and a singlet is taken where it is among them: with an even number ``spin=0`` (2S = 0) and
``spin=1`` (2S + 1 = 1) are singlets, ``spin=2`` and ``spin=3`` are not.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np

from qmgen.molecules.charge_keys import kind_of_key
from qmgen.molecules.elements import number_of
from qmgen.molecules.entries import atomic_numbers, failure, one_line
from qmgen.molecules.geometry import electrons_problem
from qmgen.molecules.types import EntryRefused, Failure, Molecule, Reason
from qmgen.molecules.xyz_comment import XyzComment, json_object, members, parse_comment, quoted, word_set

#: charges of atoms that add up to this or more (e) state a charged molecule
_ROUNDED_AWAY: Final = 0.5
#: a magnetic moment of an atom or molecule below this (Bohr magnetons) is none
_NO_MOMENT: Final = 0.1
#: a statement within a value within a value ...: more levels are not looked into
_DEEPEST: Final = 3
#: characters of free words that are searched
_LONGEST_WORDS: Final = 1 << 16
_LONGEST_FORMULA: Final = 40

_PLAIN: Final = ("pair", "charge", "multiplicity", "spin", "unpaired")
#: keys whose value is a label: it may hold any word, but not a plain ``charge=1``
_LABELS: Final = word_set(
    "name title id uid label tag inchi inchikey formula composition config_type configtype source dataset file "
    "filename path key hash identifier structure properties"
)
_MULTIPLICITIES: Final = ("singlet", "doublet", "triplet", "quartet", "quintet", "sextet", "septet", "octet", "nonet")

_NUMBER: Final = re.compile(r"[+-]?(?:\d{1,6}\.?\d{0,20}|\.\d{1,20})(?:[eE][+-]?\d{1,2})?", re.ASCII)
_SIGN_LAST: Final = re.compile(r"(\d{1,2})([+-])", re.ASCII)
_BEFORE: Final = r"(?<![A-Za-z0-9])"
#: repeated a few times at most, for the time of a search is to grow with the text alone
_OWNER: Final = r"(?:(?:total|net|overall|formal|molecular|molecule|mol|system|spin)[\s_-]{1,3}){0,4}"
_IS: Final = r"""["')\]]*\s*(?P<sep>[:=]?)\s*["'(\[]*(?P<value>[+-]?\d[\d.]*(?:e[+-]?\d+)?[+-]?)(?![\w./-]*\w)"""
#: "Charge: 1" and "charge 1" in free words, by kind
_IN_WORDS: Final = {
    "charge": re.compile(rf"{_BEFORE}{_OWNER}(?:charge|chrg|chg|q(?=\s*[:=])){_IS}", re.IGNORECASE),
    "multiplicity": re.compile(rf"{_BEFORE}{_OWNER}(?:multiplicity|mult|2s\+1){_IS}", re.IGNORECASE),
    "spin": re.compile(rf"{_BEFORE}{_OWNER}(?:spin){_IS}", re.IGNORECASE),
    "unpaired": re.compile(rf"{_BEFORE}(?:uhf|unpaired electrons?){_IS}", re.IGNORECASE),
}
_PAIR_IN_WORDS: Final = re.compile(
    rf"{_BEFORE}(?:charge|chrg|q)\s*(?:/|,|and|&)?\s*(?:spin[\s_-]*)?mult(?:iplicity)?\s*[:=]?\s*[\[(]?"
    r"(?P<charge>[+-]?\d{1,4})[\s,;/|]+(?P<multiplicity>\d{1,4})(?![\w.])",
    re.IGNORECASE,
)
#: two whole numbers, alone or before a title that does not go on with a number
_PAIR_FIRST: Final = re.compile(
    r"[\s(\[{]*(?P<charge>[+-]?\d+)[\s,;/|]+(?P<multiplicity>\d+)[)\]}]*(?:\s*$|[\s,;]+(?=[^\s\d.+-]))", re.ASCII
)
#: a title, and two whole numbers of which the first has a sign
_PAIR_LAST: Final = re.compile(r"[^\d=]*\s(?P<charge>[+-]\d)[\s,;]+(?P<multiplicity>\d)\s*$", re.ASCII)
_STATE_WORD: Final = re.compile(rf"{_BEFORE}(?P<word>{'|'.join(_MULTIPLICITIES)})s?(?![A-Za-z])", re.IGNORECASE)
_CLOSED_SHELL: Final = re.compile(rf"{_BEFORE}(?:closed[\s-]shell|no unpaired electrons?)(?![A-Za-z])", re.IGNORECASE)
_NEUTRAL: Final = re.compile(rf"{_BEFORE}(?:neutral|uncharged)(?![A-Za-z])", re.IGNORECASE)
#: charges of atoms, which are no statement
_ATOMIC_CHARGES: Final = re.compile(
    rf"{_BEFORE}(?:(?:partial|atomic|mulliken|l(?:o|ö|oe)wdin|hirshfeld|r?esp|chelpg|npa|nbo|bader|cm5|gasteiger|mbis)"
    r"[\s_-]{1,3}){1,4}charges?(?![A-Za-z])",
    re.IGNORECASE,
)
#: words that tell of a charge or of unpaired electrons, but not how many, by what they are about
_VAGUE_WORDS: Final = {
    "charge": re.compile(
        rf"charge[ds]?(?![A-Za-z])|{_BEFORE}(?:chrg|(?:mono|di|tri|poly|radical)?(?:cat|an)ion(?:ic|s)?)(?![A-Za-z])"
        r"|^\s*[+-]\d\s*$|(?<!\S)\d[+-]\s*$",
        re.IGNORECASE,
    ),
    "spin": re.compile(
        rf"{_BEFORE}(?:spins?|mult|multiplicity|unpaired|open[\s-]shell|(?:mono|di|bi|tri|poly)?radicals?)(?![A-Za-z])",
        re.IGNORECASE,
    ),
}
#: a formula with a charge: "SO4^2-", "NH4+", "SO4-2"
_ION: Final = re.compile(
    r"\s*(?P<formula>(?:[A-Z][a-z]?\d*|[()\[\]])+?)(?:\^?\(?\d?[+-]\)?|\^?\([+-]\d\)|\^[+-]\d|(?<=[\d\])])[+-]\d)\s*",
    re.ASCII,
)


class ElectronicState(NamedTuple):
    """The net charge in e, and the multiplicity 2S + 1; None where it is not stated."""

    charge: int
    multiplicity: int | None


def stated_charge(numbers: np.ndarray, *sources: XyzComment | Mapping[str, Any]) -> ElectronicState:
    """What XYZ comments and values by name state together for atoms of these ``numbers`` (atoms,).

    A value may be text, a number, a list, a mapping of such, or None for nothing. Raises ``EntryRefused``
    (``unreadable``) for what is not understood, contradictions, and what does not go with the number of electrons; the
    detail quotes the text. Whether a charge or an open shell can be labelled is for ``electrons_problem`` to say.
    """
    found = _Statements(len(numbers))
    for source in sources:
        if isinstance(source, XyzComment):
            found.comment(source)
        else:
            for key, value in members(source):
                found.pair(key, value)
    return found.state(int(np.asarray(numbers, dtype=np.int64).sum()))


def agreeing(entry: Molecule | Failure, row: Iterable[tuple[str, Any]]) -> Molecule | Failure:
    """The entry that a SMILES gave, or a ``Failure`` where other columns of its row, by name and value, state another
    charge or multiplicity. Only columns that are plainly named so count ("charge", not "charge at pH 7"); empty ones
    do not."""
    stated = [{key: value} for key, value in row if kind_of_key(key) in _PLAIN and str(value).strip()]
    if isinstance(entry, Failure) or not stated:
        return entry
    numbers = atomic_numbers(entry)
    try:
        state = stated_charge(numbers, {"charge of the SMILES": entry.charge}, *stated)
        problem = electrons_problem(numbers, state.charge, state.multiplicity)
    except EntryRefused as error:
        problem = error.reason, str(error)
    return failure(entry.molecule_id, entry.name, entry.smiles, *problem) if problem else entry


def has_statement(text: str) -> bool:
    """Whether a label with this text would be read as a statement ("charge=1"), so that a writer must change it."""
    found = _Statements(1)
    found.label(text)
    return bool(found.charges or found.multiplicities or found.vague or found.refused)


def _numbers(value: Any) -> list[float] | None:
    """A value as numbers: one, or a list of them, in text too; None if it is anything else."""
    if isinstance(value, str):
        fields = re.split(r"[\s,;]+", value.strip("()[]{}\"',; \t"))
        return [float(f) for f in fields] if all(_NUMBER.fullmatch(f) for f in fields) else None
    if isinstance(value, np.ndarray):
        value = value.tolist()
    items = value if isinstance(value, list | tuple) else [value]
    flat = [item for part in items for item in (part if isinstance(part, list | tuple) else [part])]
    if not all(isinstance(item, int | float | np.number) and not isinstance(item, bool) for item in flat):
        return None
    try:
        numbers = [float(item) for item in flat]
    except OverflowError:
        return None
    return numbers if all(map(math.isfinite, numbers)) else None


def _whole(value: Any) -> int | None:
    """A value as one whole number: 1, "+1", "1.0", "2-", [1], "neutral", "triplet"; None if it is anything else."""
    if isinstance(value, str):
        text = value.strip("()[]{}\"',; \t")
        if found := _SIGN_LAST.fullmatch(text):
            return int(found[2] + found[1])
        if text.lower() == "neutral":
            return 0
        if text.lower() in _MULTIPLICITIES:
            return _MULTIPLICITIES.index(text.lower()) + 1
    numbers = _numbers(value)
    if numbers is None or len(numbers) != 1 or abs(numbers[0]) > 1e4 or numbers[0] != round(numbers[0]):
        return None
    return round(numbers[0])


@dataclass
class _Statements:
    """What was found so far: charges, readings of the multiplicity, and what was not understood, each with its text."""

    atoms: int
    charges: list[tuple[int, str]] = field(default_factory=list)
    multiplicities: list[tuple[frozenset[int], str]] = field(default_factory=list)
    vague: list[tuple[str, str]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def comment(self, comment: XyzComment) -> None:
        """All statements of a comment."""
        words = comment.words
        if not comment.is_json and (found := _PAIR_FIRST.match(comment.text) or _PAIR_LAST.match(comment.text)):
            self._pair(found["charge"], found["multiplicity"], comment.text)
            words = _PAIR_FIRST.sub("", words, count=1)
            words = re.sub(r"[+-]\d[\s,;]+\d\s*$", "", words)
        self._pairs(comment, 0)
        self._words(words)

    def pair(self, key: str, value: Any, depth: int = 0) -> None:
        """The statement that a value under a key makes, if any."""
        kind = kind_of_key(key)
        if value is None:
            return
        text = f"{key}={one_line(value, 50)}"
        if kind is None:
            self._other(key, value, depth)
        elif kind == "pair":
            numbers = _numbers(value)
            if numbers is None or len(numbers) != 2 or any(n != round(n) for n in numbers):
                self.refused.append(text)
            else:
                self._pair(str(round(numbers[0])), str(round(numbers[1])), text)
        elif kind in ("charges", "moments", "atoms"):
            self._of_atoms(kind, key, value, text)
        elif kind == "vague":
            self._vague(key, value, text)
        elif kind != "beside":
            self._number(kind, value, text)

    def label(self, text: str) -> None:
        """The statements of a text in which words do not count."""
        if "=" not in text and ":" not in text:
            return
        self._pairs(parse_comment(text), _DEEPEST)
        self._marked(text)

    def _marked(self, text: str) -> None:
        """Plain "charge: 1" and "charge=1" in a text, which is not taken apart any further."""
        self._in_words(" ".join(text.split()), marked=True)

    def state(self, protons: int) -> ElectronicState:
        """The statements together, for atomic numbers that add up to ``protons``."""
        charge = self.charges[0][0] if self.charges else 0
        # a stated multiplicity goes before "radical"; and an odd number of electrons is refused as what it is
        settled = {"charge": bool(self.charges), "spin": bool(self.multiplicities) or (protons - charge) % 2 == 1}
        unclear = self.refused + [text for what, text in self.vague if not settled[what]]
        if unclear:
            self._refuse(unclear[0])
        for other, text in self.charges[1:]:
            if other != charge:
                self._contradict(self.charges[0][1], text)
        if not self.multiplicities:
            return ElectronicState(charge, None)
        readings, first = self.multiplicities[0]
        for others, text in self.multiplicities[1:]:
            if not readings & others:
                self._contradict(first, text)
            readings &= others
        electrons = protons - charge
        possible = {m for m in readings if (electrons - m) % 2 and m <= electrons + 1}
        if not possible:
            said = " ".join(dict.fromkeys([text for _, text in self.charges] + [first]))
            what = f"{quoted(said)}, read as charge and multiplicity, does not go with {electrons} electrons"
            detail = f"{what}; state charge=N multiplicity=M, each by its name"
            raise EntryRefused(Reason.UNREADABLE, detail)
        return ElectronicState(charge, min(possible))

    def _pairs(self, comment: XyzComment, depth: int) -> None:
        words = comment.words.split()
        for at, (key, value) in enumerate(comment.pairs):
            last = at + 1 == len(comment.pairs)
            if kind_of_key(key) == "pair" and last and words and _whole(value) is not None:  # "charge/mult = 0 1"
                value = f"{value} {words[0]}"
            self.pair(key, value, depth)

    def _pair(self, charge: str, multiplicity: str, text: str) -> None:
        if len(charge) > 6 or len(multiplicity) > 6:
            self.refused.append(text)
            return
        self.charges.append((int(charge), text))
        self.multiplicities.append((frozenset({int(multiplicity)}), text))

    def _number(self, kind: str, value: Any, text: str) -> None:
        """A charge, multiplicity, spin, number of unpaired electrons or magnetic moment."""
        numbers, whole = _numbers(value), _whole(value)
        if kind == "charge" and whole is not None and abs(whole) < 1000:
            self.charges.append((whole, text))
        elif kind == "charge" and numbers and len(numbers) > 1 and not isinstance(value, str):
            self._of_atoms("charges", "", value, text)
        elif kind == "multiplicity" and whole is not None and whole > 0:
            self.multiplicities.append((frozenset({whole}), text))
        elif kind == "spin" and numbers and len(numbers) == 1 and numbers[0] >= 0 and (2 * numbers[0]) % 1 == 0:
            spin = numbers[0]
            readings = {round(2 * spin) + 1} | ({round(spin), round(spin) + 1} if spin % 1 == 0 else set())
            self.multiplicities.append((frozenset(readings - {0}), text))
        elif kind == "spin" and whole is not None and numbers is None:  # "singlet"
            self.multiplicities.append((frozenset({whole}), text))
        elif kind == "unpaired" and whole is not None and whole >= 0:
            self.multiplicities.append((frozenset({whole + 1}), text))
        elif kind == "moment" and numbers and len(numbers) == 1 and abs(numbers[0] - round(numbers[0])) < _NO_MOMENT:
            self.multiplicities.append((frozenset({abs(round(numbers[0])) + 1}), text))
        else:
            self.refused.append(text)

    def _of_atoms(self, kind: str, key: str, value: Any, text: str) -> None:
        """Charges or moments of the atoms: their sum states a charge, any moment an open shell."""
        numbers = _numbers(value)
        spins = kind == "moments" or "spin" in key.lower()
        if numbers is None or len(numbers) not in (1, self.atoms):
            if kind != "atoms":  # else of a form of its own, and about atoms in any case
                self.refused.append(text)
        elif spins:
            if any(abs(number) >= _NO_MOMENT for number in numbers):
                self.vague.append(("spin", text))
        elif len(numbers) == self.atoms and abs(sum(numbers)) >= _ROUNDED_AWAY:
            self.charges.append((round(sum(numbers)), text))
        elif len(numbers) == 1 != self.atoms and kind == "charges":
            self._number("charge", value, text)

    def _vague(self, key: str, value: Any, text: str) -> None:
        """A key that is about a charge or spin and is not known: nothing is stated by zero, false, or a singlet's 1."""
        numbers = _numbers(value)
        nothing = {0.0, 1.0} if re.search("mult", key, re.IGNORECASE) else {0.0}
        if str(value).lower() in ("f", "false", "no") or (numbers and set(numbers) <= nothing):
            return
        self.vague.append(("charge" if re.search("charge|chrg", key, re.IGNORECASE) else "spin", text))

    def _other(self, key: str, value: Any, depth: int) -> None:
        """A value under a key that is about something else: a statement may stand in its text."""
        if not isinstance(value, str) or not re.search("[A-Za-z]", value):
            return
        low = key.lower()
        if "smiles" in low or low in ("smile", "smi"):
            self._smiles(value, f"{key}={value}")
        elif depth >= _DEEPEST:  # each value may hold another pair: the way down must end
            self._marked(value)
        elif low in _LABELS:
            self.label(value)
        elif (inner := json_object(value.removeprefix("_JSON "))) is not None:
            for name, item in members(inner):
                self.pair(name, item, depth + 1)
        else:
            comment = parse_comment(value)
            self._pairs(comment, depth + 1)
            self._words(comment.words)

    def _smiles(self, smiles: str, text: str) -> None:
        """Charges in the brackets of a SMILES."""
        charge = 0
        for sign, digits, more in re.findall(r"\[[^\[\]+-]*([+-])(\d{1,2})?([+-]*)(?::\d+)?\]", smiles):
            charge += (int(digits) if digits else 1 + len(more)) * (1 if sign == "+" else -1)
        if charge:
            self.charges.append((charge, text))

    def _words(self, words: str) -> None:
        """Statements in free words."""
        if len(words) > _LONGEST_WORDS:
            if re.search("charge|spin|multiplicity", words, re.IGNORECASE):
                self.refused.append(words)
            return
        rest = self._in_words(words, marked=False)
        for pattern, add in (
            (_STATE_WORD, lambda m: self._multiplicity(_MULTIPLICITIES.index(m["word"].lower()) + 1, words)),
            (_CLOSED_SHELL, lambda m: self._multiplicity(1, words)),
            (_NEUTRAL, lambda m: self.charges.append((0, words))),
            (_ATOMIC_CHARGES, lambda m: None),
        ):
            rest = _taken(rest, pattern, add)
        for about, pattern in _VAGUE_WORDS.items():
            if pattern.search(rest):
                self.vague.append((about, words))
        ion = _ION.fullmatch(words) if len(words) < _LONGEST_FORMULA else None
        if ion and all(number_of(symbol) for symbol in re.findall("[A-Z][a-z]?", ion["formula"])):
            self.vague.append(("charge", words))

    def _in_words(self, words: str, marked: bool) -> str:
        """Take "charge: 1" and the like ("charge 1" too, unless ``marked``) out of words, and give what is left."""
        rest = _taken(words, _PAIR_IN_WORDS, lambda m: self._pair(m["charge"], m["multiplicity"], words))
        for kind, pattern in _IN_WORDS.items():
            for found in pattern.finditer(rest):
                if found["sep"] or not marked:
                    self._number(kind, found["value"], found[0])
            rest = pattern.sub(" ", rest)
        return rest

    def _multiplicity(self, value: int, text: str) -> None:
        self.multiplicities.append((frozenset({value}), text))

    def _refuse(self, text: str) -> None:
        detail = f"{quoted(text)} is no charge or multiplicity that is understood; state charge=N multiplicity=M"
        raise EntryRefused(Reason.UNREADABLE, detail)

    def _contradict(self, one: str, other: str) -> None:
        detail = f"{quoted(one)} and {quoted(other)} contradict one another; state one charge and one multiplicity"
        raise EntryRefused(Reason.UNREADABLE, detail)


def _taken(text: str, pattern: re.Pattern[str], add: Callable[[re.Match[str]], None]) -> str:
    """``text`` without what ``pattern`` finds, each find given to ``add``."""
    for found in pattern.finditer(text):
        add(found)
    return pattern.sub(" ", text)
