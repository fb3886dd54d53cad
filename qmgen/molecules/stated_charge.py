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

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np

from qmgen.molecules.charge_words import (
    ATOMIC_CHARGES,
    BETWEEN_STATES,
    CLOSED_SHELL,
    IN_WORDS,
    MAY_STATE,
    MULTIPLICITIES,
    NAMED_STATE,
    NEUTRAL,
    PAIR_FIRST,
    PAIR_IN_WORDS,
    PAIR_LAST,
    SMILES_IN_WORDS,
    STATE_WORD,
    VAGUE_WORDS,
    begins_with_ion,
    charge_of_inchi,
    charge_of_smiles,
    counts_in_table,
    is_ion,
    kind_of_key,
    may_be_electrons,
    multiplicity_of_short,
    multiplicity_of_state,
    numbers_of,
    whole_of,
)
from qmgen.molecules.comment import XyzComment, json_object, members, parse_comment, quoted, word_set
from qmgen.molecules.entries import atomic_numbers
from qmgen.molecules.geometry import electrons_problem
from qmgen.molecules.types import EntryRefused, Failure, Molecule, Reason, failure, one_line

#: charges of atoms add up to a whole number (e) within this
_NEAR_WHOLE: Final = 0.25
#: a magnetic moment of an atom or molecule below this (Bohr magnetons) is none
_NO_MOMENT: Final = 0.1
_STATE_BOTH: Final = "state charge=N multiplicity=M"
#: for tables, in which a column may have such a name by chance
OF_COLUMNS: Final = "correct, rename or remove the column"
#: a statement within a value within a value ...: more levels are not looked into
_DEEPEST: Final = 3
#: characters of free words that are searched, and of values that are remembered
_LONGEST_WORDS: Final = 1 << 16
_LONGEST_REPEATED: Final = 200

_PLAIN: Final = ("pair", "charge", "multiplicity", "spin", "unpaired")
#: keys whose value is a label: it may hold any word, but not a plain ``charge=1``
_LABELS: Final = word_set(
    "name title id uid label tag inchi inchikey formula composition config_type configtype source dataset file "
    "filename path key hash identifier structure properties"
)

_LETTER: Final = re.compile("[A-Za-z]")
_FORMULAS: Final = word_set("composition stoichiometry")


class ElectronicState(NamedTuple):
    """The net charge in e, and the multiplicity 2S + 1; None where it is not stated."""

    charge: int
    multiplicity: int | None


def stated_charge(
    numbers: np.ndarray, *sources: XyzComment | Mapping[str, Any], advice: str = _STATE_BOTH
) -> ElectronicState:
    """What XYZ comments and values by name state together for atoms of these ``numbers`` (atoms,).

    A value may be text, a number, a list, a mapping of such, or None for nothing. Raises ``EntryRefused``
    (``unreadable``) for what is not understood, contradictions, and what does not go with the number of electrons; the
    detail quotes the text, and ends with ``advice``. Whether a charge or an open shell can be labeled,
    ``electrons_problem`` decides.
    """
    statements = _Statements(np.asarray(numbers, dtype=np.int64), advice)
    for source in sources:
        if isinstance(source, XyzComment):
            statements.comment(source)
        else:
            for key, value in members(source):
                statements.pair(key, value)
    return statements.state()


def agreeing(entry: Molecule | Failure, row: Iterable[tuple[str, Any]]) -> Molecule | Failure:
    """The entry that a SMILES gave, or a ``Failure`` where other columns of its row, by name and value, state another
    charge or multiplicity. Only columns that are plainly named so count ("charge", not "charge at pH 7"), with values
    that the name may have (``counts_in_table``); empty ones do not."""
    plain = [(key, value) for key, value in row if kind_of_key(key) in _PLAIN and str(value).strip()]
    stated = [{key: value} for key, value in plain if counts_in_table(key, value)]
    if isinstance(entry, Failure) or not stated:
        return entry
    numbers = atomic_numbers(entry)
    try:
        state = stated_charge(numbers, {"charge of the SMILES": entry.charge}, *stated, advice=OF_COLUMNS)
        problem = electrons_problem(numbers, state.charge, state.multiplicity)
    except EntryRefused as error:
        problem = error.reason, str(error)
    return failure(entry.molecule_id, entry.name, entry.smiles, *problem) if problem else entry


