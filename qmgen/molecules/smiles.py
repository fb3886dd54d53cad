"""What a SMILES says of a molecule: labels left out, and what RDKit would read as something else named and refused.

Atom-map numbers and isotopes do not make molecules: within the Born-Oppenheimer approximation the labels of ``[2H]C``,
``[CH3:1][H]`` and ``C`` are the same. They are taken out of the text before RDKit reads it, so that what is left is
read as if they had never been written. Stereo that exists by labels alone (CHDTOH) goes with them.

References:
OpenSMILES: http://opensmiles.org/opensmiles.html, version 1.0.
CXSMILES: ChemAxon Extended SMILES and SMARTS, the block ``|...|`` after a SMILES.
"""

from __future__ import annotations

import re
from typing import Any, Final

from qmgen.molecules.types import Reason

#: a longer block of CXSMILES is refused: coordinates of all atoms of the longest SMILES are shorter
LONGEST_EXTENSION: Final = 262_144

#: an atom in brackets with an isotope in front or an atom-map number behind: what stands between the two
_LABELLED: Final = re.compile(r"\[\d*([^\[\]:\d][^\[\]:]*)(?::\d+)?\]")
_HAS_LABEL: Final = re.compile(r"\[\d|:\d+\]|\[[DT][:+\-\]]")
#: the two isotopes with symbols of their own
_HEAVY_HYDROGEN: Final = re.compile(r"\[[DT](?=[:+\-\]])")

#: what RDKit accepts in a SMILES beyond OpenSMILES, or reads as another molecule than was meant
_REFUSED: Final = (
    (re.compile(r"(?<!-)>"), "a reaction (>), not a molecule; give its molecules one by one"),
    (re.compile(r"->|<-"), "a dative bond (-> or <-); write it with charges ([NH3+][BH3-]), or give the geometry"),
    (re.compile(r"~"), "a bond of any order (~), a query of SMARTS; write the bond that is meant"),
    (re.compile(r"\[\d*#"), "an atom by number ([#6]), a query of SMARTS; write its symbol and its hydrogens"),
    (re.compile(r"\$\("), "a recursive query ($(...)) of SMARTS, not a molecule"),
    (re.compile(r"\$"), "a quadruple bond ($), for which there is no embedding; give the geometry"),
)

#: parts of a CXSMILES block that leave the molecule what its SMILES says
_HARMLESS: Final = re.compile(
    r"\((?P<coordinates>[^()]*)\)"
    r"|\$_AV:[^$]*\$"  # values of atoms
    r"|\$;*\$"  # labels, all empty
    r"|a:\d+(?:,\d+)*"  # stereo groups of which the SMILES gives the absolute configuration
    r"|atomProp(?::\d+\.[^:,]*)+"
)
#: what the others are, by how they begin
_EXTENSIONS: Final = (
    (re.compile(r"\^"), "radicals (^)"),
    (re.compile(r"\$"), "labels that may stand in place of atoms ($...$)"),
    (
        re.compile(r"(?:&|o)\d*:|r(?:,|$)"),
        "a mixture or choice of stereoisomers (&, o, r); give one isomer, or no marks",
    ),
    (re.compile(r"S[gG]"), "a polymer or another group (Sg)"),
    (re.compile(r"w"), "wedges (w)"),
    (re.compile(r"(?:c|t|ctu):"), "stereo of double bonds (c, t)"),
    (re.compile(r"[CHZ]:|coordB|THB"), "bonds beyond the SMILES (C, H, Z)"),
    (re.compile(r"m:"), "bonds to several atoms (m)"),
    (re.compile(r"f:"), "grouped fragments (f)"),
    (re.compile(r"lp:"), "lone pairs (lp)"),
    (re.compile(r"(?:s|u|rb|LN|RG|LO):"), "a query (s, u, rb, LN, RG, LO)"),
)


def without_labels(smiles: str) -> str:
    """The SMILES without isotopes and atom-map numbers: the text itself where it has none."""
    if not _HAS_LABEL.search(smiles):
        return smiles
    return _LABELLED.sub(r"[\1]", _HEAVY_HYDROGEN.sub("[H", smiles))


def syntax_problem(smiles: str) -> tuple[Reason, str] | None:
    """Why a text that RDKit may accept is no SMILES of a molecule, with the name of what it holds."""
    for pattern, what in _REFUSED:
        if pattern.search(smiles):
            return Reason.UNREADABLE, f"not a SMILES of a molecule: {what}"
    return None


def split_extension(text: str) -> tuple[str, str]:
    """A SMILES and the CXSMILES block ``|...|`` after it, with what follows that; empty where there is none."""
    smiles, bar, rest = text.partition("|")
    if not bar or not smiles[-1:].isspace():
        return text, ""
    return smiles.rstrip(), bar + rest


def extension_problem(block: str) -> tuple[Reason, str] | None:
    """Why a CXSMILES block makes another molecule of a SMILES; None where it only draws or describes it."""
    if len(block) > LONGEST_EXTENSION:
        return Reason.UNREADABLE, f"a CXSMILES block of more than {LONGEST_EXTENSION} characters"
    if len(block) < 2 or block.find("|", 1) != len(block) - 1:
        return Reason.UNREADABLE, f"what follows the SMILES begins as a CXSMILES block and is none: {block}"
    at, end = 1, len(block) - 1
    while at < end:
        part = _HARMLESS.match(block, at, end)
        if part is None or block[part.end()] not in ",|":
            return _refused_part(block[at:end])
        if part["coordinates"] is not None and not _is_flat(part["coordinates"]):
            detail = "the CXSMILES block holds positions in space; give the geometry as .sdf or .xyz"
            return Reason.UNREADABLE, detail
        at = part.end() + 1
    return None


def _refused_part(part: str) -> tuple[Reason, str]:
    what = next((name for pattern, name in _EXTENSIONS if pattern.match(part)), "what is not understood")
    reason = Reason.ODD_ELECTRONS if part.startswith("^") else Reason.UNREADABLE
    more = "; only closed shells are labelled" if part.startswith("^") else ""
    return reason, f"the CXSMILES block holds {what}{more}: {part}"


def _is_flat(coordinates: str) -> bool:
    """Whether coordinates ("x,y,z;x,y,z") are those of a drawing: no z, or zero."""
    thirds = [point.split(",")[2] for point in coordinates.split(";") if point.count(",") >= 2]
    try:
        return all(float(z) == 0 for z in thirds if z.strip())
    except ValueError:
        return False


def canonical_smiles(chem: Any, mol: Any) -> str:
    """The canonical SMILES of an RDKit molecule, the same whether its hydrogens are written or not.

    RDKit keeps a written hydrogen that carries the mark of a double bond, as it must in ``[H]/N=C/C``; but in
    ``[H]/C=C/C`` there is nothing to mark, and ``[HH]`` and ``[H][H]`` are two texts of one molecule.
    """
    smiles = str(chem.MolToSmiles(mol))
    if "[H]" not in smiles and smiles != "[HH]":
        return smiles
    again = chem.MolFromSmiles(chem.MolToSmiles(chem.AddHs(mol)))
    if again is None:
        return smiles
    other = str(chem.MolToSmiles(again))
    return other if smiles == "[HH]" or other.count("[H]") < smiles.count("[H]") else smiles
