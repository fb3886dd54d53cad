"""Ways to make conformers: QM1B's call, relaxation, pruning by energy and by likeness, open stereo centers."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import rdDistGeom, rdMolAlign

from qmgen.constants import BOHR_TO_ANGSTROM
from qmgen.molecules import embedding
from qmgen.molecules.embedding import (
    PLAIN,
    EmbeddingRefused,
    Ensemble,
    Procedure,
    embed,
    etkdg3,
    isomers,
    make_conformers,
    with_hydrogens,
    without_stereo,
)
from qmgen.molecules.geometry import bohr_from_angstrom
from qmgen.molecules.types import Reason

MMFF = Procedure(relax="mmff")
FLEXIBLE = "CCCCO"


def one(smiles: str, count: int, seed: int = 0, **settings: Any) -> Ensemble:
    (made,) = make_conformers(smiles, count, seed, replace(PLAIN, **settings))
    return made


def kept(made: Ensemble) -> list[int]:
    return [k for k, positions in enumerate(made.positions) if positions is not None]


def equal(a: np.ndarray | None, b: np.ndarray | None) -> bool:
    return a is b is None or np.array_equal(a, b)


# ---- embedding


def test_nothing_asked_is_the_plain_embedding():
    made, before = one(FLEXIBLE, 3, seed=5), embed(FLEXIBLE, 3, seed=5)
    assert all(map(equal, made.positions, before.positions)) and np.array_equal(made.numbers, before.numbers)
    assert (made.smiles, made.family, made.pruned) == ("", "", frozenset())


@pytest.mark.parametrize("smiles", [FLEXIBLE, "CC(=O)NC", "C1CC1C(N)=O", "c1ccccc1O"])
def test_qm1b_is_the_call_of_its_authors(smiles):
    """Their line, with the defaults of the RDKit of 2023, which ETKDG's own parameters of version 1 are too."""
    made = one(smiles, 6, seed=43, embed="qm1b")
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    parameters = rdDistGeom.ETKDG()
    parameters.randomSeed = 43
    rdDistGeom.EmbedMultipleConfs(mol, 6, parameters)
    theirs = [bohr_from_angstrom(conformer.GetPositions()) for conformer in mol.GetConformers()]
    assert len(theirs) == 6 and all(map(np.array_equal, made.positions, theirs))
    assert not np.array_equal(theirs[0], theirs[1])
    assert not np.array_equal(theirs[0], one(smiles, 1, seed=44, embed="qm1b").positions[0])


def test_qm1b_says_what_did_not_come_out():
    with pytest.raises(EmbeddingRefused, match="found none of 7 geometries") as caught:
        one("C1#CC1", 7, seed=43, embed="qm1b")
    assert caught.value.reason is Reason.EMBEDDING_FAILED


@pytest.mark.parametrize("settings", [{}, {"embed": "qm1b"}, {"relax": "mmff"}, {"prune_rms": 0.4}], ids=str)
def test_a_conformer_does_not_depend_on_how_many_are_asked_for(settings):
    """Nor does its being kept, when only likeness to earlier ones decides."""
    few, many = one(FLEXIBLE, 3, seed=9, **settings), one(FLEXIBLE, 12, seed=9, **settings)
    assert all(map(equal, few.positions, many.positions[:3]))
    assert few.pruned == {k for k in many.pruned if k < 3}
    again = one(FLEXIBLE, 12, seed=9, **settings)
    assert all(map(equal, again.positions, many.positions))


@pytest.mark.parametrize("settings", [{}, {"embed": "qm1b"}, {"prune_rms": 0.1}, {"stereo": "enumerate"}], ids=str)
def test_a_single_atom_stands_at_the_origin(settings):
    made = one("[He]", 3, seed=1, **settings)
    assert made.numbers.tolist() == [2] and not np.any(made.positions[0])
    assert made.pruned == ({1, 2} if settings.get("prune_rms") else set())


# ---- relaxation


def test_relaxation_ends_in_a_minimum_of_lower_energy():
    mol = with_hydrogens(FLEXIBLE)
    etkdg3(mol, FLEXIBLE, 4, 0)
    before = embedding.energies(mol)
    embedding.relax(mol, 2000)
    after = embedding.energies(mol)
    assert all(after[k] < before[k] - 1.0 for k in range(4))
    embedding.relax(mol, 2000)
    assert embedding.energies(mol) == pytest.approx(after, abs=1e-3)


