"""Names of columns and keys that are about the charge or spin of a molecule, and what each is about."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final

from qmgen.molecules.charge_words import MULTIPLICITIES
from qmgen.molecules.xyz_comment import key_words, word_set

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
_NUMBER: Final = re.compile(r"[+-]?[\d./]+|[+-]?(?:nan|inf)", re.IGNORECASE)
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
    """Whether a value under the name of a column may be what the name says.

    Under a short name (``q``, ``mult``, ``UHF``), which may be that of anything, only a small whole number or the name
    of a multiplicity is; a lot number under "Charge" is not.
    """
    kind, text = kind_of_key(key), str(value).strip()
    if kind == "charge" and _LOT.fullmatch(text):
        return False
    if kind not in ("charge", "multiplicity", "spin", "unpaired") or _LONG_NAME.search("".join(key_words(key))):
        return True
    if kind == "spin":
        return _NUMBER.fullmatch(text) is not None or text.lower() in MULTIPLICITIES
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
