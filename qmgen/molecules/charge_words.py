"""Charges and multiplicities by name and in words: patterns of free words, names of columns and keys, forms of values.

"charge 1", "0 1", "a triplet", "NH4+" in free words; ``total_charge``, ``uhf`` as names; 1, "+1", "2-", [1] as values.
"""

from __future__ import annotations

import math
import re
import unicodedata
from functools import lru_cache
from typing import Any, Final

import numpy as np

from qmgen.molecules.comment import key_words, word_set
from qmgen.molecules.geometry import number_of

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
#: words for a charge or for unpaired electrons without their number, by kind
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
#: what each pattern of free words needs, and the formula of an ion, so that most texts are searched once
MAY_STATE: Final = re.compile(
    r"ch|q|mul|2s|spin|uhf|unpaired|electron|<s|et|state|shell|neutral|ion|radical|[+-]|[^\x00-\x7f]", re.IGNORECASE
)
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
    ion = _ION.fullmatch(plain)
    return ion is not None and all(number_of(symbol) for symbol in re.findall("[A-Z][a-z]?", ion["formula"]))


def begins_with_ion(text: str) -> bool:
    """Whether a title begins with the formula of an ion, of two elements or more: "NH4+ in water"."""
    first, _, rest = text.strip().partition(" ")
    return bool(rest) and len(re.findall("[A-Z][a-z]?", first)) > 1 and first not in _METHODS and is_ion(first)


#: what looks like an ion's formula and is none
_METHODS: Final = frozenset({"HF-", "HF+", "UHF+", "UHF-", "CC+", "CC-"})


def charge_of_inchi(text: str) -> int:
    """The net charge that the layers /q and /p of an InChI state together."""
    charges = [term for layer in _LAYERS.findall(text) for term in _LAYER_CHARGE.findall(layer)]
    return sum(int(times or 1) * int(charge) for times, charge in charges)


def charge_of_smiles(smiles: str) -> int:
    """The sum of the charges in the brackets of a SMILES."""
    charge = 0
    for sign, digits, more in re.findall(r"\[[^\[\]+-]*([+-])(\d{1,2})?([+-]*)(?::\d+)?\]", smiles):
        charge += (int(digits) if digits else 1 + len(more)) * (1 if sign == "+" else -1)
    return charge


def multiplicity_of_state(text: str) -> int | None:
    """The multiplicity of an electronic state such as T1, S0 or 3B1; None for any other text."""
    state = _STATE.fullmatch(text.strip())
    if state is None:
        return None
    return int(state["number"]) if state["number"] else {"S": 1, "D": 2, "T": 3, "Q": 4}[state["letter"]]


