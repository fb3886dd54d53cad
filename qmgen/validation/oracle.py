"""PySCF as the oracle: one geometry, one level of theory, converged tighter than what is being judged.

>>> water = solve(np.array([8, 1, 1]), positions_in_bohr, LevelOfTheory("b3lyp5", "sto-3g", 1))
>>> water.energy, water.homo, water.lumo        # Hartree
>>> water.dipole                                # (3,) e Bohr

One thread, whatever the environment says: throughput comes from processes. Everything here is in atomic units: PySCF
carries constants older than ``qmgen.constants``, so nothing of it is ever asked for in eV or Debye. PySCF is imported
inside the functions, never at import.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Final

import numpy as np

from qmgen.constants import AU_TO_DEBYE, BOHR_TO_ANGSTROM
from qmgen.corpus.columns import CHECKED
from qmgen.dft.basis import Basis
from qmgen.dft.level import LevelOfTheory
from qmgen.errors import UsageError

#: qmgen's functional names in a spelling that no PySCF version and no ``.pyscf_conf.py`` reads another way.
FUNCTIONALS: Final[dict[str, str]] = {
    "hf": "hf",
    "lda": "lda,vwn",
    "pbe": "pbe,pbe",
    "pbe0": "pbe0",
    "b3lyp": "b3lypg",  # VWN-RPA, as Gaussian
    "b3lyp5": ".2*HF + .08*SLATER + .72*B88, .81*LYP + .19*VWN",  # VWN5, as QM1B
}
#: First guesses tried when a solution lower than PySCF's own is known to exist.
OTHER_GUESSES: Final = ("atom", "huckel", "1e", "minao")
NEWTON_CYCLES: Final = 50


@dataclass(frozen=True)
class Thresholds:
    """When PySCF stops: energy change (Ha), norm of the orbital gradient (Ha; ``None``: PySCF's default), cycles.

    With ``second_order`` an SCF that plain DIIS leaves unconverged goes on with Newton steps.
    """

    conv_tol: float = 1e-11
    conv_tol_grad: float | None = 1e-7
    max_cycle: int = 100
    second_order: bool = True


TIGHT: Final = Thresholds()


@dataclass(frozen=True)
class Reference:
    """PySCF's answer. Energies in Hartree, ``dipole`` (3,) in e Bohr, ``guess`` names what it was started from;
    ``values`` by the names of ``CHECKED``."""

    energy: float
    homo: float
    lumo: float
    dipole: np.ndarray
    values: Mapping[str, Any]
    cycles: int
    converged: bool
    guess: str
    seconds: float


def mean_field(numbers: np.ndarray, positions: np.ndarray, level: LevelOfTheory, **attributes: Any) -> Any:
    """A PySCF RKS (RHF for ``hf``) object, not yet run; ``attributes`` are set on it (``conv_tol=1e-9``).

    ``numbers`` (atoms,), ``positions`` (atoms, 3) in Bohr. Raises ``UsageError`` for a functional or basis that is
    not known, or an odd number of electrons.
    """
    from pyscf import dft, gto, scf

    if level.xc not in FUNCTIONALS:
        raise UsageError(f"unknown functional {level.xc!r}; known: {', '.join(FUNCTIONALS)}")
    if int(np.sum(numbers)) % 2:
        raise UsageError(f"{int(np.sum(numbers))} electrons: the oracle is for closed shells")
    atoms = [(int(z), tuple(map(float, xyz))) for z, xyz in zip(numbers, np.reshape(positions, (-1, 3)), strict=True)]
    elements = {int(z) for z in numbers}
    # the shells themselves: a name may mean others in another version of PySCF
    shells = _shells(level.basis_set, elements)
    mol = gto.M(atom=atoms, basis=shells, unit="Bohr", cart=level.cartesian, symmetry=False, verbose=0)
    mf = scf.RHF(mol) if level.xc == "hf" else dft.RKS(mol, xc=FUNCTIONALS[level.xc])
    if level.fitting_set is not None:
        mf = mf.density_fit(auxbasis=_shells(level.fitting_set, elements))
    if level.xc != "hf":
        mf.grids.level = level.grid_level
    mf.chkfile = None  # no file per molecule
    for name, value in attributes.items():
        setattr(mf, name, value)
    return mf


def _shells(basis: Basis, elements: set[int]) -> dict[str, Any]:
    """What PySCF takes for a basis set. Raises ``UsageError`` for an element that it lacks."""
    from pyscf.data.elements import ELEMENTS

    if missing := sorted(elements - basis.elements):
        raise UsageError(f"basis {basis.name!r} has no {ELEMENTS[missing[0]]}")
    return {ELEMENTS[z]: basis.source[z] for z in elements}


def solve(
    numbers: np.ndarray,
    positions: np.ndarray,
    level: LevelOfTheory,
    *,
    thresholds: Thresholds = TIGHT,
    density: np.ndarray | None = None,
    guess: str = "minao",
) -> Reference:
    """The SCF solution PySCF finds from ``density`` (AOs, AOs) if given, else from the named ``guess``.

    ``numbers`` (atoms,), ``positions`` (atoms, 3) in Bohr. Failure to converge is in the result, not an exception;
    raises what ``mean_field`` raises.
    """
    from pyscf import lib

    with lib.with_omp_threads(1):
        return _run(_prepare(numbers, positions, level, thresholds), thresholds, density, guess)[0]


def solve_lower(
    numbers: np.ndarray,
    positions: np.ndarray,
    level: LevelOfTheory,
    first: Reference,
    *,
    target: float,
    thresholds: Thresholds = TIGHT,
    density: np.ndarray | None = None,
) -> Reference:
    """The lowest converged solution within reach, or ``first`` if that is it. Stops once ``target`` (Ha) is reached.

    Tried in this order: the given density, the other standard guesses, and from the lowest solution the directions in
    which PySCF's internal stability analysis says the energy falls.
    """
    from pyscf import lib

    best = first
    with lib.with_omp_threads(1):
        for reference in _attempts(numbers, positions, level, thresholds, density):
            if reference.converged and (not best.converged or reference.energy < best.energy - thresholds.conv_tol):
                best = reference
            if best.converged and best.energy <= target:
                break
    return best


def _attempts(
    numbers: np.ndarray, positions: np.ndarray, level: LevelOfTheory, thresholds: Thresholds, density: np.ndarray | None
) -> Iterator[Reference]:
    lowest: tuple[float, Any] | None = None
    starts: list[tuple[str, np.ndarray | None]] = [(guess, None) for guess in OTHER_GUESSES]
    if density is not None:
        starts.insert(0, ("given density", density))
    for name, start in starts:
        reference, mf = _run(_prepare(numbers, positions, level, thresholds), thresholds, start, name)
        if reference.converged and (lowest is None or reference.energy < lowest[0]):
            lowest = reference.energy, mf
        yield reference
    for _ in range(3):
        if lowest is None:
            return
        orbitals, stable = _downhill(lowest[1])
        if stable:
            return
        start = lowest[1].make_rdm1(orbitals, lowest[1].mo_occ)
        reference, mf = _run(_prepare(numbers, positions, level, thresholds), thresholds, start, "stability")
        if not reference.converged or reference.energy >= lowest[0] - thresholds.conv_tol:
            return
        lowest = reference.energy, mf
        yield reference


def _downhill(mf: Any) -> tuple[np.ndarray, bool]:
    """Orbitals rotated along an unstable direction, and whether the solution was stable after all."""
    orbitals, _, stable, _ = mf.stability(internal=True, external=False, return_status=True)
    return orbitals, bool(stable)


def _prepare(numbers: np.ndarray, positions: np.ndarray, level: LevelOfTheory, thresholds: Thresholds) -> Any:
    return mean_field(
        numbers,
        positions,
        level,
        conv_tol=thresholds.conv_tol,
        conv_tol_grad=thresholds.conv_tol_grad,
        max_cycle=thresholds.max_cycle,
    )


def _run(mf: Any, thresholds: Thresholds, density: np.ndarray | None, guess: str) -> tuple[Reference, Any]:
    start = perf_counter()
    if density is None:
        mf.init_guess = guess
    mf.kernel(dm0=density)
    cycles = int(mf.cycles)
    if not mf.converged and thresholds.second_order:
        start_density = mf.make_rdm1()
        mf = mf.newton()
        mf.max_cycle = NEWTON_CYCLES
        mf.ah_conv_tol, mf.ah_lindep = 1e-18, 1e-20  # the defaults stall at gradients of 4e-7
        mf.kernel(dm0=start_density)
        cycles += int(getattr(mf, "cycles", 0) or 0)
    return _reference(mf, cycles, guess, perf_counter() - start), mf


def _reference(mf: Any, cycles: int, guess: str, seconds: float) -> Reference:
    homo, lumo = _frontier(mf)
    return Reference(
        energy=float(mf.e_tot),
        homo=homo,
        lumo=lumo,
        dipole=_dipole(mf),
        values={name: REFERENCES[column.name](mf) for name, column in CHECKED.items()},
        cycles=cycles,
        converged=bool(mf.converged),
        guess=guess,
        seconds=seconds,
    )


def _frontier(mf: Any) -> tuple[float, float]:
    """Energies of the highest occupied and the lowest virtual orbital in Hartree; the latter NaN if there is none."""
    occupied, virtual = mf.mo_energy[mf.mo_occ > 0], mf.mo_energy[mf.mo_occ == 0]
    return float(occupied.max()), float(virtual.min()) if virtual.size else float("nan")


def _dipole(mf: Any) -> np.ndarray:
    """(3,) in e Bohr."""
    return np.asarray(mf.dip_moment(unit="AU", verbose=0), dtype=np.float64)


def _quadrupole(mf: Any) -> np.ndarray:
    """(6,) in Debye Angstrom: traceless, xx xy xz yy yz zz, about the center of nuclear charge."""
    charges, positions = mf.mol.atom_charges(), mf.mol.atom_coords()
    center = charges @ positions / charges.sum()
    with mf.mol.with_common_orig(center):
        integrals = mf.mol.intor("int1e_rr").reshape(3, 3, mf.mol.nao, mf.mol.nao)
    arms = positions - center
    moments = np.einsum("a,ai,aj->ij", charges, arms, arms) - np.einsum("xyij,ji->xy", integrals, mf.make_rdm1())
    traceless = 1.5 * moments - 0.5 * np.trace(moments) * np.eye(3)
    return traceless[np.triu_indices(3)] * AU_TO_DEBYE * BOHR_TO_ANGSTROM


def _lowdin_charges(mf: Any) -> np.ndarray:
    """(atoms,) in e, of the symmetrically orthogonalized orbitals themselves: PySCF's own are meta-Löwdin."""
    values, vectors = np.linalg.eigh(mf.get_ovlp())
    root = (vectors * np.sqrt(values)) @ vectors.T
    populations = np.diag(root @ mf.make_rdm1() @ root)
    return mf.mol.atom_charges() - [populations[low:high].sum() for _, _, low, high in mf.mol.aoslice_by_atom()]


#: by the names of columns that have a ``check``: the value from a mean field that has been run, energies in Hartree,
#: all else in the unit of the column
REFERENCES: Final[Mapping[str, Callable[[Any], Any]]] = {
    "energy": lambda mf: float(mf.e_tot),
    "homo": lambda mf: _frontier(mf)[0],
    "lumo": lambda mf: _frontier(mf)[1],
    "y": lambda mf: _frontier(mf)[1] - _frontier(mf)[0],
    "dipole": lambda mf: _dipole(mf) * AU_TO_DEBYE,
    "quadrupole": _quadrupole,
    "lowdin_charges": _lowdin_charges,
}


def own_density(numbers: np.ndarray, positions: np.ndarray, level: LevelOfTheory) -> np.ndarray:
    """The density (AOs, AOs) of our self-consistent field from its usual guess, converged or not: for PySCF to start
    from where our energy is the lower one. Orbitals stand in PySCF's order and normalization.

    ``numbers`` (atoms,), ``positions`` (atoms, 3) in Bohr, an even number of electrons. Switches on float64 in this
    process. Raises ``UsageError`` for a functional or basis that we do not have, ``ArithmeticError`` when the density
    is not finite.
    """
    from qmgen import runtime

    runtime.prepare()

    from qmgen.dft.batch import solve_batch
    from qmgen.dft.prepare import System, prepare, shape_of
    from qmgen.dft.properties import total_density
    from qmgen.dft.scf import ScfOptions

    basis, xc = level.basis_set, level.functional
    system = System(np.asarray(numbers, dtype=np.int64), np.asarray(positions, dtype=np.float64))
    shape = shape_of(system.numbers, basis, xc, level.grid_level)
    problem = prepare(system, shape, basis, xc, level.grid_level).problem
    (solution,) = solve_batch(xc, [problem], ScfOptions())
    n = basis.n_orbitals(system.numbers)
    density = total_density(solution)[:n, :n]
    if not np.isfinite(density).all():
        raise ArithmeticError("our self-consistent field left the numbers")
    return density
