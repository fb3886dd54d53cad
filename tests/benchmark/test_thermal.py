"""Langevin dynamics against statistical mechanics, and what becomes of it: geometries, files, refusals."""

from __future__ import annotations

import subprocess
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from benchmarks import thermal
from benchmarks.thermal import (
    ACCELERATION,
    BOLTZMANN,
    broken,
    dynamics,
    force_field,
    gradient_of,
    kinetic_energy,
    thermal_geometries,
)
from qmgen.molecules import embedding
from qmgen.molecules.embedding import EmbeddingRefused
from qmgen.molecules.geometry import stored_precision
from qmgen.molecules.readers import read_molecules
from qmgen.molecules.types import Molecule, Reason

ROOT = Path(__file__).parents[2]
WATER_MASSES = np.array([15.999, 1.008, 1.008])


def relaxed(smiles: str, field: str = "MMFF94"):
    """RDKit's molecule at rest, its field (molecule first: the field lives no longer) and its coordinates (N, 3)."""
    mol = embedding.with_hydrogens(smiles)
    embedding.etkdg3(mol, smiles, 1, 0)
    forces = force_field(mol, field)
    forces.Minimize(maxIts=2000)
    return mol, forces, np.array(mol.GetConformer().GetPositions())


# ---- the integrator


def test_units_from_first_principles():
    # 1 kcal/mol/Angstrom on 1 Dalton, in SI; and k_B in kcal/mol by Avogadro's number (exact since 2019)
    newton = 4184.0 / 6.02214076e23 / 1e-10
    assert pytest.approx(newton / 1.66053906660e-27 * 1e-20, rel=1e-8) == ACCELERATION  # m/s² are 1e-20 Angstrom/fs²
    assert pytest.approx(1.380649e-23 * 6.02214076e23 / 4184.0, rel=1e-12) == BOLTZMANN


def test_without_friction_the_energy_stays():
    _, forces, start = relaxed("CCO")
    masses = np.array([12.011, 12.011, 15.999] + [1.008] * 6)
    gradient = gradient_of(forces)
    states = dynamics(gradient, start, masses, 300.0, np.random.default_rng(0), 50, time_step=0.1, friction=0.0)
    energies = [
        kinetic_energy(state.velocities, masses) + forces.CalcEnergy(state.positions.ravel().tolist())
        for state in islice(states, 20)
    ]
    # velocity Verlet: the energy swings by about (ω dt)²/8 of the vibrations' energy, here 6e-4 of some 8 kcal/mol;
    # forces or units that do not fit the energy make it drift by kcal/mol
    assert np.ptp(energies) < 0.03


def test_equipartition_in_a_field_of_springs():
    """60 atoms on springs of their own: each of 180 coordinates is a sample of its own."""
    random = np.random.default_rng(1)
    masses = random.uniform(1.0, 40.0, 60)
    springs = np.repeat(random.uniform(20.0, 60.0, 60), 3)  # kcal/mol/Angstrom²
    states = dynamics(lambda x: springs * np.array(x), np.zeros((60, 3)), masses, 400.0, np.random.default_rng(2), 200)
    taken = list(islice(states, 10, 110))
    thermal_energy = BOLTZMANN * 400.0
    kinetic = np.mean([kinetic_energy(state.velocities, masses) for state in taken])
    potential = np.mean([0.5 * (springs * state.positions.ravel() ** 2).sum() for state in taken])
    # 18,000 squares of normal numbers. Energy decays with 50 fs, so those 100 fs apart keep e^-2 of it, and count for
    # 1.31 times fewer: relative error √(2 · 1.31 / 18,000) = 0.012, four times that. The velocities of BAOAB are too
    # cold by (ω dt)²/4, at most 60 · 4.2e-4 · 0.25 / 4 = 0.0016
    assert kinetic == pytest.approx(1.5 * 60 * thermal_energy, rel=0.048)
    assert potential == pytest.approx(1.5 * 60 * thermal_energy, rel=0.048)


def test_variance_of_stiff_springs_is_exact():
    """As stiff as O-H: where the step is felt in the velocities, positions have the variance k_B T / k all the same."""
    spring, mass = 1100.0, 1.0
    states = dynamics(
        lambda x: spring * np.array(x), np.zeros((100, 3)), np.full(100, mass), 500.0, np.random.default_rng(3), 200
    )
    taken = np.stack([np.stack(state) for state in islice(states, 10, 80)])
    step = spring * ACCELERATION / mass * 0.5**2  # (ω dt)² = 0.115
    variance, speed = (taken[:, 0] ** 2).mean(), (taken[:, 1] ** 2).mean()
    # 21,000 samples, 1.31 times fewer for what they remember (above): relative error 0.0112, four times that
    assert variance == pytest.approx(BOLTZMANN * 500.0 / spring, rel=0.045)
    assert speed == pytest.approx(BOLTZMANN * 500.0 * ACCELERATION / mass * (1 - step / 4), rel=0.045)


# ---- in RDKit's force fields