_LONGEST_KEY: Final = 200
_WHOSE: Final = (
    "(?:total|tot|net|overall|formal|molecular|molecule|mol|system|sys|ref|dft|qm|qc|calc|target|pubchem|jchem|global"
    "|initial|info|atoms)*"
)
_SPIN_OF: Final = "(?:spin|electronic)?"
#: kinds of statements by the letters and digits of a key, in lower case
_KEYS: Final = {
    "pair": re.compile(r"(?:charge|chrg|chg|q)(?:and)?(?:spin)?(?:multiplicity|mult|spin)"),
    "charge": re.compile(
        rf"{_WHOSE}(?:charge|chrg|chg)(?:state|total|net|tot|e|int|ofthe(?:smiles|molblock))?"
        rf"|{_WHOSE}q(?:tot|total|net)?"
    ),
    "multiplicity": re.compile(rf"{_WHOSE}{_SPIN_OF}{_WHOSE}(?:multiplicity|multip|mult?i?)|2s1"),
    "spin": re.compile(rf"{_WHOSE}spin(?:state|total|tot|quantumnumber)?"),
    "unpaired": re.compile(
        r"(?:n|nr|no|num|number|numberof)?(?:unpaired(?:electrons?|e|els?|spins?)?|radicalelectrons?)|uhf|nopen|2s|twos|spin2s"
    ),
    "moment": re.compile(rf"{_WHOSE}(?:magmom|magneticmoment|magneti[sz]ation)"),
    "charges": re.compile(rf"{_WHOSE}charges"),
    "moments": re.compile(rf"{_WHOSE}(?:magmoms|magneticmoments|spins|mags?)"),
    "electrons": re.compile(r"(?:total|tot)?(?:n|nr|no|num|number)(?:of)?(?:total|tot)?(?:electrons?|elecs?)"),
    "flag": re.compile(
        r"(?:is|has)?(?:openshell|(?:mono|di|bi|poly)?radicals?|radical(?:cat|an)?ion|(?:mono|di|poly)?(?:cat|an)?ion(?:ic)?)"
    ),
    "state": re.compile(r"(?:electronic|elec|ground|excited)?state|term(?:symbol)?"),
    "short multiplicity": re.compile("m"),
    "spin quantum number": re.compile("s|sz"),
    "spin squared": re.compile("s2|ssquared|spinsquared"),
}
#: words in a key that make it about atoms, or about how a charge was found
_OF_ATOMS: Final = word_set(
    "partial atomic atom mulliken lowdin loewdin hirshfeld esp resp chelpg npa nbo bader cm5 ddec ddec6 gasteiger mbis "
    "peoe mmff mmff94 iao natural becke vdd eeq density densities population populations"
)
#: words in a key that make it about something else: a unit, a nucleus, another state of protonation, a hint as in
#: ``spin_hint`` of a corpus
_BESIDE: Final = word_set(
    "unit units ph physiological isoelectric nuclear nucleus core valence effective group hint no nr id lot batch "
    "center centers centre centres centroid"
)
#: what keys of one or two letters state in a comment, where it is plausible; columns of tables have too many such names
_OF_COMMENTS: Final = ("short multiplicity", "spin quantum number", "spin squared")
#: words that end with "charge" and are about something else
_NO_CHARGE: Final = re.compile(r"(?:sur|dis|re|super|over|under|pre)charges?")
#: without one of these a name is short, and may be that of something else, as ``q`` and ``UHF``
_LONG_NAME: Final = re.compile("charge|multiplicity|unpaired|electron|mag|moment")
#: a lot ("Charge" in German), an identifier
_LOT: Final = re.compile(r"[A-Za-z]{1,4}[-_ ]?\d{3,}[A-Za-z]?", re.ASCII)
_KEY_NUMBER: Final = re.compile(r"[+-]?[\d./]+|[+-]?(?:nan|inf)", re.IGNORECASE)
_SMALL: Final = re.compile(r"[+-]?\d(?:\.0*)?|\d[+-]|[A-Za-z]{5,8}", re.ASCII)


def names_charge(key: str, of_atoms: bool = True) -> bool:
    """Whether a column of this name states a charge or multiplicity, or may do so: then its values are to be read.

    Without ``of_atoms`` columns about the charges or moments of atoms do not count.
    """
    kind = kind_of_key(key)
    if kind == "state" and key.lower() == "state":
        return False
    return kind not in (None, "beside", *_OF_COMMENTS, *(() if of_atoms else ("atoms", "charges", "moments")))


def of_atoms(key: str) -> str | None:
    """ "charges" or "magmoms" where a column with a value for each atom holds such by its name; None for others."""
    kind = kind_of_key(key)
    if kind not in ("charge", "charges", "spin", "moment", "moments", "atoms"):
        return None
    return "magmoms" if kind in ("spin", "moment", "moments") or "spin" in key.lower() else "charges"


def counts_in_table(key: str, value: Any) -> bool:
    """Whether a value under the name of a column may be what the name states.

    Under a short name (``q``, ``mult``, ``UHF``), which may be that of anything, only a small whole number or the name
    of a multiplicity is; a lot number under "Charge" is not.
    """
    kind, text = kind_of_key(key), str(value).strip()
    if kind == "charge" and _LOT.fullmatch(text):
        return False
    if kind not in ("charge", "multiplicity", "spin", "unpaired") or _LONG_NAME.search("".join(key_words(key))):
        return True
    if kind == "spin":
        return _KEY_NUMBER.fullmatch(text) is not None or text.lower() in MULTIPLICITIES
    return _SMALL.fullmatch(text) is not None and (not text.isalpha() or text.lower() in (*MULTIPLICITIES, "neutral"))


