"""All conformers of one molecule, from its SMILES to what is left after pruning, in the calling process.

RDKit's distance geometry, seeded; then, by ``Procedure``, relaxation in MMFF94 and pruning by energy or likeness.
Where stereoisomers are enumerated, each isomer has its own conformers. RDKit can fail, hang or crash on a molecule;
``embedding_pool`` runs this in a worker that can be replaced. Functions on RDKit's molecules take conformers by their
ids; lengths there are in Angstrom, energies in kcal/mol.

References:
ETKDGv3: S. Wang, J. Witek, G. A. Landrum, S. Riniker, J. Chem. Inf. Model. 60, 2044 (2020).
ETKDG, version 1: S. Riniker, G. A. Landrum, J. Chem. Inf. Model. 55, 2562 (2015).
MMFF94: T. A. Halgren, J. Comput. Chem. 17, 490 (1996), as in RDKit: P. Tosco, N. Stiefl, G. Landrum, J. Cheminform. 6,
37 (2014).
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np

from qmgen import defaults
from qmgen.molecules.entries import mapped_smiles
from qmgen.molecules.geometry import bohr_from_angstrom
from qmgen.molecules.smiles import elements_of, quiet_chem
from qmgen.molecules.types import Reason


@dataclass(frozen=True)
class Procedure:
    """The way from a SMILES to its conformers; the defaults are ETKDGv3 and nothing after it.

    ``embed`` chooses the embedding (``etkdg3``, ``qm1b``). ``relax`` "mmff" minimizes each geometry
    in MMFF94, in at most ``relax_steps`` steps. ``energy_window`` (kcal/mol) prunes what lies higher above the lowest
    MMFF94 energy of the same isomer; ``prune_rms`` (Angstrom) what is nearer than that to an earlier conformer.
    ``stereo`` "enumerate" makes up to ``max_stereo_isomers`` isomers of a molecule whose SMILES leaves some open.
    """

    embed: defaults.Embedder = defaults.EMBED
    relax: defaults.Relaxation = defaults.RELAX
    relax_steps: int = defaults.RELAX_STEPS
    prune_rms: float | None = None
    energy_window: float | None = None
    stereo: defaults.Stereo = defaults.STEREO
    max_stereo_isomers: int = defaults.MAX_STEREO_ISOMERS

    @property
    def needs_force_field(self) -> bool:
        """Whether a molecule without MMFF94 parameters cannot be done."""
        return self.relax == "mmff" or self.energy_window is not None

    @property
    def prunes(self) -> bool:
        """Whether fewer conformers than asked for may be left."""
        return self.prune_rms is not None or self.energy_window is not None


#: ETKDGv3 and nothing after it
PLAIN: Final = Procedure()


class Ensemble(NamedTuple):
    """The conformers of a molecule, or of one of its stereoisomers: ``numbers`` (atoms,) uint8 and of each conformer
    the ``positions`` (atoms, 3) float64 in Bohr, or None.

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


class EmbeddingRefused(ValueError):
    """This SMILES cannot be embedded: a message for the user, and the reason of the failure."""

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


def embed(smiles: str, count: int, seed: int) -> Ensemble:
    """``count`` geometries of a canonical SMILES by ``etkdg3``, no relaxation.

    Raises ``EmbeddingRefused`` for what is not one molecule.
    """
    mol = with_hydrogens(smiles)
    etkdg3(mol, smiles, count, seed)
    return Ensemble(elements_of(mol), positions_of(mol, count))


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


def positions_of(mol: Any, count: int) -> list[np.ndarray | None]:
    """Of conformers 0 to ``count`` - 1 the positions (atoms, 3), Bohr, as the corpus stores them; or None."""
    places = {conformer.GetId(): bohr_from_angstrom(conformer.GetPositions()) for conformer in mol.GetConformers()}
    return [places.get(conformer_id) for conformer_id in range(count)]


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


_FORCE_FIELD = "MMFF94"


def check_force_field(mol: Any) -> None:
    """Raises ``EmbeddingRefused`` (``no_force_field``) when MMFF94 has no parameters for some atom of ``mol``.

    No other force field steps in: geometries of two kinds in one corpus are not what was asked for.
    """
    with quiet_chem():
        from rdkit.Chem import rdForceFieldHelpers

        if not rdForceFieldHelpers.MMFFHasAllMoleculeParams(mol):
            raise EmbeddingRefused("MMFF94 has no parameters for this molecule", Reason.NO_FORCE_FIELD)


def relax(mol: Any, steps: int) -> None:
    """Minimize each conformer in MMFF94; what is not at rest after ``steps`` steps stays as it is then."""
    if not mol.GetNumConformers():  # RDKit takes none for a mistake
        return
    with quiet_chem():
        from rdkit.Chem import rdForceFieldHelpers

        rdForceFieldHelpers.MMFFOptimizeMoleculeConfs(mol, numThreads=1, maxIters=steps, mmffVariant=_FORCE_FIELD)