@pytest.mark.parametrize(("smiles", "field"), [("CCO", "MMFF94"), ("NC=O", "MMFF94"), ("CCO", "UFF")])
def test_gradient_is_that_of_the_energy(smiles, field):
    # RDKit's own CalcGrad takes distances from the geometry before: at a new geometry it is wrong by tens of kcal/mol/Å
    _, forces, start = relaxed(smiles, field)
    gradient, random = gradient_of(forces), np.random.default_rng(0)
    for _ in range(3):
        x = (start + 0.03 * random.standard_normal(start.shape)).ravel()
        found = np.array(gradient(x.tolist()))
        step = 1e-4
        differences = [
            (forces.CalcEnergy((x + shift).tolist()) - forces.CalcEnergy((x - shift).tolist())) / (2 * step)
            for shift in step * np.eye(len(x))
        ]
        # third derivatives of bonds are some 1e4 kcal/mol/Å³: errors of 1e-8/6 · 1e4; derivatives are up to 100
        np.testing.assert_allclose(found, differences, atol=2e-3)


def test_water_has_the_temperature_and_the_width_of_its_bonds():
    _, forces, start = relaxed("O")
    thermal_energy = BOLTZMANN * 350.0
    states = dynamics(gradient_of(forces), start, WATER_MASSES, 350.0, np.random.default_rng(4), 200)
    taken = list(islice(states, 10, 1510))
    kinetic = np.mean([kinetic_energy(state.velocities, WATER_MASSES) for state in taken])
    # 13,500 coordinates, 1.31 times fewer for what they remember (above): error 0.014, four times that. Two stretches
    # (3,700/cm, (ω dt)²/4 = 0.03) and the bend (0.006) of nine degrees of freedom are colder by their step: 0.008
    assert kinetic == pytest.approx(1.5 * 3 * thermal_energy * 0.992, rel=0.056)
    bonds = np.array([np.linalg.norm(s.positions[1:] - s.positions[0], axis=1) for s in taken])

    def along(length: float) -> float:
        x = start.copy()
        x[1] = x[0] + length * (x[1] - x[0]) / np.linalg.norm(x[1] - x[0])
        return forces.CalcEnergy(x.ravel().tolist())

    # Boltzmann's distribution of one bond with the other at rest, by quadrature. Its width is that of k_B T / k but for
    # the anharmonic bonds of MMFF (2 %); coupling to the other bond and to the angle is weaker than that
    rest = np.linalg.norm(start[1] - start[0])
    spring = (along(rest + 1e-3) + along(rest - 1e-3) - 2 * along(rest)) / 1e-6
    lengths = np.linspace(rest - 0.3, rest + 0.4, 701)
    weights = lengths**2 * np.exp(-np.array([along(length) for length in lengths]) / thermal_energy)
    mean, square = (np.average(lengths**power, weights=weights) for power in (1, 2))
    assert square - mean**2 == pytest.approx(thermal_energy / spring, rel=0.03)
    # 3,000 bonds, 1.31 times fewer: error 0.030, four times that; of the mean 0.025 Å / √2,290 = 0.0005 Å, five times
    assert bonds.var() == pytest.approx(square - mean**2, rel=0.12)
    assert bonds.mean() == pytest.approx(mean, abs=0.0025)


# ---- geometries


def test_first_ones_are_the_same_however_many():
    few, many = thermal_geometries("C=O", 3, seed=5), thermal_geometries("O=C", 27, seed=5)
    for short, long in zip(few.conformers, many.conformers, strict=False):
        np.testing.assert_array_equal(short.positions, long.positions)
    assert [c.conformer_id for c in many.conformers] == list(range(27))
    assert len(set(many.temperatures)) == 2 and all(300 <= t <= 500 for t in many.temperatures)
    other = thermal_geometries("C=O", 1, seed=6)
    assert not np.allclose(other.conformers[0].positions, few.conformers[0].positions, atol=1e-3)


def test_geometries_are_as_the_corpus_stores_them():
    made = thermal_geometries("CCO", 2, (400.0, 400.0), name="ethanol", molecule_id=7)
    assert (made.field, made.discarded, made.temperatures) == ("MMFF94", 0, [400.0, 400.0])
    for conformer in made.conformers:
        assert (conformer.molecule_id, conformer.name, conformer.smiles) == (7, "ethanol", "CCO")
        assert conformer.numbers.tolist() == [6, 6, 8] + [1] * 6 and conformer.numbers.dtype == np.uint8
        np.testing.assert_array_equal(conformer.positions, stored_precision(conformer.positions))
        assert 2.2 < np.linalg.norm(conformer.positions[0] - conformer.positions[1]) < 3.6  # C-C is 2.9 Bohr


def test_uff_steps_in():
    made = thermal_geometries("[H][H]", 2)  # MMFF94 knows no hydrogen of itself
    assert made.field == "UFF"
    assert all(1.0 < np.linalg.norm(c.positions[0] - c.positions[1]) < 1.9 for c in made.conformers)  # 1.4 Bohr


