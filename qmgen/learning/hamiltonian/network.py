"""Networks that predict a Hamiltonian, by the name of their preset: what the rest of the program sees of them.

    network = network_of("blocks-small", level.basis, elements)
    seen = network.describe(inputs)                         # once for a geometry
    statistics = network.statistics([seen, ...])            # once for a training
    correction = network.correction(params, statistics, seen)

``blocks`` is ours, ``qpt`` that of arXiv 2402.04030.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Protocol

import jax
import numpy as np

from qmgen.dft.basis import Basis
from qmgen.errors import UsageError
from qmgen.learning.data.normalization import HEAVIEST
from qmgen.learning.hamiltonian import blocks_description as blocks_describe
from qmgen.learning.hamiltonian import blocks_model, qpt_model
from qmgen.learning.hamiltonian.blocks_description import BLOCKS_PRESETS as BLOCKS
from qmgen.learning.hamiltonian.blocks_description import BlocksShape
from qmgen.learning.hamiltonian.inputs import Inputs
from qmgen.learning.hamiltonian.qpt_description import ELEMENTS, PLACES, QptShape
from qmgen.learning.hamiltonian.qpt_description import QPT_PRESETS as QPT
from qmgen.learning.training.checkpoint import shape_of

Params = Any
#: elements of rows beyond the second are not part of what is enumerated
_HEAVIER: Final = 11
#: orbitals of an atom; those of the largest basis sets are fewer
_SLOTS: Final = 256


class Network(Protocol):
    """Pure functions of one molecule; batches are mapped. ``learning_rate`` is what suits it."""

    @property
    def preset(self) -> str: ...

    @property
    def learning_rate(self) -> float: ...

    def init(self, key: jax.Array) -> Params:
        """Weights, float32, with which the correction is zero."""
        ...

    def describe(self, inputs: Inputs) -> Any:
        """What does not change in training: made once for each geometry."""
        ...

    def statistics(self, seen: Sequence[Any]) -> Any:
        """What is taken from a training set as a whole: a pytree of arrays."""
        ...

    def statistics_from(self, leaves: Sequence[Any]) -> Any:
        """The statistics of the leaves of the pytree, in their order."""
        ...

    def correction(self, params: Params, statistics: Any, seen: Any) -> jax.Array:
        """(n, n) W in Hartree, symmetric, zero on padding."""
        ...

    def to_json(self) -> dict[str, Any]:
        """All that ``network_from`` needs."""
        ...


@dataclass(frozen=True)
class Blocks:
    """Ours: features of atoms and pairs, coefficients of blocks of the physical matrices."""

    preset: str
    shape: BlocksShape
    learning_rate: float = 2e-3

    def init(self, key: jax.Array) -> Params:
        return blocks_model.init_blocks(key, self.shape)

    def describe(self, inputs: Inputs) -> Any:
        return blocks_describe.describe_blocks(self.shape, inputs)

    def statistics(self, seen: Sequence[Any]) -> Any:
        return blocks_describe.statistics_of(self.shape, list(seen))

    def statistics_from(self, leaves: Sequence[Any]) -> Any:
        found, elements = blocks_describe.InvariantStatistics(*leaves), len(self.shape.elements)
        if np.shape(found.mean)[:3] != (2, elements, elements) or np.shape(found.mean) != np.shape(found.scale):
            raise ValueError("its statistics are of other elements")
        return found

    def correction(self, params: Params, statistics: Any, seen: Any) -> jax.Array:
        return blocks_model.correct_blocks(params, self.shape, blocks_describe.normalized(self.shape, statistics, seen))

    def to_json(self) -> dict[str, Any]:
        return {"kind": "blocks", "preset": self.preset, "shape": asdict(self.shape)}


@dataclass(frozen=True)
class Qpt:
    """That of arXiv 2402.04030: a transformer whose tokens are atomic orbitals."""

    preset: str
    shape: QptShape
    learning_rate: float = 5e-4

    def init(self, key: jax.Array) -> Params:
        return qpt_model.init_qpt(key, self.shape)

    def describe(self, inputs: Inputs) -> Any:
        return qpt_model.describe_qpt(self.shape, inputs)

    def statistics(self, seen: Sequence[Any]) -> Any:
        return ()

    def statistics_from(self, leaves: Sequence[Any]) -> Any:
        return ()

    def correction(self, params: Params, statistics: Any, seen: Any) -> jax.Array:
        return qpt_model.correct_qpt(params, self.shape, seen)

    def to_json(self) -> dict[str, Any]:
        return {"kind": "qpt", "preset": self.preset, "shape": asdict(self.shape)}


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
        raise UsageError(f"--published-form is for the qpt networks, and {preset} is ours")
    if preset in BLOCKS:
        s, p = shells_of(basis, elements)
        return Blocks(preset, BLOCKS[preset].of(s, p, tuple(sorted(int(z) for z in elements))))
    raise UsageError(f"no network is called {preset!r}: choose from {', '.join(presets())}")


def presets() -> list[str]:
    """The names of all presets."""
    return [*BLOCKS, *QPT]


def network_from(about: dict[str, Any]) -> Network:
    """The network that ``to_json`` described. Raises ``KeyError`` and the like for what is none."""
    if not isinstance(about, dict) or not isinstance(about["preset"], str):
        raise TypeError("its network is no table")
    shape = about["shape"]
    if about["kind"] == "qpt":
        return Qpt(about["preset"], shape_of(QptShape, shape))
    if about["kind"] != "blocks":
        raise KeyError(about["kind"])
    found = shape_of(BlocksShape, {**shape, "elements": tuple(shape["elements"])})
    if not all(isinstance(z, int) and 0 < z <= HEAVIEST for z in found.elements) or found.slots > _SLOTS:
        raise ValueError("its atoms are none")
    return Blocks(about["preset"], found)


def shells_of(basis: Basis, elements: Sequence[int] = ()) -> tuple[int, int]:
    """The most s and p shells that an atom of the first two rows has in a basis set, or one of ``elements``."""
    counts = [
        [sum(shell.angular_momenta.count(l) for shell in basis.shells(number)) for l in (0, 1)]
        for number in sorted(basis.elements)
        if number < _HEAVIER or number in elements
    ]
    most = np.max(counts, axis=0)
    return int(most[0]), int(most[1])