def energies(mol: Any) -> dict[int, float]:
    """The MMFF94 energy of each conformer, where it stands."""
    with quiet_chem():
        from rdkit.Chem import rdForceFieldHelpers

        properties = rdForceFieldHelpers.MMFFGetMoleculeProperties(mol, mmffVariant=_FORCE_FIELD)
        energy: dict[int, float] = {}
        for conformer in mol.GetConformers():
            field = rdForceFieldHelpers.MMFFGetMoleculeForceField(mol, properties, confId=conformer.GetId())
            energy[conformer.GetId()] = float(field.CalcEnergy())
        return energy


def beyond(energy: Mapping[int, float], window: float) -> set[int]:
    """Conformers more than ``window`` above the lowest. One whose energy is no number is never among them: a later
    check finds that its geometry is unsound."""
    finite = [value for value in energy.values() if np.isfinite(value)]
    return {name for name, value in energy.items() if finite and value - min(finite) > window}


def alike(mol: Any, distance: float) -> set[int]:
    """Conformers nearer than ``distance`` to one with a lower id that is kept.

    The measure is the root mean square deviation of the heavy atoms, best over rotations and over the symmetry of the
    graph (RDKit's ``GetBestRMS``); mirror images are not superposed. Whether a conformer is kept depends on earlier
    ones alone. With less than two heavy atoms all conformers are alike.
    """
    ids = sorted(conformer.GetId() for conformer in mol.GetConformers())
    if mol.GetNumHeavyAtoms() < 2:
        return set(ids[1:])
    with quiet_chem() as chem:
        from rdkit.Chem import rdMolAlign

        heavy = chem.RemoveAllHs(mol)
        kept: list[int] = []
        for new in ids:
            if not any(rdMolAlign.GetBestRMS(heavy, heavy, new, old) < distance for old in kept):
                kept.append(new)
    return set(ids) - set(kept)


def isomers(smiles: str, limit: int, seed: int) -> list[str]:
    """Canonical SMILES of the stereoisomers, sorted; ``smiles`` itself where nothing is open.

    What counts as open is RDKit's ``EnumerateStereoisomers``: tetrahedral centers, nitrogen in small rings among them,
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
        # as a reader would make them, from a molecule that has no other history
        texts = {
            chem.CanonSmiles(chem.MolToSmiles(isomer)) for isomer in enumeration.EnumerateStereoisomers(mol, options)
        }
    if not texts:
        raise EmbeddingRefused("ETKDG found no geometry for any of its stereoisomers")
    return sorted(texts)


def without_stereo(smiles: str) -> str:
    """The canonical SMILES of the molecule without marks of stereochemistry; ``smiles`` where RDKit cannot read it."""
    with quiet_chem() as chem:
        mol = chem.MolFromSmiles(smiles)
        if mol is None:
            return smiles
        chem.RemoveStereochemistry(mol)
        # a hydrogen that carried the mark of a double bond ([H]/N=C/C) is written like any other now
        return str(chem.CanonSmiles(chem.MolToSmiles(chem.RemoveHs(mol))))


def make_conformers(smiles: str, count: int, seed: int, procedure: Procedure) -> list[Ensemble]:
    """``count`` conformers of a canonical SMILES, less what is pruned; of each isomer where they are enumerated.

    An isomer's conformers are what its own SMILES would give. Raises ``EmbeddingRefused`` for what is not one molecule,
    finds no geometry at all, or has no force field where one is needed.
    """
    if procedure.stereo == "as-given":
        return [_of_isomer(smiles, count, seed, procedure)]
    with_hydrogens(smiles)  # refuses before any isomer is tried
    family = without_stereo(smiles)
    return [
        _of_isomer(isomer, count, seed, procedure)._replace(smiles=isomer, family=family)
        for isomer in isomers(smiles, procedure.max_stereo_isomers, seed)
    ]


def _of_isomer(smiles: str, count: int, seed: int, procedure: Procedure) -> Ensemble:
    mol = with_hydrogens(smiles)
    if procedure.needs_force_field:
        check_force_field(mol)
    if procedure.embed == "qm1b":
        qm1b(mol, count, seed)
    else:
        etkdg3(mol, smiles, count, seed)
    if procedure.relax == "mmff":
        relax(mol, procedure.relax_steps)
    pruned = _prune(mol, procedure)
    return Ensemble(elements_of(mol), positions_of(mol, count), frozenset(pruned), mapped=mapped_smiles(mol))


def _prune(mol: Any, procedure: Procedure) -> set[int]:
    """Take conformers out of ``mol``, return their ids: those too high first, so that none stands for a lower one."""
    pruned: set[int] = set()
    if procedure.energy_window is not None:
        pruned |= _remove(mol, beyond(energies(mol), procedure.energy_window))
    if procedure.prune_rms is not None:
        pruned |= _remove(mol, alike(mol, procedure.prune_rms))
    return pruned


def _remove(mol: Any, ids: set[int]) -> set[int]:
    for conformer_id in ids:
        mol.RemoveConformer(conformer_id)
    return ids
