"""Species whose ground state is a triplet are named; closed shells with the same atoms or similar bonds are not."""

from __future__ import annotations

import numpy as np
import pytest

from qmgen.constants import BOHR_TO_ANGSTROM
from qmgen.molecules.connectivity import spin_hint
from qmgen.molecules.geometry import number_of
from tests.reference.stored import molecules

Geometry = list[tuple[str, float, float, float]]


def hint(geometry: Geometry) -> str:
    numbers = np.array([number_of(symbol) for symbol, *_ in geometry])
    return spin_hint(numbers, np.array([position for _, *position in geometry]) / BOHR_TO_ANGSTROM)


def diatomic(first: str, second: str, distance: float) -> Geometry:
    return [(first, 0.0, 0.0, 0.0), (second, 0.0, 0.0, distance)]


def bent(center: str, first: str, second: str, distances: tuple[float, float], angle: float) -> Geometry:
    a = np.radians(angle)
    return [
        (center, 0.0, 0.0, 0.0),
        (first, distances[0], 0.0, 0.0),
        (second, distances[1] * float(np.cos(a)), distances[1] * float(np.sin(a)), 0.0),
    ]


def methyl(symbol: str, distance: float, *more: tuple[str, float, float, float]) -> Geometry:
    """CH3 with ``symbol`` on the z axis."""
    hydrogens = [("H", 1.03 * float(np.cos(t)), 1.03 * float(np.sin(t)), -0.36) for t in np.radians([0, 120, 240])]
    return [("C", 0.0, 0.0, 0.0), *hydrogens, (symbol, 0.0, 0.0, distance), *more]


RING = [(1.39 * float(np.cos(t)), 1.39 * float(np.sin(t)), 0.0) for t in np.radians(np.arange(0, 360, 60))]
PHENYLNITRENE = [
    *(("C", *place) for place in RING),
    *(("H", x * 2.47 / 1.39, y * 2.47 / 1.39, 0.0) for x, y, _ in RING[1:]),
    ("N", 2.72, 0.0, 0.0),
]


@pytest.mark.parametrize(
    ("geometry", "named"),
    [
        (diatomic("O", "O", 1.208), "O2"),
        (diatomic("S", "S", 1.889), "S2"),
        (diatomic("S", "O", 1.481), "SO"),
        (diatomic("N", "H", 1.036), "HN"),
        (diatomic("N", "F", 1.317), "NF"),
        (diatomic("P", "H", 1.42), "HP"),
        (diatomic("B", "B", 1.59), "B2"),
        ([("O", 0.0, 0.0, 0.0)], "atom 1 (O)"),
        ([("C", 0.0, 0.0, 0.0)], "atom 1 (C)"),
        (bent("C", "H", "H", (1.08, 1.08), 134.0), "carbene at atom 1"),
        (bent("C", "H", "H", (1.11, 1.11), 102.0), "carbene at atom 1"),
        (methyl("C", 1.48, ("H", 0.9, 0.0, 2.05)), "carbene at atom 5"),
        (methyl("N", 1.41), "nitrene at atom 5"),
        (PHENYLNITRENE, "nitrene at atom 12"),
        # beside another molecule
        ([*diatomic("O", "O", 1.208), *((s, x + 8.0, y, z) for s, x, y, z in methyl("H", 1.09))], "O2"),
    ],
)
def test_triplets_are_named(geometry: Geometry, named: str) -> None:
    assert hint(geometry).startswith(named) and "triplet" in hint(geometry)


@pytest.mark.parametrize(
    "geometry",
    [
        diatomic("N", "N", 1.098),
        diatomic("C", "O", 1.128),
        diatomic("C", "S", 1.535),
        diatomic("F", "F", 1.412),
        diatomic("H", "F", 0.917),
        diatomic("P", "N", 1.491),
        [("He", 0.0, 0.0, 0.0)],
        bent("O", "H", "H", (0.96, 0.96), 104.5),
        bent("C", "F", "F", (1.30, 1.30), 104.9),  # a singlet carbene
        bent("C", "H", "F", (1.12, 1.31), 102.0),
        bent("C", "O", "O", (1.16, 1.16), 180.0),
        bent("C", "H", "N", (1.07, 1.16), 180.0),
        bent("O", "O", "O", (1.27, 1.27), 116.8),
        bent("C", "C", "C", (1.42, 1.42), 57.0) + [("H", 2.0, -0.9, 0.0), ("H", 0.2, 2.2, 0.0)],  # cyclopropenylidene
        methyl("C", 1.46, ("N", 0.0, 0.0, 2.62)),  # acetonitrile
        [("C", 0.0, 0.0, 0.0), ("C", 0.0, 0.0, 1.21), ("H", 0.0, 0.0, -1.06), ("H", 0.0, 0.0, 2.27)],
        # stretched: ethene with one long C-H, HCN with a long C-N, acetylene with a long C-C
        [
            *(("C", 0.0, 0.0, 0.0), ("C", 0.0, 0.0, 1.33), ("H", 0.92, 0.0, -0.57), ("H", -1.36, 0.0, -0.84)),
            *(("H", 0.92, 0.0, 1.9), ("H", -0.92, 0.0, 1.9)),
        ],
        bent("C", "H", "N", (1.07, 1.33), 180.0),
        [("C", 0.0, 0.0, 0.0), ("C", 0.0, 0.0, 1.36), ("H", 0.0, 0.0, -1.06), ("H", 0.0, 0.0, 2.42)],
    ],
)
def test_singlets_are_not(geometry: Geometry) -> None:
    assert hint(geometry) == ""


def test_none_of_the_reference_molecules_is_named() -> None:
    # all have singlet ground states, allenes, ketenes, nitriles, azides, polyynes and isonitriles among them
    assert {one.name: text for one in molecules() if (text := spin_hint(one.numbers, one.positions))} == {}
