"""Patterns of charges and multiplicities in free words: "charge 1", "0 1", "a triplet", "NH4+"."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from qmgen.molecules.elements import number_of

MULTIPLICITIES: Final = ("singlet", "doublet", "triplet", "quartet", "quintet", "sextet", "septet", "octet", "nonet")

_BEFORE: Final = r"(?<![A-Za-z0-9])"
#: repeated a few times at most, for the time of a search is to grow with the text alone
_OWNER: Final = r"(?:(?:total|net|overall|formal|molecular|molecule|mol|system|spin)[\s_-]{1,3}){0,4}"
_IS: Final = r"""["')\]]*\s*(?P<sep>[:=]?)\s*["'(\[]*(?P<value>[+-]?\d[\d.]*(?:e[+-]?\d+)?[+-]?)(?![\w./-]*\w)"""
#: "Charge: 1" and "charge 1" in free words, by kind
IN_WORDS: Final = {
    "charge": re.compile(rf"{_BEFORE}{_OWNER}(?:charge|chrg|chg|q(?=\s*[:=])){_IS}", re.IGNORECASE),
    "multiplicity": re.compile(rf"{_BEFORE}{_OWNER}(?:multiplicity|mult?i?|2s\+1){_IS}", re.IGNORECASE),
    "spin": re.compile(rf"{_BEFORE}{_OWNER}(?:spin){_IS}", re.IGNORECASE),
    "unpaired": re.compile(rf"{_BEFORE}(?:uhf|unpaired electrons?){_IS}", re.IGNORECASE),
    "electrons": re.compile(rf"{_BEFORE}(?:n|num|number)[\s_.-]{{0,3}}(?:of\s+)?electrons?{_IS}", re.IGNORECASE),
    "spin squared": re.compile(rf"<S(?:\^|\*\*)?2>{_IS}", re.IGNORECASE),
}
PAIR_IN_WORDS: Final = re.compile(
    rf"{_BEFORE}(?:charge|chrg|q)\s*(?:/|,|and|&)?\s*(?:spin[\s_-]*)?mult(?:iplicity)?\s*[:=]?\s*[\[(]?"
    r"(?P<charge>[+-]?\d{1,4})[\s,;/|]+(?P<multiplicity>\d{1,4})(?![\w.])",
    re.IGNORECASE,
)
#: two whole numbers, alone or before a title that does not go on with a number
PAIR_FIRST: Final = re.compile(
    r"[\s(\[{]*(?P<charge>[+-]?\d+)[\s,;/|]+(?P<multiplicity>\d+)[)\]}]*(?:\s*$|[\s,;]+(?=[^\s\d.+-]))", re.ASCII
)
#: a title, and two whole numbers of which the first has a sign
PAIR_LAST: Final = re.compile(r"[^\d=]*\s(?P<charge>[+-]\d)[\s,;]+(?P<multiplicity>\d)\s*$", re.ASCII)
#: no statement about the molecule: "singlet-triplet gap"
BETWEEN_STATES: Final = re.compile(
    rf"{_BEFORE}(?:{'|'.join(MULTIPLICITIES)})s?\s?(?:[-\u2013/]|to)\s?(?:{'|'.join(MULTIPLICITIES)})s?(?![A-Za-z])",
    re.IGNORECASE,
)
STATE_WORD: Final = re.compile(rf"{_BEFORE}(?P<word>{'|'.join(MULTIPLICITIES)})s?(?![A-Za-z])", re.IGNORECASE)
#: "T1 state", "3B1 ground state"
NAMED_STATE: Final = re.compile(
    r"(?<!\w)(?P<state>[SDTQ]\d|\^?[1-9][ABE]\d?['\"]*)\s+(?:electronic\s+)?(?:ground\s+)?state(?!\w)"
)
CLOSED_SHELL: Final = re.compile(rf"{_BEFORE}(?:closed[\s-]shell|no unpaired electrons?)(?![A-Za-z])", re.IGNORECASE)
NEUTRAL: Final = re.compile(rf"{_BEFORE}(?:neutral|uncharged)(?![A-Za-z])", re.IGNORECASE)
#: charges of atoms, which are no statement
ATOMIC_CHARGES: Final = re.compile(
    rf"{_BEFORE}(?:(?:partial|atomic|mulliken|l(?:o|ö|oe)wdin|hirshfeld|r?esp|chelpg|npa|nbo|bader|cm5|gasteiger|mbis)"
    r"[\s_-]{1,3}){1,4}charges?(?![A-Za-z])",
    re.IGNORECASE,
)
#: words that tell of a charge or of unpaired electrons, but not how many, by what they are about
VAGUE_WORDS: Final = {
    "charge": re.compile(
        rf"charge[ds]?(?![A-Za-z])|{_BEFORE}(?:chrg|ioni[sz]ed|(?:mono|di|tri|poly|radical)?(?:cat|an)ion(?:ic|s)?)(?![A-Za-z])"
        r"|^\s*[+-]\d\s*$|(?<!\S)\d[+-]\s*$|[(\[{](?:[+-]\d|\d[+-])[)\]}]\s*$",
        re.IGNORECASE,
    ),
    "spin": re.compile(
        rf"{_BEFORE}(?:spins?|mult|multiplicity|unpaired|open[\s-]shell|(?:mono|di|bi|tri|poly)?radicals?)(?![A-Za-z])",
        re.IGNORECASE,
    ),
}
#: a formula with a charge: "SO4^2-", "NH4+", "SO4-2", "H2O +2", "H2O.+", "H2O^{2+}"; superscripts are made plain before
_ION: Final = re.compile(
    r"(?P<formula>(?:[A-Z][a-z]?\d*|[()\[\]])+?)"
    r"(?:[.*]?\^?[({]?\d?[+-][)}]?[.*]?|\^?\([+-]\d\)|\^\{?[+-]\d\}?|\s+[+-]\d|(?<=[\d\])])[+-]\d)",
    re.ASCII,
)
_LONGEST_FORMULA: Final = 40
_PLAIN_SIGNS: Final = str.maketrans({"\u2212": "-", "\u2013": "-", "\u2022": ".", "\u00b7": ".", "\u02d9": "."})
#: charges of the layers of an InChI: of the formula, and of protons that are added to it or taken away
_LAYERS: Final = re.compile(r"/[qp]([^/]*)", re.ASCII)
_LAYER_CHARGE: Final = re.compile(r"(?:(\d{1,2})\*)?([+-]\d{1,3})", re.ASCII)
#: the SMILES in "SMILES: [NH4+]"
SMILES_IN_WORDS: Final = re.compile(rf"{_BEFORE}(?:SMILES|smi)\s*:\s*(\S+)", re.IGNORECASE)
#: a state by the first letter of its multiplicity and a number (T1), or by its term symbol (3B1)
_STATE: Final = re.compile(
    r"(?:(?P<letter>[SDTQ])_?\d|(?:X~?)?\^?(?P<number>[1-9])\s*(?:[ABETU]|Sigma|Pi|Delta|Phi)\S*)"
)


def is_ion(text: str) -> bool:
    """Whether a text is one formula with a charge."""
    if len(text) > _LONGEST_FORMULA:
        return False
    plain = unicodedata.normalize("NFKC", text.strip().translate(_PLAIN_SIGNS)).translate(_PLAIN_SIGNS)
    found = _ION.fullmatch(plain)
    return found is not None and all(number_of(symbol) for symbol in re.findall("[A-Z][a-z]?", found["formula"]))


def begins_with_ion(text: str) -> bool:
    """Whether a title begins with the formula of an ion, of two elements or more: "NH4+ in water"."""
    first, _, rest = text.strip().partition(" ")
    return bool(rest) and len(re.findall("[A-Z][a-z]?", first)) > 1 and first not in _METHODS and is_ion(first)


#: what looks like an ion's formula and is none
_METHODS: Final = frozenset({"HF-", "HF+", "UHF+", "UHF-", "CC+", "CC-"})


def charge_of_inchi(text: str) -> int:
    """The net charge that the layers /q and /p of an InChI state together."""
    charges = [found for layer in _LAYERS.findall(text) for found in _LAYER_CHARGE.findall(layer)]
    return sum(int(times or 1) * int(charge) for times, charge in charges)


def charge_of_smiles(smiles: str) -> int:
    """The sum of the charges in the brackets of a SMILES."""
    charge = 0
    for sign, digits, more in re.findall(r"\[[^\[\]+-]*([+-])(\d{1,2})?([+-]*)(?::\d+)?\]", smiles):
        charge += (int(digits) if digits else 1 + len(more)) * (1 if sign == "+" else -1)
    return charge


def multiplicity_of_state(text: str) -> int | None:
    """The multiplicity of an electronic state such as T1, S0 or 3B1; None for any other text."""
    found = _STATE.fullmatch(text.strip())
    if found is None:
        return None
    return int(found["number"]) if found["number"] else {"S": 1, "D": 2, "T": 3, "Q": 4}[found["letter"]]
