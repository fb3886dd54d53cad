"""Labels with d functions and with density fitting against PySCF at the same choice, and against another program."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest

from qmgen.constants import AU_TO_DEBYE, BOHR_TO_ANGSTROM
from qmgen.dft.backend import ACCELERATOR, using
from qmgen.labeling import Label, Settings, label
from qmgen.labeling.level import level_of
from qmgen.molecules.types import Conformer
from qmgen.validation.oracle import solve
from tests.reference.stored import DIPOLE_LIMIT, ENERGY_LIMIT, ORBITAL_LIMIT, molecules

#: of one shape at def2-SVP, so that few programs are compiled
SMALL = ("water", "ammonia")
MORE = ("carbon monoxide", "methane", "hydrogen fluoride", "nitrogen", "acetylene", "carbon dioxide")
#: Turbomole, Angstrom and Hartree: B3LYP with VWN3 and with VWN5, def2-TZVP, exact integrals
WATER = np.array([[-1.769142, -0.076181, 0.0], [-2.065745, 0.837492, 0.0], [-0.809034, 0.001317, 0.0]])
TURBOMOLE = {"b3lyp": -76.46290368, "b3lyp5": -76.42582291}


@lru_cache(maxsize=4)
def labels(names: tuple[str, ...], settings: Settings) -> dict[str, Label]:
    chosen = [conformer for conformer in molecules() if conformer.name in names]
    found = {}
    for conformer, made in label(chosen, settings):
        assert isinstance(made, Label), made
        found[conformer.name] = made
    return found


def compare(names: tuple[str, ...], settings: Settings) -> None:
    level, found = level_of(settings), labels(names, settings)
    assert sorted(found) == sorted(names)
    for conformer in molecules():
        if conformer.name not in names:
            continue
        ours, theirs = found[conformer.name], solve(conformer.numbers, conformer.positions, level)
        assert theirs.converged
        assert abs(ours.energy - theirs.energy) < ENERGY_LIMIT, conformer.name
        assert abs(ours.homo - theirs.homo) < ORBITAL_LIMIT and abs(ours.lumo - theirs.lumo) < ORBITAL_LIMIT
        assert np.linalg.norm(ours.properties["dipole"] - theirs.dipole) * AU_TO_DEBYE < DIPOLE_LIMIT


@pytest.mark.parametrize(
    ("xc", "jk"),
    [
        *(("hf", "df"), ("pbe", "df"), ("b3lyp", "df"), ("b3lyp", "exact")),
        *(pytest.param(xc, "exact", marks=pytest.mark.slow) for xc in ("hf", "pbe")),
    ],
)
def test_labels_in_def2_svp_equal_pyscf(xc: str, jk: str) -> None:
    compare(SMALL, Settings(xc=xc, basis="def2-svp", jk=jk, grid_level=1))


@pytest.mark.slow
@pytest.mark.parametrize("jk", ["df", "exact"])
@pytest.mark.parametrize(("basis", "cartesian"), [("6-31g*", False), ("6-31g*", True), ("def2-tzvp", False)])
def test_labels_in_other_sets_equal_pyscf(basis: str, cartesian: bool, jk: str) -> None:
    compare(SMALL + MORE, Settings(xc="b3lyp", basis=basis, jk=jk, cartesian=cartesian, grid_level=1))


def test_a_batch_of_an_accelerator_is_fitted_too() -> None:
    settings = Settings(xc="hf", basis="def2-svp", jk="df", batch_size=2)
    with using(ACCELERATOR):
        together = labels.__wrapped__(SMALL, settings)
    for name, one in labels(SMALL, settings).items():
        # both are converged to an orbital gradient of 1e-6, whose square is the error of the energy
        assert abs(together[name].energy - one.energy) < 1e-10


@pytest.mark.slow
@pytest.mark.parametrize("xc", TURBOMOLE)
def test_water_is_that_of_turbomole(xc: str) -> None:
    water = Conformer(0, 0, "", "", np.array([8, 1, 1]), WATER / BOHR_TO_ANGSTROM)
    ((_, found),) = label([water], Settings(xc=xc, basis="def2-tzvp", jk="exact", grid_level=3))
    # the two programs have different grids
    assert isinstance(found, Label) and abs(found.energy - TURBOMOLE[xc]) < 2e-5
