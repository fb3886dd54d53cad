"""Three-dimensional geometries from SMILES: RDKit's distance geometry, seeded, in the calling process.

RDKit can fail, hang or crash on a molecule; ``embedding_pool`` runs this in a worker that can be replaced.

References:
ETKDGv3: S. Wang, J. Witek, G. A. Landrum, S. Riniker, J. Chem. Inf. Model. 60, 2044 (2020).
ETKDG, version 1: S. Riniker, G. A. Landrum, J. Chem. Inf. Model. 55, 2562 (2015).
"""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

import numpy as np

from qmgen.molecules.entries import quiet_chem
from qmgen.molecules.geometry import bohr_from_angstrom
from qmgen.molecules.types import Reason


class Embedding(NamedTuple):
    """``numbers`` (atoms,) uint8 and for each conformer its positions (atoms, 3) float64 in Bohr, or None."""

    numbers: np.ndarray
    positions: list[np.ndarray | None]


class EmbeddingRefused(ValueError):
    """This SMILES is nothing to embed: what to tell the user, and under which reason."""

    def __init__(self, why: str, reason: Reason = Reason.EMBEDDING_FAILED) -> None:
        super().__init__(why)
        self.reason = reason


def why_refused(error: Exception) -> tuple[Reason, str]:
    """The failure that an exception of an embedding stands for."""
    reason = error.reason if isinstance(error, EmbeddingRefused) else Reason.EMBEDDING_FAILED
    return reason, str(error) or type(error).__name__


def conformer_seed(seed: int, smiles: str, conformer_id: int) -> int:
    """The seed of one conformer, 0 to 2³¹-2: a hash of the run's seed and of this molecule alone."""
    text = f"{seed}\n{conformer_id}\n{smiles}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big") % (2**31 - 1)


def embed(smiles: str, count: int, seed: int) -> Embedding:
    """``count`` geometries of a canonical SMILES by ``etkdg3``, no relaxation.

    Raises ``EmbeddingRefused`` for what is not one molecule.
    """
    mol = with_hydrogens(smiles)
    etkdg3(mol, smiles, count, seed)
    return Embedding(atomic_numbers(mol), positions(mol, count))


def with_hydrogens(smiles: str) -> Any:
    """RDKit's molecule with all its hydrogens, without a geometry. Raises ``EmbeddingRefused``: not one molecule."""
    with quiet_chem() as chem:
        mol = chem.MolFromSmiles(smiles)
        if mol is None:
            raise EmbeddingRefused("not a SMILES that RDKit accepts")
        if len(chem.GetMolFrags(mol)) != 1:
            why = "a mixture: several molecules in one SMILES; give one, or give the geometry of the complex"
            raise EmbeddingRefused(why, Reason.MIXTURE)
        return chem.AddHs(mol)


def etkdg3(mol: Any, smiles: str, count: int, seed: int) -> None:
    """Give ``mol`` conformers 0 to ``count`` - 1 by ETKDGv3; one that does not come out is missing.

    Each conformer has its own seed, from ``smiles``, so that the k-th is the same however many are asked for. One that
    does not come out is tried again from random coordinates.
    """
    if _is_atom(mol, count):
        return
    with quiet_chem() as chem:
        from rdkit.Chem import rdDistGeom

        scratch = chem.Mol(mol)
        for conformer_id in range(count):
            parameters: Any = rdDistGeom.ETKDGv3()
            parameters.randomSeed = conformer_seed(seed, smiles, conformer_id)
            parameters.numThreads = 1
            made = rdDistGeom.EmbedMolecule(scratch, parameters)
            if made < 0:
                parameters.useRandomCoords = True
                made = rdDistGeom.EmbedMolecule(scratch, parameters)
            if made >= 0:
                conformer = chem.Conformer(scratch.GetConformer())
                conformer.SetId(conformer_id)
                mol.AddConformer(conformer, assignId=False)


def qm1b(mol: Any, count: int, seed: int) -> None:
    """Give ``mol`` up to ``count`` conformers as QM1B's authors did; what does not come out is missing at the end.

    Their call was ``EmbedMultipleConfs(mol, numConfs=1000, randomSeed=43)`` with one seed for all molecules
    (graphcore-research/pyscf-ipu, density_functional_theory.py). In the RDKit of 2023 that meant ETKDG version 1
    without terms for macrocycles (defaults of Wrap/rdDistGeom.cpp, 2022.09.5); since 2024.03 it means ETKDGv3
    (rdkit/rdkit#6985), so the older defaults are spelled out. RDKit multiplies the seed by the conformer's number from
    1: 0 and 2³¹-1 give one geometry ``count`` times, and the configuration refuses them.

    Raises ``EmbeddingRefused`` when not one geometry comes out.
    """
    if _is_atom(mol, count):
        return
    with quiet_chem():
        from rdkit.Chem import rdDistGeom

        rdDistGeom.EmbedMultipleConfs(
            mol,
            numConfs=count,
            randomSeed=seed,
            useMacrocycleTorsions=False,
            ETversion=1,
            useMacrocycle14config=False,
        )
    if not mol.GetNumConformers():
        raise EmbeddingRefused(f"ETKDG found none of {count} geometries")


def atomic_numbers(mol: Any) -> np.ndarray:
    """Atomic numbers (atoms,) uint8, in the order of the molecule's atoms."""
    return np.array([atom.GetAtomicNum() for atom in mol.GetAtoms()], dtype=np.uint8)


def positions(mol: Any, count: int) -> list[np.ndarray | None]:
    """Of conformers 0 to ``count`` - 1 the positions (atoms, 3), Bohr, as the corpus stores them; or None."""
    found = {conformer.GetId(): bohr_from_angstrom(conformer.GetPositions()) for conformer in mol.GetConformers()}
    return [found.get(conformer_id) for conformer_id in range(count)]


def _is_atom(mol: Any, count: int) -> bool:
    """Whether there is a single atom, which distance geometry refuses; it is put at the origin ``count`` times."""
    if mol.GetNumAtoms() != 1:
        return False
    with quiet_chem() as chem:
        for conformer_id in range(count):
            conformer = chem.Conformer(1)
            conformer.SetId(conformer_id)
            mol.AddConformer(conformer, assignId=False)
    return True
