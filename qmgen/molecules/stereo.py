"""Stereoisomers of a SMILES that leaves stereo centres or double bonds open, and the SMILES that all of them share."""

from __future__ import annotations

import random

from qmgen.molecules.embedding import EmbeddingRefused, conformer_seed
from qmgen.molecules.entries import quiet_chem


def isomers(smiles: str, limit: int, seed: int) -> list[str]:
    """Canonical SMILES of the stereoisomers, sorted; ``smiles`` itself where nothing is open.

    What counts as open is RDKit's ``EnumerateStereoisomers``: tetrahedral centres, nitrogen in small rings among them,
    and double bonds, but neither axes of allenes nor C=N with the hydrogen implicit. Marks that are given stay. Each
    isomer is tried in ETKDG, and one that finds no geometry (a trans bridge) is not an isomer. Of more than ``limit``,
    a random ``limit``, seeded by this molecule alone.

    Raises ``EmbeddingRefused`` when not one isomer finds a geometry.
    """
    with quiet_chem() as chem:
        from rdkit.Chem import EnumerateStereoisomers as enumeration

        mol = chem.MolFromSmiles(smiles)
        options = enumeration.StereoEnumerationOptions(
            tryEmbedding=True, unique=True, maxIsomers=limit, rand=random.Random(conformer_seed(seed, smiles, -1))
        )
        if mol is None or enumeration.GetStereoisomerCount(mol, options) == 1:
            return [smiles]
        found = {
            _canonical(chem, chem.MolToSmiles(isomer)) for isomer in enumeration.EnumerateStereoisomers(mol, options)
        }
    if not found:
        raise EmbeddingRefused("ETKDG found no geometry for any of its stereoisomers")
    return sorted(found)


def without_stereo(smiles: str) -> str:
    """The canonical SMILES of the molecule without marks of stereochemistry; ``smiles`` where RDKit cannot read it."""
    with quiet_chem() as chem:
        mol = chem.MolFromSmiles(smiles)
        if mol is None:
            return smiles
        chem.RemoveStereochemistry(mol)
        # a hydrogen that carried the mark of a double bond ([H]/N=C/C) is written like any other now
        return _canonical(chem, chem.MolToSmiles(chem.RemoveHs(mol)))


def _canonical(chem: object, smiles: str) -> str:
    """The SMILES as a reader would make it, from a molecule that has no other history."""
    return str(chem.MolToSmiles(chem.MolFromSmiles(smiles)))  # type: ignore[attr-defined]