def test_relaxed_positions_are_at_the_precision_of_the_corpus():
    relaxed = one(FLEXIBLE, 2, relax="mmff").positions
    plain = one(FLEXIBLE, 2).positions
    for a, b in zip(relaxed, plain, strict=True):
        assert np.array_equal(a, a.astype(np.float32)) and 1e-3 < np.abs(a - b).max() * BOHR_TO_ANGSTROM < 5.0


def test_a_relaxation_may_be_cut_short():
    short, none = one(FLEXIBLE, 1, relax="mmff", relax_steps=1), one(FLEXIBLE, 1)
    assert not np.array_equal(short.positions[0], none.positions[0])
    assert not np.array_equal(short.positions[0], one(FLEXIBLE, 1, relax="mmff").positions[0])


@pytest.mark.parametrize("settings", [{"relax": "mmff"}, {"energy_window": 5.0}], ids=str)
@pytest.mark.parametrize("smiles", ["CB(C)C", "[H][H]", "F", "[He]"])
def test_a_molecule_without_a_force_field_is_a_failure_of_its_own_kind(smiles, settings):
    with pytest.raises(EmbeddingRefused, match="MMFF94 has no parameters") as caught:
        one(smiles, 2, **settings)
    assert caught.value.reason is Reason.NO_FORCE_FIELD


def test_where_nothing_was_embedded_there_is_nothing_to_relax_or_prune():
    made = one("C1#CC1", 3, relax="mmff", prune_rms=0.5, energy_window=5.0)
    assert made.positions == [None] * 3 and made.pruned == set()


# ---- pruning


def distances(smiles: str, made: Ensemble) -> list[float]:
    """Symmetric RMSD of the heavy atoms (Angstrom) of all pairs that are kept, RDKit's own all-pairs function."""
    mol = with_hydrogens(smiles)
    for positions in made.positions:
        if positions is not None:
            conformer = Chem.Conformer(mol.GetNumAtoms())
            conformer.SetPositions(positions * BOHR_TO_ANGSTROM)
            mol.AddConformer(conformer, assignId=True)
    return list(rdMolAlign.GetAllConformerBestRMS(Chem.RemoveAllHs(mol)))


@pytest.mark.parametrize("smiles", [FLEXIBLE, "CC(C)CC(C)C", "OCC(O)CO"])
def test_what_is_left_lies_apart_and_what_is_not_lies_near(smiles):
    whole, made = one(smiles, 30, relax="mmff"), one(smiles, 30, relax="mmff", prune_rms=0.3)
    assert 0 in kept(made) and 1 < len(kept(made)) < 30 and min(distances(smiles, made)) >= 0.3 - 1e-5
    assert made.pruned == set(range(30)) - set(kept(made))
    for k in made.pruned:
        earlier = [p if j < k or j == k else None for j, p in enumerate(made.positions)]
        earlier[k] = whole.positions[k]
        assert min(distances(smiles, made._replace(positions=earlier))) < 0.3 + 1e-5
    assert all(equal(made.positions[k], whole.positions[k]) for k in kept(made))


@pytest.mark.parametrize("smiles", ["C", "c1ccccc1", "O=C=O"])
def test_one_conformer_of_a_stiff_molecule_is_left(smiles):
    """Hydrogens do not count, and numbering the ring otherwise is no difference."""
    assert kept(one(smiles, 8, prune_rms=0.3)) == [0]


def test_a_wider_window_keeps_what_a_narrower_one_keeps():
    sets = [set(kept(one(FLEXIBLE, 20, relax="mmff", energy_window=window))) for window in (0.01, 0.5, 1.0, 3.0, 50.0)]
    assert all(narrow <= wide for narrow, wide in pairwise(sets))
    assert 1 <= len(sets[0]) < len(sets[3]) <= len(sets[4]) == 20


def test_the_window_is_measured_from_the_lowest_energy():
    mol = with_hydrogens(FLEXIBLE)
    etkdg3(mol, FLEXIBLE, 10, 0)
    energy = embedding.energies(mol)
    lowest = min(energy.values())
    window = sorted(energy.values())[4] - lowest + 1e-9
    assert kept(one(FLEXIBLE, 10, energy_window=window)) == sorted(k for k in energy if energy[k] - lowest <= window)
    assert embedding.beyond({0: 1.0, 1: float("nan"), 2: 9.0}, 2.0) == {2} and embedding.beyond({}, 1.0) == set()


