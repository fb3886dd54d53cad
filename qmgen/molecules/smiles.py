"""The text of a SMILES: what it may hold, its canonical form, and the molecule that it describes.

Atom-map numbers and isotopes do not make molecules: within the Born-Oppenheimer approximation the labels of ``[2H]C``,
``[CH3:1][H]`` and ``C`` are the same. They are taken out of the text before RDKit reads it, so that what is left is
read as if they had never been written. Stereo that exists by labels alone (CHDTOH) goes with them. What RDKit would
read as something else than was meant is named and refused.

References:
OpenSMILES: http://opensmiles.org/opensmiles.html, version 1.0.
CXSMILES: ChemAxon Extended SMILES and SMARTS, the block ``|...|`` after a SMILES.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import numpy as np

from qmgen.molecules.geometry import electrons_problem
from qmgen.molecules.types import EntryRefused, Failure, Molecule, Reason, failure, one_line

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
#: parts of a CXSMILES block that leave the molecule that of its SMILES
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


#: longer SMILES are refused: far beyond any molecule this program can label
LONGEST_SMILES = 4096
#: what makes a text a query of SMARTS: an operator, a bond of any ring, or a primitive in brackets. RDKit reads other
#: texts as queries too, such as "nan" and "N/A"
_QUERY: Final = re.compile(r"[!&;,]|@(?![^\[]*\])|\[R\]|\[[^\]]*[DXvxrRh]\d")


@contextmanager
def quiet_chem() -> Iterator[Any]:
    """RDKit's ``Chem`` module, with RDKit's log to standard error held back while the block runs."""
    from rdkit import Chem, rdBase

    with rdBase.BlockLogs():
        yield Chem


def elements_of(mol: Any) -> np.ndarray:
    """Atomic numbers (atoms,) uint8 of an RDKit molecule, in the order of its atoms."""
    return np.array([atom.GetAtomicNum() for atom in mol.GetAtoms()], dtype=np.uint8)


def bonds_of(mol: Any) -> list[tuple[int, int]]:
    """The places of the two atoms of each bond of an RDKit molecule."""
    return [(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()) for bond in mol.GetBonds()]


def remove_labels(mol: Any) -> Any:
    """``mol`` itself, an RDKit molecule, after its atom-map numbers and isotopes were taken out."""
    for atom in mol.GetAtoms():
        atom.SetAtomMapNum(0)
        atom.SetIsotope(0)
    return mol


def why_unreadable(chem: Any, mol: Any, what: str) -> str:
    """Why RDKit refuses ``mol`` (parsed without sanitizing; None when even that failed)."""
    if mol is None:
        return f"not {what} that RDKit can read"
    try:
        chem.SanitizeMol(mol)
    except ValueError as error:
        return str(error)
    return f"not {what} that RDKit accepts"


def graph_problem(mol: Any) -> tuple[Reason, str] | None:
    """Why an RDKit molecule is outside what can be labeled: placeholder atoms, net charge, unpaired electrons."""
    numbers = elements_of(mol)
    if not len(numbers):
        return Reason.UNREADABLE, "no atoms"
    if 0 in numbers:
        return Reason.UNSUPPORTED_ELEMENT, "a placeholder atom (*) stands for no element"
    charge = sum(atom.GetFormalCharge() for atom in mol.GetAtoms())
    hydrogens = sum(atom.GetTotalNumHs() for atom in mol.GetAtoms())
    problem = electrons_problem(np.array([*numbers, hydrogens]), charge)
    if problem is None and (radicals := sum(atom.GetNumRadicalElectrons() for atom in mol.GetAtoms())):
        return Reason.ODD_ELECTRONS, f"{radicals} unpaired electrons; only closed shells are labelled"
    return problem


def bond_problem(mol: Any) -> tuple[Reason, str] | None:
    """The first bond without an order of its own: a query, or aromatic between atoms that are not."""
    for bond in mol.GetBonds():
        kind = bond.GetBondType().name
        if kind not in ("AROMATIC", "UNSPECIFIED", "ZERO", "OTHER"):
            continue
        one, other = bond.GetBeginAtom(), bond.GetEndAtom()
        if kind != "AROMATIC":
            what = "is of any order (~)"
        elif not (one.GetIsAromatic() and other.GetIsAromatic()):
            what = "is aromatic (:), and its atoms are not"
        else:
            continue
        pair = f"{one.GetSymbol()}{one.GetIdx() + 1} and {other.GetSymbol()}{other.GetIdx() + 1}"
        return (
            Reason.UNREADABLE,
            f"the bond of {pair} {what}; write the bond that is meant, or give the geometry as .xyz",
        )
    return None


def mixture_problem(chem: Any, mol: Any) -> tuple[Reason, str] | None:
    """Why a SMILES of several molecules is not embedded: their places to one another are not known."""
    pieces = str(chem.MolToSmiles(mol)).split(".")
    if len(pieces) == 1:
        return None
    salt = ", a salt" if any("+" in piece for piece in pieces) else ""
    named = one_line(" and ".join(pieces), 100)
    detail = f"a mixture of {len(pieces)} molecules{salt}: {named}; give the one that is meant, or the geometry of all"
    return Reason.MIXTURE, detail


def of_geometry(smiles: str) -> tuple[str, tuple[Reason, str] | None]:
    """The canonical form of the SMILES that goes with a given geometry, and what is wrong with the molecule.

    Isotopes and atom-map numbers are left out, as in ``from_smiles``. One that RDKit cannot read stays as it is;
    ``from_geometry`` refuses it.
    """
    if not smiles:
        return smiles, None
    with quiet_chem() as chem:
        mol = chem.MolFromSmiles(without_labels(smiles))
        if mol is None:
            return smiles, None
        problem = graph_problem(mol) or (bond_problem(mol) if ":" in smiles or "~" in smiles else None)
        return smiles if problem else canonical_smiles(chem, mol), problem


def unlabeled(smiles: str) -> str:
    """A canonical SMILES without isotopes and atom-map numbers, canonical again; itself where it has none."""
    return smiles if without_labels(smiles) == smiles else of_geometry(smiles)[0]


def from_smiles(molecule_id: int, text: str, name: str) -> Molecule | Failure:
    """The molecule that a SMILES describes, with its canonical SMILES, or why there is none.

    Isotopes and atom-map numbers are left out: they make no molecule of their own. A CXSMILES block ("CC |...|") is
    read as far as it leaves the molecule that of the SMILES. In a failure ``smiles`` is the text as given.
    """
    smiles, block = split_extension(text)
    try:
        return Molecule(molecule_id, name, _canonical_of(smiles, block))
    except EntryRefused as error:
        shown = one_line(text, LONGEST_SMILES) if block else text
        shown = one_line(shown) if len(smiles) > LONGEST_SMILES else shown if smiles else ""
        return failure(molecule_id, name, shown, error.reason, str(error))


def _canonical_of(smiles: str, block: str) -> str:
    """The canonical SMILES of a molecule; ``block`` is that of CXSMILES. Raises ``EntryRefused``."""
    if len(smiles) > LONGEST_SMILES:
        raise EntryRefused(Reason.UNREADABLE, f"SMILES of more than {LONGEST_SMILES} characters")
    if not smiles:
        raise EntryRefused(Reason.UNREADABLE, "no SMILES")
    if not smiles.isascii():  # RDKit reads up to such a character and ignores the rest, as with the next two
        raise EntryRefused(Reason.UNREADABLE, "not a SMILES: it holds characters beyond ASCII")
    if not smiles.isprintable():
        mark = next(repr(character) for character in smiles if not character.isprintable())
        raise EntryRefused(Reason.UNREADABLE, f"not a SMILES: it holds a control character ({mark})")
    if " " in smiles:  # RDKit takes what follows for a name
        raise EntryRefused(Reason.UNREADABLE, "not a SMILES: it holds a space")
    if problem := (extension_problem(block) if block else None) or syntax_problem(smiles):
        raise EntryRefused(*problem)
    plain = without_labels(smiles)
    with quiet_chem() as chem:
        mol = chem.MolFromSmiles(plain)
        if mol is None:
            raw = chem.MolFromSmiles(plain, sanitize=False)
            is_query = raw is None and _QUERY.search(plain) is not None and chem.MolFromSmarts(plain) is not None
            why = "a query of SMARTS, not a SMILES" if is_query else why_unreadable(chem, raw, "a SMILES")
            raise EntryRefused(Reason.UNREADABLE, why)
        problem = graph_problem(mol)
        problem = problem or (bond_problem(mol) if ":" in plain else None)
        if problem := problem or (mixture_problem(chem, mol) if "." in plain else None):
            raise EntryRefused(*problem)
        return canonical_smiles(chem, mol)


def canonical(text: str) -> str | None:
    """The canonical SMILES of ``text``; None where RDKit reads no molecule in it."""
    with quiet_chem() as chem:
        return _canonical(chem, text)


def canonical_set(texts: Iterable[str]) -> set[str]:
    """The canonical SMILES of ``texts``, some fifteen thousand a second; without what is no molecule."""
    with quiet_chem() as chem:
        return {smiles for text in texts if (smiles := _canonical(chem, text)) is not None}


def _canonical(chem: Any, text: str) -> str | None:
    if not text or len(text) > LONGEST_SMILES or not text.isascii() or syntax_problem(text):
        return None
    mol = chem.MolFromSmiles(without_labels(text))
    return canonical_smiles(chem, mol) if mol is not None and mol.GetNumAtoms() else None
