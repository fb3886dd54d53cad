"""Forces against PySCF's analytic ones, and against what they are the slope of."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from qmgen.constants import BOHR_TO_ANGSTROM
from qmgen.dft.basis import load_basis
from qmgen.dft.forces import forces
from qmgen.dft.functionals import functional
from qmgen.dft.level import LevelOfTheory
from qmgen.dft.prepare import System, prepare, shape_of
from qmgen.dft.scf import ScfOptions, solve
from qmgen.validation.oracle import mean_field

GEOMETRIES = {
    "water": ([8, 1, 1], [(0, 0, 0.1), (0, 0.80, -0.48), (0.05, -0.72, -0.55)]),
    "formaldehyde": ([6, 8, 1, 1], [(0, 0, 0), (0.02, 0, 1.25), (0, 0.95, -0.6), (0.05, -0.90, -0.55)]),
}
XC, BASIS, GRID_LEVEL = functional("b3lyp5"), load_basis("sto-3g"), 1
#: one for all, so that each program is compiled once
SHAPE = shape_of(np.array(GEOMETRIES["formaldehyde"][0]), BASIS, XC, GRID_LEVEL)
#: by PySCF's convention without coarser steps on the way: the density has to be that of the minimum
TIGHT = ScfOptions(conv_energy=1e-11, conv_gradient=1e-8, max_cycles=100)


def system_of(name: str) -> System:
    numbers, places = GEOMETRIES[name]
    return System(np.array(numbers), np.array(places) / BOHR_TO_ANGSTROM)


def converged(system: System) -> tuple[np.ndarray, float]:
    problem = prepare(system, SHAPE, BASIS, XC, GRID_LEVEL).problem._replace(coarse=None)
    found = jax.jit(solve, static_argnums=0)(XC, problem, TIGHT)
    assert found.converged
    return np.asarray(found.density)[0], float(found.energy)


@pytest.mark.parametrize("name", list(GEOMETRIES))
def test_equal_pyscf(name: str) -> None:
    system = system_of(name)
    density, _ = converged(system)
    ours = forces(XC, BASIS, GRID_LEVEL, system, SHAPE, density)
    reference = mean_field(system.numbers, system.positions, LevelOfTheory("b3lyp5", "sto-3g", GRID_LEVEL))
    reference.conv_tol, reference.conv_tol_grad = 1e-12, 1e-8
    reference.kernel()
    gradient = reference.nuc_grad_method()
    gradient.grid_response = True
    # 1e-6: the difference rule's error of 3e-7 for bonds of oxygen, and the 1e-7 of our integrals over a step of 1e-3
    assert np.abs(ours + gradient.kernel()).max() < 1e-6
    assert np.abs(ours).max() > 1e-2  # there is something to be right about


def test_slope_of_the_converged_energy() -> None:
    system = system_of("water")
    density, _ = converged(system)
    ours = forces(XC, BASIS, GRID_LEVEL, system, SHAPE, density)
    direction = np.random.default_rng(0).normal(size=(3, 3))
    direction /= np.linalg.norm(direction)
    energies = [converged(System(system.numbers, system.positions + h * direction))[1] for h in (1e-3, -1e-3)]
    # two difference rules of the same step, whose errors of some 1e-7 need not be the same
    assert float((ours * direction).sum()) == pytest.approx((energies[1] - energies[0]) / 2e-3, abs=1e-6)