def has_statement(text: str) -> bool:
    """Whether a label with this text would be read as a statement ("charge=1"), so that a writer must change it."""
    statements = _Statements(np.ones(1, dtype=np.int64))
    statements.label(text)
    return statements.anything


@dataclass
class _Statements:
    """What was found so far: charges, readings of the multiplicity, and what was not understood, each with its text."""

    numbers: np.ndarray
    advice: str = _STATE_BOTH
    charges: list[tuple[int, str]] = field(default_factory=list)
    multiplicities: list[tuple[frozenset[int], str]] = field(default_factory=list)
    vague: list[tuple[str, str]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    electrons: list[tuple[int, str]] = field(default_factory=list)
    #: whether any value was held against the number of atoms
    of_atoms: bool = False

    @property
    def anything(self) -> bool:
        return any((self.charges, self.multiplicities, self.vague, self.refused, self.electrons))

    def comment(self, comment: XyzComment) -> None:
        """All statements of a comment."""
        words = comment.words
        for smiles in () if comment.is_json else SMILES_IN_WORDS.finditer(comment.text):
            self._charge(charge_of_smiles(smiles[1]), smiles[0])
        if not comment.is_json and (pair := PAIR_FIRST.match(comment.text) or PAIR_LAST.match(comment.text)):
            self._pair(pair["charge"], pair["multiplicity"], comment.text)
            words = PAIR_FIRST.sub("", words, count=1)
            words = re.sub(r"[+-]\d[\s,;]+\d\s*$", "", words)
        self._pairs(comment, 0)
        self._words(words, comment.text)

    def pair(self, key: str, value: Any, depth: int = 0) -> None:
        """The statement that a value under a key makes, if any."""
        kind = kind_of_key(key)
        if value is None or kind == "beside":
            return
        state = multiplicity_of_state(value) if kind == "state" and isinstance(value, str) else None
        if kind is None or (kind == "state" and not state):
            self._other(key, value, depth)
            return
        text = f"{key}={one_line(value, 50)}"
        if state:
            self._multiplicity(state, text)
        elif kind == "pair":
            numbers = numbers_of(value)
            if numbers is None or len(numbers) != 2 or any(n != round(n) for n in numbers):
                self.refused.append(text)
            else:
                self._pair(str(round(numbers[0])), str(round(numbers[1])), text)
        elif kind in ("charges", "moments", "atoms"):
            self._of_atoms(kind, key, value, text)
        elif kind in ("vague", "flag"):
            self._vague(key, value, text)
        elif kind in ("short multiplicity", "spin quantum number", "spin squared"):
            self._short(kind, key, value, text)
        else:
            self._number(kind, value, text)

    def label(self, text: str) -> None:
        """The statements of a text in which words do not count."""
        if "=" not in text and ":" not in text:
            return
        self._pairs(parse_comment(text), _DEEPEST)
        self._in_words(" ".join(text.split()), marked=True)

    def state(self) -> ElectronicState:
        """The statements together."""
        protons = int(self.numbers.sum())
        charge = self.charges[0][0] if self.charges else 0
        # a stated multiplicity goes before "radical"; and an odd number of electrons is refused as what it is
        settled = {"charge": bool(self.charges), "spin": bool(self.multiplicities) or (protons - charge) % 2 == 1}
        unclear = self.refused + [text for what, text in self.vague if not settled[what]]
        if unclear:
            what = f"{quoted(unclear[0])} is no charge or multiplicity that is understood"
            raise EntryRefused(Reason.UNREADABLE, f"{what}; {self.advice}")
        for other, text in self.charges[1:]:
            if other != charge:
                self._contradict(self.charges[0][1], text)
        electrons = protons - charge
        for count, text in self.electrons:
            if not may_be_electrons(count, self.numbers, charge, bool(self.charges)):
                detail = f"{quoted(text)} does not go with charge {charge:+d}, which leaves {electrons} electrons"
                raise EntryRefused(Reason.UNREADABLE, f"{detail}; {self.advice}")
        if not self.multiplicities:
            return ElectronicState(charge, None)
        readings, first = self.multiplicities[0]
        for others, text in self.multiplicities[1:]:
            if not readings & others:
                self._contradict(first, text)
            readings &= others
        possible = {m for m in readings if (electrons - m) % 2 and m <= electrons + 1}
        if not possible:
            said = " ".join(dict.fromkeys([text for _, text in self.charges] + [first]))
            what = f"{quoted(said)}, read as charge and multiplicity, does not go with {electrons} electrons"
            by_name = ", each by its name" if self.advice == _STATE_BOTH else ""
            raise EntryRefused(Reason.UNREADABLE, f"{what}; {self.advice}{by_name}")
        return ElectronicState(charge, min(possible))

    def _pairs(self, comment: XyzComment, depth: int) -> None:
        words = comment.words.split()
        for at, (key, value) in enumerate(comment.pairs):
            last = at + 1 == len(comment.pairs)
            if kind_of_key(key) == "pair" and last and words and whole_of(value) is not None:  # "charge/mult = 0 1"
                value = f"{value} {words[0]}"
            self.pair(key, value, depth)

    def _pair(self, charge: str, multiplicity: str, text: str) -> None:
        if len(charge) > 6 or len(multiplicity) > 6:
            self.refused.append(text)
            return
        self.charges.append((int(charge), text))
        self._multiplicity(int(multiplicity), text)

    def _charge(self, charge: int, text: str) -> None:
        """The charge of a SMILES or InChI; one without a charge states nothing, since many writers leave it out."""
        self.charges += [(charge, text)] if charge else []

    def _short(self, kind: str, key: str, value: Any, text: str) -> None:
        """A value under a key of one or two letters (``M``, ``S``, ``S2``), which states something where it can."""
        numbers = numbers_of(value)
        if numbers is None or len(numbers) != 1:
            return
        if (multiplicity := multiplicity_of_short(kind, numbers[0])) is not None:
            self._multiplicity(multiplicity, text)
        elif re.search(r"[<^*]|squared", key):  # S2 may be a state or a molecule
            self.vague.append(("spin", text))

    def _number(self, kind: str, value: Any, text: str) -> None:
        """A charge, multiplicity, spin, number of unpaired electrons or magnetic moment."""
        numbers, whole = numbers_of(value), whole_of(value)
        if kind == "spin squared":
            self._short(kind, "<S^2>", value, text)
        elif kind == "electrons":
            self.electrons += [(whole, text)] if whole is not None else []
        elif kind == "charge" and whole is not None and abs(whole) < 1000:
            self.charges.append((whole, text))
        elif kind == "charge" and numbers and len(numbers) > 1 and not isinstance(value, str):
            self._of_atoms("charges", "", value, text)
        elif kind == "multiplicity" and whole is not None and whole > 0:
            self._multiplicity(whole, text)
        elif kind == "spin" and numbers and len(numbers) == 1 and numbers[0] >= 0 and (2 * numbers[0]) % 1 == 0:
            spin = numbers[0]
            readings = {round(2 * spin) + 1} | ({round(spin), round(spin) + 1} if spin % 1 == 0 else set())
            self.multiplicities.append((frozenset(readings - {0}), text))
        elif kind == "spin" and whole is not None and numbers is None:  # "singlet"
            self._multiplicity(whole, text)
        elif kind == "unpaired" and whole is not None and whole >= 0:
            self._multiplicity(whole + 1, text)
        elif kind == "moment" and numbers and len(numbers) == 1 and abs(numbers[0] - round(numbers[0])) < _NO_MOMENT:
            self._multiplicity(abs(round(numbers[0])) + 1, text)
        else:
            self.refused.append(text)

    def _of_atoms(self, kind: str, key: str, value: Any, text: str) -> None:
        """Charges or moments of the atoms: their sum states a charge, any moment an open shell."""
        self.of_atoms = True
        numbers = numbers_of(value)
        spins = kind == "moments" or "spin" in key.lower()
        if numbers is None or len(numbers) not in (1, len(self.numbers)):
            if kind != "atoms":  # else of a form of its own, and about atoms in any case
                self.refused.append(text)
        elif spins:
            if any(abs(number) >= _NO_MOMENT for number in numbers):
                self.vague.append(("spin", text))
        elif len(numbers) == len(self.numbers) and abs(sum(numbers)) >= _NEAR_WHOLE:
            if abs(sum(numbers) - round(sum(numbers))) >= _NEAR_WHOLE:
                self.refused.append(f"{text} (sum {sum(numbers):g})")
            else:
                self.charges.append((round(sum(numbers)), text))
        elif len(numbers) == 1 != len(self.numbers) and kind == "charges":
            self._number("charge", value, text)

    def _vague(self, key: str, value: Any, text: str) -> None:
        """A key that is about a charge or spin and is not known: nothing is stated by zero, false, or a singlet's 1."""
        numbers = numbers_of(value)
        nothing = {0.0, 1.0} if re.search("mult", key, re.IGNORECASE) else {0.0}
        if str(value).strip().lower() in ("f", "false", "n", "no", "none", "") or (numbers and set(numbers) <= nothing):
            return
        self.vague.append(("charge" if re.search("charge|chrg|ion", key, re.IGNORECASE) else "spin", text))

    def _other(self, key: str, value: Any, depth: int) -> None:
        """A value under a key that is about something else: a statement may stand in its text."""
        if not isinstance(value, str) or not _LETTER.search(value):
            return
        if len(value) > _LONGEST_REPEATED or not _says_nothing(key, value, depth):
            self._inside(key, value, depth)

    def _inside(self, key: str, value: str, depth: int) -> None:
        """The statements in the text of a value."""
        low = key.lower()
        if "smiles" in low or low in ("smile", "smi"):
            self._charge(charge_of_smiles(value), f"{key}={value}")
        elif "inchi" in low and "key" not in low:
            self._charge(charge_of_inchi(value), f"{key}={value}")
        elif ("formula" in low or low in _FORMULAS) and is_ion(value):
            self.vague.append(("charge", f"{key}={value}"))
        elif depth >= _DEEPEST:  # each value may hold another pair: the way down must end
            self._in_words(" ".join(value.split()), marked=True)
        elif low in _LABELS:
            self.label(value)
        elif (inner := json_object(value.removeprefix("_JSON "))) is not None:
            for name, item in members(inner):
                self.pair(name, item, depth + 1)
        else:
            comment = parse_comment(value)
            self._pairs(comment, depth + 1)
            self._words(comment.words, value)

    def _words(self, words: str, text: str) -> None:
        """Statements in free words, which stand in ``text``."""
        if len(words) > _LONGEST_WORDS:
            if re.search("charge|spin|multiplicity", words, re.IGNORECASE):
                self.refused.append(text)
            return
        if not MAY_STATE.search(words):
            return
        rest = self._in_words(words, marked=False)
        for pattern, add in (
            (BETWEEN_STATES, lambda m: None),
            (NAMED_STATE, lambda m: self._multiplicity(multiplicity_of_state(m["state"]) or 1, text)),
            (STATE_WORD, lambda m: self._multiplicity(MULTIPLICITIES.index(m["word"].lower()) + 1, text)),
            (CLOSED_SHELL, lambda m: self._multiplicity(1, text)),
            (NEUTRAL, lambda m: self.charges.append((0, text))),
            (ATOMIC_CHARGES, lambda m: None),
        ):
            rest = _taken(rest, pattern, add)
        for about, pattern in VAGUE_WORDS.items():
            if pattern.search(rest):
                self.vague.append((about, text))
        if is_ion(words) or begins_with_ion(words):
            self.vague.append(("charge", text))

    def _in_words(self, words: str, marked: bool) -> str:
        """Take "charge: 1" and the like ("charge 1" too, unless ``marked``) out of words, and give what is left."""
        rest = _taken(words, PAIR_IN_WORDS, lambda m: self._pair(m["charge"], m["multiplicity"], words))
        for kind, pattern in IN_WORDS.items():
            for match in pattern.finditer(rest):
                if match["sep"] or not marked:
                    self._number(kind, match["value"], match[0])
            rest = pattern.sub(" ", rest)
        return rest

    def _multiplicity(self, value: int, text: str) -> None:
        self.multiplicities.append((frozenset({value}), text))

    def _contradict(self, one: str, other: str) -> None:
        one_of_each = "state one charge and one multiplicity" if self.advice == _STATE_BOTH else self.advice
        detail = f"{quoted(one)} and {quoted(other)} contradict one another; {one_of_each}"
        raise EntryRefused(Reason.UNREADABLE, detail)


@lru_cache(maxsize=4096)  # the frames of a file share most values, which state nothing
def _says_nothing(key: str, value: str, depth: int) -> bool:
    """Whether no statement stands in the text of a value, for any atoms."""
    statements = _Statements(np.zeros(0, dtype=np.int64))
    statements._inside(key, value, depth)
    return not (statements.anything or statements.of_atoms)


def _taken(text: str, pattern: re.Pattern[str], add: Callable[[re.Match[str]], None]) -> str:
    """``text`` without what ``pattern`` finds, each find given to ``add``."""
    for match in pattern.finditer(text):
        add(match)
    return pattern.sub(" ", text)
