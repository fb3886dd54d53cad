"""Water, ammonia and hydrogen fluoride, which share a shape, and networks small enough to be compiled in a second."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from qmgen.constants import BOHR_TO_ANGSTROM
from qmgen.dft.prepare import System
from qmgen.labeling.level import level_of
from qmgen.labeling.types import Settings
from qmgen.learning.energy.problems import GeometryStore
from qmgen.learning.hamiltonian import Inputs
from qmgen.learning.hamiltonian.block_description import BlocksShape
from qmgen.learning.hamiltonian.network import Blocks

LEVEL = level_of(Settings("b3lyp5", "sto-3g", 0))
SYMBOLS = {1: "H", 7: "N", 8: "O", 9: "F"}
#: elements, and places in Angstrom
MOLECULES: dict[str, tuple[list[int], list[tuple[float, float, float]]]] = {
    "water": ([8, 1, 1], [(0, 0, 0.1), (0, 0.76, -0.48), (0.05, -0.75, -0.5)]),
    "ammonia": ([7, 1, 1, 1], [(0, 0, 0.1), (0.94, 0, -0.25), (-0.47, 0.81, -0.25), (-0.47, -0.81, -0.27)]),
    "fluoride": ([9, 1], [(0, 0, 0), (0, 0.1, 0.92)]),
    "peroxide": ([8, 8, 1, 1], [(0, 0.73, 0), (0, -0.73, 0), (0.8, 0.9, 0.5), (-0.8, -0.9, 0.5)]),
}


def system(name: str, seed: int = 0, size: float = 0.03) -> System:
    """One of them, each atom moved by about ``size`` Angstrom."""
    numbers, places = MOLECULES[name]
    moved = np.array(places) + size * np.random.default_rng(seed).normal(size=(len(numbers), 3))
    return System(np.array(numbers), moved / BOHR_TO_ANGSTROM)


def write_xyz(path: Path, systems: Sequence[System]) -> Path:
    lines = []
    for one in systems:
        lines += [str(len(one.numbers)), ""]
        for z, place in zip(one.numbers.tolist(), one.positions * BOHR_TO_ANGSTROM, strict=True):
            lines.append(SYMBOLS[z] + "".join(f" {x:.8f}" for x in place))
    path.write_text("\n".join(lines) + "\n")
    return path


@dataclass(frozen=True)
class Mixture:
    """A network of three numbers: W = sum_k a_k M_k of the two-electron part, the semilocal potential and S D S. All of
    it in float64, so that what is asked of the loss is not asked of a network's rounding."""

    preset, learning_rate = "mixture", 0.1

    def init(self, key: jax.Array) -> Any:
        return {"a": jnp.zeros(3, jnp.float64)}

    def describe(self, inputs: Inputs) -> Any:
        return jnp.stack(
            [inputs.two_electron, inputs.exchange_correlation, inputs.overlap @ inputs.density @ inputs.overlap]
        )

    def statistics(self, seen: Sequence[Any]) -> Any:
        return ()

    def statistics_from(self, leaves: Sequence[Any]) -> Any:
        return ()

    def correction(self, params: Any, statistics: Any, seen: Any) -> jax.Array:
        return jnp.einsum("k,kij->ij", params["a"], seen)

    def to_json(self) -> dict[str, Any]:
        return {"kind": "mixture"}


#: those of one shape
ALIKE = ("water", "ammonia", "fluoride")
#: where the tests look at the mixture: far enough from nothing that every term of the loss counts
SOMEWHERE = np.array([0.03, -0.05, 0.02])

#: ours, at a size that learns nothing useful
SMALL = Blocks("blocks-tiny", BlocksShape(8, 4, 1).of(2, 1, (1, 7, 8, 9)))


def store_of(names: Sequence[str], network: Any = None, memory: float = 1e9) -> GeometryStore:
    """A store of these molecules, each in a geometry of its own."""
    return GeometryStore([system(name, seed) for seed, name in enumerate(names)], LEVEL, network or Mixture(), memory)
