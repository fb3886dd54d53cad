"""What cannot be labeled: a typed reason each, nothing lost, the rest of the batch unharmed; and retries that help."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest

from qmgen.constants import BOHR_TO_ANGSTROM
from qmgen.dft.backend import ACCELERATOR, CPU
from qmgen.dft.level import LevelOfTheory
from qmgen.dft.prepare import Shape
from qmgen.errors import UsageError
from qmgen.labeling import Label, Settings, label, memory
from qmgen.labeling.stream import RETRIES
from qmgen.molecules.types import Conformer, Failure, Reason

#: the module, which its function hides in the package
label_module = sys.modules["qmgen.labeling.stream"]

SETTINGS = Settings(grid_level=0, batch_size=4)
WATER = ([8, 1, 1], [[0.0, 0.0, 0.117], [0.0, 0.757, -0.469], [0.0, -0.757, -0.469]])
STRETCHED_WATER = ([8, 1, 1], [[0.0, 0.0, 0.117], [0.0, 1.4, -0.9], [0.0, -0.757, -0.469]])
HYDROGEN_FLUORIDE = ([9, 1], [[0.0, 0.0, 0.0], [0.0, 0.3, 0.87]])
AMMONIA = ([7, 1, 1, 1], [[0.0, 0.0, 0.12], [0.0, 0.94, -0.27], [0.81, -0.47, -0.27], [-0.81, -0.47, -0.27]])


def conformer(numbers: list[int], angstrom: list[list[float]], molecule_id: int = 0) -> Conformer:
    positions = np.asarray(angstrom, float).reshape(-1, 3) / BOHR_TO_ANGSTROM
    return Conformer(molecule_id, 3, f"molecule {molecule_id}", "C", np.array(numbers, np.uint8), positions)


NAN = float("nan")
BAD = {
    Reason.BAD_COORDINATES: conformer([1, 1], [[0, 0, NAN], [0, 0, 0.7]]),
    Reason.COINCIDENT_ATOMS: conformer([8, 1, 1], [[0, 0, 0], [0, 0, 1e-4], [0, 0.9, 0]]),
    Reason.ODD_ELECTRONS: conformer([8, 1], [[0, 0, 0], [0, 0, 0.97]]),
    Reason.UNSUPPORTED_ELEMENT: conformer([54], [[0, 0, 0]]),
    Reason.NO_VIRTUAL_ORBITAL: conformer([2], [[0, 0, 0]]),
}


@pytest.mark.parametrize("reason", BAD)
def test_bad_geometries_have_a_typed_reason(reason: Reason) -> None:
    (failure,) = label([replace(BAD[reason], molecule_id=7)], SETTINGS)
    assert isinstance(failure, Failure)
    assert failure.reason is reason
    assert (failure.molecule_id, failure.conformer_id, failure.name, failure.smiles) == (7, 3, "molecule 0", "C")
    assert failure.detail and "\n" not in failure.detail


@pytest.mark.parametrize("value", [float("inf"), -float("inf"), NAN])
def test_coordinates_that_are_no_numbers(value: float) -> None:
    (failure,) = label([conformer([1, 1], [[0, 0, 0], [0, value, 0.7]])], SETTINGS)
    assert failure.reason is Reason.BAD_COORDINATES


def test_no_atoms_at_all() -> None:
    (failure,) = label([conformer([], [])], SETTINGS)
    assert failure.reason is Reason.BAD_COORDINATES


def test_too_large_for_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_module, "memory_limit", lambda backend: 0)
    (failure,) = label([conformer(*WATER)], SETTINGS)
    assert failure.reason is Reason.OUT_OF_MEMORY
    assert "GB" in failure.detail


def test_memory_is_a_positive_number() -> None:
    assert memory.memory_installed() > 2**20


def test_the_parts_of_the_memory_add_up() -> None:
    """64 orbitals are 2080 pairs: 34.6 MB a matrix over pairs, of which 8 blocks of 260 rows hold 9/16; 12 blocks of
    the coarse grid in float32 and float64 and twice 4 of the fine one, of 1024 points and 4 values an orbital; 12
    matrices of DIIS, thrice."""
    shape = Shape(n_orbitals=64, n_atoms=32, n_blocks=96, n_coarse=12)
    parts = memory.bytes_by_part(shape, LevelOfTheory("pbe", "sto-3g", 1), batch=2, backend=CPU)
    assert parts == {
        "integrals": 3 * 8 * 2080**2,
        "supermatrix": 2 * 8 * 2080**2 * 9 // 16,
        "grid": (12 * 12 + 2 * 8 * 4) * 1024 * 4 * 64,
        "history": 3 * 12 * 8 * 64**2,
    }
    assert memory.bytes_needed(shape, LevelOfTheory("pbe", "sto-3g", 1), 2, CPU) == sum(parts.values())
    together = memory.bytes_by_part(shape, LevelOfTheory("pbe", "sto-3g", 1), batch=2, backend=ACCELERATOR)
    assert together == {
        "integrals": (2 * 2 + 3) * 8 * 2080**2 + 2 * 2**27,
        "supermatrix": 2 * 8 * 2080**2,
        "grid": 2 * ((16 * 12 + 3 * 8 * 4) * 1024 * 4 * 64 + 2 * 4 * 8 * 1024 * 108),
        "history": 2 * parts["history"],
    }


def test_nothing_is_lost_beside_bad_molecules() -> None:
    bad = [replace(one, molecule_id=10 + i) for i, one in enumerate(BAD.values())]
    alone = outcome([conformer(*WATER)])
    mixed = outcome([*bad[:3], conformer(*WATER), *bad[3:], conformer(*AMMONIA, 1)])
    assert set(mixed) == {0, 1, *range(10, 10 + len(bad))}
    assert [mixed[10 + i].reason for i in range(len(bad))] == list(BAD)
    assert mixed[0].energy == alone[0].energy
    assert mixed[1].converged


def outcome(conformers: list[Conformer], settings: Settings = SETTINGS) -> dict[int, Label | Failure]:
    results = list(label(conformers, settings))
    assert len(results) == len(conformers)
    return {r.molecule_id: r for r in results if isinstance(r, Failure)} | {
        r[0].molecule_id: r[1] for r in results if not isinstance(r, Failure)
    }


def test_no_convergence_is_a_failure_and_the_rest_of_the_batch_unharmed(monkeypatch: pytest.MonkeyPatch) -> None:
    """With as many cycles as the quicker of two molecules needs, the slower one is left over."""
    monkeypatch.setattr(label_module, "RETRIES", ())
    good = outcome([conformer(*WATER), conformer(*STRETCHED_WATER, 1)])
    cycles = sorted(one.cycles for one in good.values())
    assert cycles[0] < cycles[1], "the two need different numbers of cycles"
    quick, slow = sorted(good, key=lambda i: good[i].cycles)
    cut = outcome([conformer(*WATER), conformer(*STRETCHED_WATER, 1)], replace(SETTINGS, max_cycles=cycles[0]))
    assert isinstance(cut[slow], Failure) and cut[slow].reason is Reason.NOT_CONVERGED
    assert "cycles" in cut[slow].detail
    assert cut[quick].energy == good[quick].energy
    assert np.array_equal(cut[quick].properties["charges"], good[quick].properties["charges"])


def test_retries_are_tried_in_turn_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    hopeless = tuple(replace(retry, cycles=2) for retry in RETRIES)
    monkeypatch.setattr(label_module, "RETRIES", hopeless)
    (failure,) = label([conformer(*WATER)], replace(SETTINGS, max_cycles=2))
    assert failure.reason is Reason.NOT_CONVERGED
    assert failure.detail.startswith(f"{2 + 2 * len(hopeless)} cycles in {1 + len(hopeless)} attempts")


#: of a zero density the error of DIIS is exactly zero, and what it divides by that is not a number
def test_both_guesses_lead_to_the_same_solution() -> None:
    atoms, core = (outcome([conformer(*WATER)], replace(SETTINGS, guess=guess))[0] for guess in ("atoms", "core"))
    assert isinstance(core, Label), core
    assert abs(atoms.energy - core.energy) < 1e-7  # both converge within 1e-9 Ha of the same minimum


@pytest.mark.parametrize("index", range(len(RETRIES)))
def test_every_retry_leads_to_the_same_solution(monkeypatch: pytest.MonkeyPatch, index: int) -> None:
    plain = outcome([conformer(*WATER)])[0]
    monkeypatch.setattr(label_module, "RETRIES", RETRIES[index : index + 1])
    rescued = outcome([conformer(*WATER)], replace(SETTINGS, max_cycles=3))[0]
    assert isinstance(rescued, Label), rescued
    assert rescued.cycles > 3
    # the limits of the reference list: a row that was retried is as good as any other
    assert abs(rescued.energy - plain.energy) < 1e-7
    assert abs(rescued.homo - plain.homo) < 1e-6 and abs(rescued.lumo - plain.lumo) < 1e-6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"xc": "b3lpy5"}, "b3lyp5"),
        ({"basis": "sto3"}, "sto"),
        ({"grid_level": 17}, "grid level 17"),
        ({"precision": "float12"}, "float64"),
        ({"guess": "crystal ball"}, "atoms"),
    ],
)
def test_settings_that_do_not_exist(change: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        list(label([conformer(*WATER)], replace(SETTINGS, **change)))
