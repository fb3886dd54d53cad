"""A corpus of clusters of C, H and O at random places, labeled by pair functions instead of DFT.

y        = 8 + Σ_{i<j} c(z_i) c(z_j) exp(−r_ij² / 9 a₀²)                           eV
energy   = Σ_i E(z_i) + Σ_{i<j} exp(−r_ij² / 9 a₀²)                                eV, forces its gradient
dipole   = Σ_i q_i r_i with q_i = q(z_i) less its mean                             e a₀, written in Debye
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from qmgen.constants import BOHR_TO_ANGSTROM
from qmgen.corpus import (
    FAILURES,
    SPLITS,
    config_hash,
    failure_schema,
    failure_table,
    plan,
    row_schema,
    row_table,
    write_manifest,
    write_unit,
)  # fmt: skip
from tests.made_up import properties

CHARGES = {1: 0.3, 6: -0.1, 8: -0.5}
ENERGIES = {1: -13.0, 6: -1030.0, 8: -2040.0}
STRENGTHS = {1: 0.5, 6: 1.0, 8: 1.5}
DEBYE = 2.541746
WIDTH = 9.0


def write_corpus(
    directory: Path, train: int = 200, validation: int = 40, test: int = 40, level: str = "b3lyp5", forces: bool = True
) -> Path:
    """Write it to ``directory``, in two units, and return that."""
    recipe = {"xc": level, "basis": "sto-3g", "conformers": 1}
    shared = {
        "config_hash": config_hash(recipe),
        "recipe": recipe,
        "level_of_theory": {"xc": level, "basis": "sto-3g"},
        "constants": {"codata": 2018},
    }
    total = train + validation + test
    units = plan(total, 1, 2)
    split_of = [*["train"] * train, *["validation"] * validation, *["test"] * test]
    order = np.random.default_rng(0).permutation(total)
    for unit in units:
        rows: dict[str, Any] = {split: [] for split in SPLITS}
        for molecule in range(unit.start, unit.end):
            row = make_row(molecule, forces, 1.0 if level == "b3lyp5" else 1.1)
            rows[split_of[order[molecule]]].append(row)
        tables: dict[str, Any] = {split: row_table(rows[split], row_schema(shared, forces)) for split in SPLITS}
        counts = {"entries": unit.end - unit.start, "merged": 0}
        tables[FAILURES] = failure_table([], failure_schema({**shared, "unit": counts}))
        write_unit(directory, unit, tables)
    (directory / "config.toml").write_text("conformers = 1\n")
    write_manifest(directory, units, shared, licence="CC0-1.0", versions={"qmgen": "0"})
    return directory


def make_row(molecule: int, forces: bool, strength: float) -> dict[str, Any]:
    """One molecule of 3 to 6 atoms; ``strength`` multiplies the pair functions: another level of theory."""
    random = np.random.default_rng(molecule)
    z = random.choice([1, 6, 8], size=random.integers(3, 7)).astype(np.uint8)
    while True:
        positions = random.uniform(-3, 3, size=(len(z), 3)).astype(np.float32)
        between = positions[:, None].astype(float) - positions[None]
        squares = np.sum(between**2, -1)
        if np.min(squares + 10 * np.eye(len(z))) > 1:
            break
    decay = strength * np.exp(-squares / WIDTH) * (1 - np.eye(len(z)))
    strengths = np.array([STRENGTHS[int(n)] for n in z])
    charges = np.array([CHARGES[int(n)] for n in z])
    charges -= charges.mean()
    gradient = np.sum(-2 / WIDTH * between * decay[..., None], 1)
    gap = 8 + 0.5 * strengths @ decay @ strengths
    row: dict[str, Any] = {
        "smile": f"X{molecule}", "atoms": "".join({1: "H", 6: "C", 8: "O"}[int(n)] for n in z), "z": z,
        "energy": sum(ENERGIES[int(n)] for n in z) + 0.5 * decay.sum(), "homo": -7.0, "lumo": gap - 7.0,
        "N": 7, "std": 1e-9, "y": gap, "pos": positions.ravel(),
        "molecule_id": molecule, "conformer_id": 0, "name": f"mol{molecule}", "converged": True, "cycles": 9,
        "orbital_gradient": 1e-7, **properties(len(z), random),
        "dipole": charges @ positions * DEBYE, "charges": charges, "precision": "float64",
        "mapped_smiles": "",
        "spin_hint": "",
    }  # fmt: skip
    return {**row, "forces": (-gradient / BOHR_TO_ANGSTROM).ravel()} if forces else row
