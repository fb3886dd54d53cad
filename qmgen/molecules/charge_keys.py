"""Names of columns and keys that are about the charge or spin of a molecule, and what each is about."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from qmgen.molecules.xyz_comment import word_set

_LONGEST_KEY: Final = 200
_WHOSE: Final = (
    "(?:total|tot|net|overall|formal|molecular|molecule|mol|system|sys|ref|dft|qm|qc|calc|target|pubchem|jchem|global"
    "|initial|info|atoms)*"
)
_SPIN_OF: Final = "(?:spin|electronic)?"
#: kinds of statements by the letters and digits of a key, in lower case
_KEYS: Final = {
    "pair": re.compile(r"(?:charge|chrg|q)(?:and)?(?:spin)?(?:multiplicity|mult|spin)"),
    "charge": re.compile(
        rf"{_WHOSE}(?:charge|chrg|chg)(?:state|total|net|tot|e|int|ofthe(?:smiles|molblock))?"
        rf"|{_WHOSE}q(?:tot|total|net)?"
    ),
    "multiplicity": re.compile(rf"{_WHOSE}{_SPIN_OF}{_WHOSE}(?:multiplicity|mult|multip)|2s1"),
    "spin": re.compile(rf"{_WHOSE}spin(?:state|total|tot|quantumnumber)?"),
    "unpaired": re.compile(
        r"(?:n|nr|no|num|number|numberof)?(?:unpaired(?:electrons?|e|els?|spins?)?|radicalelectrons?)|uhf|nopen|2s|twos|spin2s"
    ),
    "moment": re.compile(rf"{_WHOSE}(?:magmom|magneticmoment|magneti[sz]ation)"),
    "charges": re.compile(rf"{_WHOSE}charges"),
    "moments": re.compile(rf"{_WHOSE}(?:magmoms|magneticmoments|spins)"),
}
#: words in a key that make it about atoms, or about how a charge was found
_OF_ATOMS: Final = word_set(
    "partial atomic atom mulliken lowdin loewdin hirshfeld esp resp chelpg npa nbo bader cm5 ddec ddec6 gasteiger mbis "
    "peoe mmff mmff94 iao natural becke vdd eeq density densities population populations"
)
#: words in a key that make it about something else: a unit, a nucleus, another state of protonation, a hint as in
#: ``spin_hint`` of a corpus
_BESIDE: Final = word_set("unit units ph physiological isoelectric nuclear nucleus core valence effective group hint")


def names_charge(key: str, of_atoms: bool = True) -> bool:
    """Whether a column of this name states a charge or multiplicity, or may do so: then its values are to be read.

    Without ``of_atoms`` columns about the charges or moments of atoms do not count.
    """
    kind = kind_of_key(key)
    return kind not in (None, "beside", *(() if of_atoms else ("atoms", "charges", "moments")))


def of_atoms(key: str) -> str | None:
    """ "charges" or "magmoms" where a column with a value for each atom holds such by its name; None for others."""
    kind = kind_of_key(key)
    if kind is None or kind in ("beside", "vague", "unpaired", "multiplicity", "pair"):
        return None
    return "magmoms" if kind in ("spin", "moment", "moments") or "spin" in key.lower() else "charges"


def _parts(key: str) -> list[str]:
    return re.findall(r"[a-z]+|\d+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", key).lower())


def kind_of_key(key: str) -> str | None:
    """What a key states: a key of ``_KEYS``, "atoms" (of each atom), "vague", "beside" (the point); None for others."""
    return _kind_of(key[:_LONGEST_KEY])


@lru_cache(maxsize=4096)  # the frames of a file have the same keys
def _kind_of(key: str) -> str | None:
    parts = _parts(key)
    fused, words = "".join(parts), set(parts)
    for kind, pattern in _KEYS.items():
        if pattern.fullmatch(fused):
            return kind
    if not ("charge" in fused or "multiplicity" in fused or words & {"chrg", "spin", "spins", "mult", "unpaired"}):
        return None
    if words & _BESIDE:
        return "beside"
    return "atoms" if words & _OF_ATOMS else "vague"