def test_broken_ones_are_replaced_and_counted(monkeypatch):
    real, seen = thermal.broken, []

    def third(start, positions, bonds):
        seen.append(positions)
        return len(seen) == 3 or real(start, positions, bonds)

    whole = thermal_geometries("O", 27, seed=1)
    monkeypatch.setattr(thermal, "broken", third)
    made = thermal_geometries("O", 5, seed=1)
    assert made.discarded == 1 and len(made.conformers) == 5
    expected = [whole.conformers[place].positions for place in (0, 1, 25, 26)]  # the next trajectory goes on
    for conformer, positions in zip(made.conformers, expected, strict=False):
        np.testing.assert_array_equal(conformer.positions, positions)


def test_what_always_breaks_is_given_up(monkeypatch):
    monkeypatch.setattr(thermal, "broken", lambda *_: True)
    with pytest.raises(EmbeddingRefused, match="came apart in 5 of 5 trajectories"):
        thermal_geometries("O", 5)


def test_broken():
    start, bonds = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]), np.array([[0, 1], [0, 2]])
    assert not broken(start, start * 1.49, bonds)
    assert broken(start, start * [1.51, 1, 1], bonds)
    assert broken(start, start * np.nan, bonds)
    assert broken(start, start + np.array([0, 0, np.inf]), bonds)


@pytest.mark.parametrize(
    ("smiles", "reason", "what"),
    [
        ("[NH4+]", Reason.NET_CHARGE, "net charge"),
        ("[CH3]", Reason.ODD_ELECTRONS, "only closed shells"),
        ("C(", Reason.UNREADABLE, None),
        ("O.O", Reason.MIXTURE, "a mixture of 2 molecules"),
        ("[He]", Reason.EMBEDDING_FAILED, "one atom"),
    ],
)
def test_refusals(smiles, reason, what):
    with pytest.raises(EmbeddingRefused, match=what) as refused:
        thermal_geometries(smiles, 1)
    assert refused.value.reason is reason and "\n" not in str(refused.value)


def test_no_field(monkeypatch):
    from rdkit.Chem import rdForceFieldHelpers

    monkeypatch.setattr(rdForceFieldHelpers, "MMFFHasAllMoleculeParams", lambda mol: False)
    monkeypatch.setattr(rdForceFieldHelpers, "UFFHasAllMoleculeParams", lambda mol: False)
    with pytest.raises(EmbeddingRefused, match="neither MMFF94 nor UFF") as refused:
        thermal_geometries("O", 1)
    assert refused.value.reason is Reason.NO_FORCE_FIELD


# ---- the command


def command(*flags: object) -> subprocess.CompletedProcess[str]:
    script = ROOT / "scripts" / "thermal_geometries"
    return subprocess.run([sys.executable, script, *map(str, flags)], capture_output=True, text=True, timeout=300)


def test_command_writes_what_the_reader_gives_back(tmp_path):
    source, out = tmp_path / "some.smi", tmp_path / "some.xyz"
    source.write_text('O the "charge=3" water\nC=O\n[NH4+] ion\n')
    done = command(source, "--count", 3, "--out", out, "--temperature", 350, "--seed", 2)
    assert done.returncode == 1
    assert done.stderr == "thermal_geometries: ion: net_charge: net charge +1; only neutral molecules are labelled\n"
    assert f"{out}: 6 geometries, 2 molecules, 0 discarded, 1 refused" in done.stdout
    read = list(read_molecules(out))
    assert all(isinstance(entry, Molecule) for entry in read)
    assert [entry.name for entry in read] == ["the 'charge-3' water"] * 3 + ["C=O"] * 3
    direct = [c for s in ("O", "C=O") for c in thermal_geometries(s, 3, (350.0, 350.0), 2).conformers]
    for entry, conformer in zip(read, direct, strict=True):
        np.testing.assert_array_equal(entry.positions, conformer.positions)  # to the last bit of float32
    assert "temperature_K=350.00 force_field=MMFF94 seed=2" in out.read_text()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    xyz = np.array([line.split()[1:] for line in out.read_text().splitlines()[2:4]], float)
    assert 0.8 < np.linalg.norm(xyz[0] - xyz[1]) < 1.2


@pytest.mark.parametrize(
    "flags",
    [
        ["[NH4+]", "--count", 1, "--out", "a.xyz"],
        ["O", "--count", 0, "--out", "a.xyz"],
        ["O", "--count", 1, "--out", "a.sdf"],
        ["O", "--count", 1, "--out", "a.xyz", "--temperature", "500-300"],
        ["O", "--count", 1, "--out", "a.xyz", "--temperature", "4-"],
        ["nothing.smi", "--count", 1, "--out", "a.xyz"],
        ["O", "--count", 1, "--out", "no/such/place/a.xyz"],
    ],
)
def test_command_refuses(flags, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = command(*flags)
    assert done.returncode == 2 and "Traceback" not in done.stderr and not list(tmp_path.iterdir())
