"""All conformers of one molecule, from its SMILES to what is left after pruning: the work of one task of a worker."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from qmgen.molecules import embedding, refine, stereo
from qmgen.molecules.mapped import mapped_smiles
from qmgen.molecules.procedure import Procedure


class Ensemble(NamedTuple):
    """The conformers of one stereoisomer: ``numbers`` and ``positions`` as of an ``Embedding``.

    ``pruned`` are the conformers (places in ``positions``, None there) that came out and were left out on purpose.
    Of an enumerated stereoisomer ``smiles`` is its own, canonical, and ``family`` that without stereo; else both empty.
    ``mapped`` is the SMILES with all hydrogens, whose atom map number k is atom k of ``numbers``, counted from 1.
    """

    numbers: np.ndarray
    positions: list[np.ndarray | None]
    pruned: frozenset[int] = frozenset()
    smiles: str = ""
    family: str = ""
    mapped: str = ""


def make(smiles: str, count: int, seed: int, procedure: Procedure) -> list[Ensemble]:
    """``count`` conformers of a canonical SMILES, less what is pruned; of each isomer, where ``procedure`` asks.

    An isomer's conformers are what its own SMILES would give. Raises ``EmbeddingRefused`` for what is not one molecule,
    finds no geometry at all, or has no force field where one is needed.
    """
    if procedure.stereo == "as-given":
        return [_of_isomer(smiles, count, seed, procedure)]
    embedding.with_hydrogens(smiles)  # refuses before any isomer is tried
    family = stereo.without_stereo(smiles)
    return [
        _of_isomer(isomer, count, seed, procedure)._replace(smiles=isomer, family=family)
        for isomer in stereo.isomers(smiles, procedure.max_stereo_isomers, seed)
    ]


def _of_isomer(smiles: str, count: int, seed: int, procedure: Procedure) -> Ensemble:
    mol = embedding.with_hydrogens(smiles)
    if procedure.needs_force_field:
        refine.check_force_field(mol)
    if procedure.embed == "qm1b":
        embedding.qm1b(mol, count, seed)
    else:
        embedding.etkdg3(mol, smiles, count, seed)
    if procedure.relax == "mmff":
        refine.relax(mol, procedure.relax_steps)
    pruned = _prune(mol, procedure)
    numbers, places = embedding.atomic_numbers(mol), embedding.positions(mol, count)
    return Ensemble(numbers, places, frozenset(pruned), mapped=mapped_smiles(mol))


def _prune(mol: Any, procedure: Procedure) -> set[int]:
    """Take conformers out of ``mol``, and say which: those too high first, so that none stands for a lower one."""
    pruned: set[int] = set()
    if procedure.energy_window is not None:
        pruned |= _remove(mol, refine.beyond(refine.energies(mol), procedure.energy_window))
    if procedure.prune_rms is not None:
        pruned |= _remove(mol, refine.alike(mol, procedure.prune_rms))
    return pruned


def _remove(mol: Any, ids: set[int]) -> set[int]:
    for conformer_id in ids:
        mol.RemoveConformer(conformer_id)
    return ids
