"""Networks that predict a Hamiltonian, by the name of their preset: the interface that the rest of the program uses.

    network = network_of("blocks-small", level.basis, elements)
    seen = network.describe(inputs)                         # once for a geometry
    statistics = network.statistics([seen, ...])            # once for a training
    correction = network.correction(params, statistics, seen)

``blocks`` was made for this program, ``qpt`` is that of arXiv 2402.04030.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Final

import jax
import numpy as np

from qmgen.dft.basis import Basis
from qmgen.errors import UsageError
from qmgen.learning.data.packed import HEAVIEST
from qmgen.learning.hamiltonian import Inputs, block_description, blocks, qpt
from qmgen.learning.hamiltonian.block_description import BlocksShape
from qmgen.learning.hamiltonian.blocks import BLOCKS_PRESETS as BLOCKS
from qmgen.learning.hamiltonian.qpt import ELEMENTS, PLACES, QptShape
from qmgen.learning.hamiltonian.qpt import QPT_PRESETS as QPT
from qmgen.learning.training.checkpoint import shape_of

Params = Any
#: elements of rows beyond the second are not part of what is enumerated
_HEAVIER: Final = 11
#: orbitals of an atom; those of the largest basis sets are fewer
_SLOTS: Final = 256


@dataclass(frozen=True)
class Network(ABC):
    """Pure functions of one molecule; batches are mapped. ``kind`` is its name in files, ``learning_rate`` what suits
    it."""

    preset: str
    shape: Any
    kind: ClassVar[str]
    learning_rate: ClassVar[float]

    @abstractmethod
    def init(self, key: jax.Array) -> Params:
        """Weights, float32, with which the correction is zero."""

    @abstractmethod
    def describe(self, inputs: Inputs) -> Any:
        """What does not change in training: made once for each geometry."""

    @abstractmethod
    def correction(self, params: Params, statistics: Any, seen: Any) -> jax.Array:
        """(n, n) W in Hartree, symmetric, zero on padding."""

    def statistics(self, seen: Sequence[Any]) -> Any:
        """What is taken from a training set as a whole: a pytree of arrays."""
        return ()

    def statistics_from(self, leaves: Sequence[Any]) -> Any:
        """The statistics of the leaves of the pytree, in their order."""
        return ()

    def to_json(self) -> dict[str, Any]:
        """All that ``network_from`` needs."""
        return {"kind": self.kind, "preset": self.preset, "shape": asdict(self.shape)}


class Blocks(Network):
    """Features of atoms and pairs, coefficients of blocks of the physical matrices."""

    kind = "blocks"
    learning_rate = 2e-3

    def init(self, key: jax.Array) -> Params:
        return blocks.init_blocks(key, self.shape)

    def describe(self, inputs: Inputs) -> Any:
        return block_description.describe_blocks(self.shape, inputs)

    def correction(self, params: Params, statistics: Any, seen: Any) -> jax.Array:
        return blocks.correct_blocks(params, self.shape, block_description.normalized(self.shape, statistics, seen))

    def statistics(self, seen: Sequence[Any]) -> Any:
        return block_description.statistics_of(self.shape, list(seen))

    def statistics_from(self, leaves: Sequence[Any]) -> Any:
        statistics, elements = block_description.InvariantStatistics(*leaves), len(self.shape.elements)
        mean, scale = np.shape(statistics.mean), np.shape(statistics.scale)
        if mean[:3] != (2, elements, elements) or mean != scale:
            raise ValueError("its statistics are of other elements")
        return statistics


class Qpt(Network):
    """That of arXiv 2402.04030: a transformer whose tokens are atomic orbitals."""

    kind = "qpt"
    learning_rate = 5e-4

    def init(self, key: jax.Array) -> Params:
        return qpt.init_qpt(key, self.shape)

    def describe(self, inputs: Inputs) -> Any:
        return qpt.describe_qpt(self.shape, inputs)

    def correction(self, params: Params, statistics: Any, seen: Any) -> jax.Array:
        return qpt.correct_qpt(params, self.shape, seen)


def network_of(preset: str, basis: Basis, elements: Sequence[int], published: bool = False) -> Network:
    """The network of a preset for molecules of ``elements`` in ``basis``; ``published``: that of the paper as it was.

    Raises ``UsageError`` for other names, and for what a network cannot describe.
    """
    if preset in QPT:
        places = max(basis.n_orbitals(np.array([z])) for z in elements)
        if max(elements) >= ELEMENTS or places > PLACES:
            raise UsageError(
                f"{preset} knows elements to {ELEMENTS - 1} and {PLACES} orbitals an atom: take blocks-small"
            )
        return Qpt(preset, QPT[preset].as_published() if published else QPT[preset])
    if published:
        raise UsageError(f"--published-form is for the qpt networks, and {preset} is none of them")
    if preset in BLOCKS:
        s, p = shells_of(basis, elements)
        return Blocks(preset, BLOCKS[preset].of(s, p, tuple(sorted(int(z) for z in elements))))
    raise UsageError(f"no network is called {preset!r}: choose from {', '.join([*BLOCKS, *QPT])}")


def network_from(about: dict[str, Any]) -> Network:
    """The network that ``to_json`` described. Raises ``KeyError`` and the like for what is none."""
    if not isinstance(about, dict) or not isinstance(about["preset"], str):
        raise TypeError("its network is no table")
    shape = about["shape"]
    if about["kind"] == "qpt":
        return Qpt(about["preset"], shape_of(QptShape, shape))
    if about["kind"] != "blocks":
        raise KeyError(about["kind"])
    size = shape_of(BlocksShape, {**shape, "elements": tuple(shape["elements"])})
    if not all(isinstance(z, int) and 0 < z <= HEAVIEST for z in size.elements) or size.slots > _SLOTS:
        raise ValueError("its atoms are none")
    return Blocks(about["preset"], size)


def shells_of(basis: Basis, elements: Sequence[int] = ()) -> tuple[int, int]:
    """The most s and p shells that an atom of the first two rows has in a basis set, or one of ``elements``."""
    counts = [
        [sum(shell.angular_momenta.count(l) for shell in basis.shells(number)) for l in (0, 1)]
        for number in sorted(basis.elements)
        if number < _HEAVIER or number in elements
    ]
    most = np.max(counts, axis=0)
    return int(most[0]), int(most[1])