def test_what_is_too_high_does_not_stand_for_what_is_not():
    mol = with_hydrogens(FLEXIBLE)
    etkdg3(mol, FLEXIBLE, 20, 0)
    lowest = min((energy, k) for k, energy in embedding.energies(mol).items())[1]
    assert lowest > 0
    alike = {"energy_window": 1e-6, "prune_rms": 5.0}  # all are nearer than 5 Angstrom to the first
    assert kept(one(FLEXIBLE, 20, prune_rms=5.0)) == [0]
    assert kept(one(FLEXIBLE, 20, **alike)) == [lowest]


# ---- stereo


@pytest.mark.parametrize(
    ("smiles", "count"),
    [
        ("CCO", 1),
        ("CC(F)(Cl)Br", 2),  # one center
        ("OC(F)C=CC", 4),  # a center and a double bond
        ("CC(F)C(C)F", 3),  # two equal centers: a pair and a meso form
        ("C[C@H](F)C(C)O", 2),  # one of two is given
        ("C/C=C/C", 1),
        ("OC1CCC(F)CC1", 2),  # cis and trans
        ("OC1CC2CCC1C2", 4),  # norbornanol: of 8 combinations half bridge the ring from both sides
        ("C1=CCCCC1", 1),  # no trans in a small ring
        ("CC=NO", 2),
        ("CC(F)C=C=C", 2),
    ],
)
def test_as_many_isomers_as_there_are(smiles, count):
    smiles = Chem.CanonSmiles(smiles)
    found = isomers(smiles, 100, seed=0)
    assert len(found) == len(set(found)) == count and found == sorted(found)
    assert {without_stereo(isomer) for isomer in found} == {without_stereo(smiles)}
    assert all(Chem.CanonSmiles(isomer) == isomer for isomer in found)
    if count == 1:
        assert found == [smiles]


def test_of_many_isomers_a_seeded_sample():
    smiles = Chem.CanonSmiles("CC(F)C(O)C(N)C(F)C(O)C=CC")
    sample = isomers(smiles, 5, seed=1)
    assert len(sample) == 5 and sample == isomers(smiles, 5, seed=1) != isomers(smiles, 5, seed=2)


def test_isomers_that_are_not_there_are_a_failure():
    with pytest.raises(EmbeddingRefused, match="for any of its stereoisomers"):
        make_conformers(Chem.CanonSmiles("C1#CC1C(F)O"), 2, 0, Procedure(stereo="enumerate"))


@pytest.mark.parametrize(
    ("smiles", "flat"),
    [
        ("C[C@H](O)F", "CC(O)F"),
        ("C/C=C\\C", "CC=CC"),
        ("[H]/N=C/C", "CC=N"),
        ("[2H][C@H](O)F", "[2H]C(O)F"),
        ("CCO", "CCO"),
        ("no such thing", "no such thing"),
    ],
)
def test_without_stereo(smiles, flat):
    assert without_stereo(smiles) == flat


def test_an_isomer_has_the_conformers_that_its_own_smiles_would_give():
    smiles = Chem.CanonSmiles("OC(F)C=CC")
    made = make_conformers(smiles, 2, 3, Procedure(stereo="enumerate"))
    assert [m.family for m in made] == [smiles] * 4 and len({m.smiles for m in made}) == 4
    for isomer in made:
        alone = one(isomer.smiles, 2, seed=3)
        assert all(map(np.array_equal, isomer.positions, alone.positions))
        mol = with_hydrogens(isomer.smiles)
        conformer = Chem.Conformer(mol.GetNumAtoms())
        conformer.SetPositions(isomer.positions[0] * BOHR_TO_ANGSTROM)
        mol.AddConformer(conformer)
        Chem.RemoveStereochemistry(mol)
        Chem.AssignStereochemistryFrom3D(mol)  # the geometry is the isomer's
        assert Chem.CanonSmiles(Chem.MolToSmiles(Chem.RemoveHs(mol))) == isomer.smiles


def test_nothing_open_is_the_molecule_as_it_is():
    (made,) = make_conformers("C[C@H](O)F", 2, 3, Procedure(stereo="enumerate"))
    assert all(map(np.array_equal, made.positions, one("C[C@H](O)F", 2, seed=3).positions))
    assert (made.smiles, made.family) == ("C[C@H](O)F", "CC(O)F")


@pytest.mark.parametrize("stereo", ["as-given", "enumerate"])
@pytest.mark.parametrize("smiles", ["C.C", "C1CC"])
def test_what_is_not_one_molecule_is_refused(smiles, stereo):
    with pytest.raises(EmbeddingRefused):
        make_conformers(smiles, 1, 0, Procedure(stereo=stereo))