def kind_of_key(key: str) -> str | None:
    """What a key states: a key of ``_KEYS``, "atoms" (of each atom), "vague", "beside" (the point); None for others."""
    return _kind_of(key[:_LONGEST_KEY])


@lru_cache(maxsize=4096)  # the frames of a file have the same keys
def _kind_of(key: str) -> str | None:
    parts = key_words(re.sub("pH(?![a-z])", " ph ", key))
    fused, words = "".join(parts), set(parts)
    for kind, pattern in _KEYS.items():
        if pattern.fullmatch(fused):
            return kind
    charge = any("charge" in part and not _NO_CHARGE.fullmatch(part) for part in parts)
    if not (charge or "multiplicity" in fused or words & {"chrg", "spin", "spins", "mult", "unpaired"}):
        return None
    if words & _BESIDE:
        return "beside"
    return "atoms" if words & _OF_ATOMS else "vague"


#: <S^2> is that of a pure spin state within this
_PURE: Final = 0.05
#: the largest total spin and multiplicity that a key of one letter states; larger ones are something else
_LARGEST_SPIN: Final = 5
_LARGEST_MULTIPLICITY: Final = 9
#: elements beyond this atomic number are computed without their core, so that programs count fewer electrons
_ALL_ELECTRONS: Final = 36
#: electrons in the core of an element, up to the atomic number
_CORES: Final = ((2, 0), (10, 2), (18, 10), (30, 18), (36, 28))
_VALUE_NUMBER: Final = re.compile(r"[+-]?(?:\d{1,6}\.?\d{0,20}|\.\d{1,20})(?:[eE][+-]?\d{1,2})?", re.ASCII)
_SIGN_LAST: Final = re.compile(r"(\d{1,2})([+-])", re.ASCII)


def numbers_of(value: Any) -> list[float] | None:
    """A value as numbers: one, or a list of them, in text too; None if it is anything else."""
    if isinstance(value, str):
        fields = re.split(r"[\s,;]+", value.strip("()[]{}\"',; \t"))
        return [float(f) for f in fields] if all(_VALUE_NUMBER.fullmatch(f) for f in fields) else None
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


def whole_of(value: Any) -> int | None:
    """A value as one whole number: 1, "+1", "1.0", "2-", [1], "neutral", "triplet"; None if it is anything else."""
    if isinstance(value, str):
        text = value.strip("()[]{}\"',; \t")
        if sign_last := _SIGN_LAST.fullmatch(text):
            return int(sign_last[2] + sign_last[1])
        if text.lower() == "neutral":
            return 0
        if text.lower() in MULTIPLICITIES:
            return MULTIPLICITIES.index(text.lower()) + 1
    numbers = numbers_of(value)
    if numbers is None or len(numbers) != 1 or abs(numbers[0]) > 1e4 or numbers[0] != round(numbers[0]):
        return None
    return round(numbers[0])


def multiplicity_of_short(kind: str, number: float) -> int | None:
    """The multiplicity that a number states under a key of one or two letters: M, S or S2; None where it cannot."""
    if kind == "short multiplicity":
        return round(number) if number in range(1, _LARGEST_MULTIPLICITY + 1) else None
    if kind == "spin quantum number":
        return round(2 * number) + 1 if 0 <= number <= _LARGEST_SPIN and (2 * number) % 1 == 0 else None
    pure = [m for m in range(1, 2 * _LARGEST_SPIN + 2) if abs(number - (m * m - 1) / 4) <= _PURE]
    return pure[0] if pure else None


def may_be_electrons(stated: int, numbers: np.ndarray, charge: int, valence: bool) -> bool:
    """Whether a source may count ``stated`` electrons for atomic numbers (atoms,) and a net charge.

    With ``valence`` these may be the valence electrons. Of heavy elements programs leave out various cores, so that any
    number may be right.
    """
    if int(numbers.max(initial=0)) > _ALL_ELECTRONS:
        return True
    count = int(numbers.sum()) - charge
    cores = sum(next(core for last, core in _CORES if number <= last) for number in numbers.tolist())
    return stated == count or (valence and stated == count - cores)
