"""Three-dimensional geometries from SMILES: RDKit's ETKDGv3, seeded, in the calling process.

Reference: S. Wang, J. Witek, G. A. Landrum, S. Riniker, J. Chem. Inf. Model. 60, 2044 (2020).
RDKit can fail, hang or crash on a molecule; ``embedding_pool`` runs this in a worker that can be replaced.
"""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

import numpy as np

from qmgen.molecules.entries import quiet_chem
from qmgen.molecules.geometry import bohr_from_angstrom


class Embedding(NamedTuple):
    """``numbers`` (atoms,) uint8 and for each conformer its positions (atoms, 3) float64 in Bohr, or None."""

    numbers: np.ndarray
    positions: list[np.ndarray | None]


class EmbeddingRefused(ValueError):
    """This SMILES is nothing to embed: what to tell the user."""


def conformer_seed(seed: int, smiles: str, conformer_id: int) -> int:
    """The seed of one conformer, 0 to 2³¹-2: a hash of the run's seed and of this molecule alone."""
    text = f"{seed}\n{conformer_id}\n{smiles}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big") % (2**31 - 1)


def embed(smiles: str, count: int, seed: int) -> Embedding:
    """``count`` geometries of a canonical SMILES, hydrogens added, no relaxation.

    Each conformer has its own seed, so that the k-th is the same however many are asked for. One that does not come
    out is tried again from random coordinates.

    Raises ``EmbeddingRefused`` for what is not one molecule.
    """
    with quiet_chem() as chem:
        from rdkit.Chem import rdDistGeom

        mol = chem.MolFromSmiles(smiles)
        if mol is None:
            raise EmbeddingRefused("not a SMILES that RDKit accepts")
        if len(chem.GetMolFrags(mol)) != 1:
            raise EmbeddingRefused("several molecules in one SMILES; give one, or give the geometry of the complex")
        mol = chem.AddHs(mol)
        numbers = np.array([atom.GetAtomicNum() for atom in mol.GetAtoms()], dtype=np.uint8)
        if len(numbers) == 1:
            return Embedding(numbers, [np.zeros((1, 3))] * count)
        positions: list[np.ndarray | None] = []
        for conformer_id in range(count):
            parameters: Any = rdDistGeom.ETKDGv3()
            parameters.randomSeed = conformer_seed(seed, smiles, conformer_id)
            parameters.numThreads = 1
            made = rdDistGeom.EmbedMolecule(mol, parameters)
            if made < 0:
                parameters.useRandomCoords = True
                made = rdDistGeom.EmbedMolecule(mol, parameters)
            positions.append(bohr_from_angstrom(mol.GetConformer().GetPositions()) if made >= 0 else None)
        return Embedding(numbers, positions)
