"""Batches of different molecules of one shape, epoch after epoch, in an order that the seed decides."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from qmgen.errors import QmgenError
from qmgen.learning.data.prefetch import prefetch
from qmgen.learning.energy.problems import Case, stacked
from qmgen.learning.energy.store import Ready, Store


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class EnergyBatch:
    """Cases and descriptions with a leading axis of B; ``baseline`` (B,) energies without a correction in Hartree;
    ``targets`` (B, n, n) converged Fock matrices and ``energies`` (B,), where there are labels, else None;
    ``weights`` (B,) float32, 0 for a repetition that only fills the batch."""

    cases: Case
    seen: Any
    baseline: Any
    targets: Any
    energies: Any
    weights: Any


@dataclass(frozen=True)
class Labels:
    """Converged ``energy`` in Hartree and Fock matrix (n, n) of a geometry."""

    energy: float
    fock: np.ndarray


class CaseFeed:
    """The geometries ``indices`` of a store as ``training.loop.Feed``.

    ``baselines`` by index are filled as geometries are met. ``labels`` by index, where the training has them.
    """

    def __init__(
        self,
        store: Store,
        indices: Sequence[int],
        size: int,
        seed: int,
        baseline: Any,
        labels: dict[int, Labels] | None = None,
    ) -> None:
        self._store, self._indices, self._size, self._seed = store, list(indices), size, seed
        self._baseline, self._labels = baseline, labels
        self._baselines: dict[int, float] = {}

    def batches(self, place: dict[str, Any] | None) -> Generator[tuple[EnergyBatch, dict[str, Any], int]]:
        with closing(prefetch(self._counted(place))) as ready:
            yield from ready

    def plan(self, epoch: int) -> list[list[int]]:
        """The batches of an epoch, each of one shape."""
        draw = np.random.default_rng([self._seed, epoch])
        rooms: dict[Any, list[int]] = {}
        for index in draw.permutation(self._indices).tolist():
            rooms.setdefault(self._store.shapes[index], []).append(index)
        batches = [room[k : k + self._size] for room in rooms.values() for k in range(0, len(room), self._size)]
        return [batches[k] for k in draw.permutation(len(batches))]

    def _counted(self, place: dict[str, Any] | None) -> Generator[tuple[EnergyBatch, dict[str, Any], int]]:
        epoch, begin = (place["epoch"], place["batch"]) if place else (0, 0)
        while True:
            met = 0
            plan = self.plan(epoch)
            for number in range(begin, len(plan)):
                members = [(index, ready) for index in plan[number] if (ready := self._store.get(index)) is not None]
                if not members:
                    continue
                met += len(members)
                after = {"epoch": epoch, "batch": number + 1}
                yield jax.device_put(self._batch(members)), after, len(members)
            if begin == 0 and met == 0:
                raise QmgenError("no training geometry could be prepared")
            epoch, begin = epoch + 1, 0

    def _batch(self, members: list[tuple[int, Ready]]) -> EnergyBatch:
        size = self._size
        for index, ready in members:
            if index not in self._baselines:
                self._baselines[index] = float(self._baseline(ready.case))
        fill = [*members, *[members[0]] * (size - len(members))]
        found = None if self._labels is None else [self._labels[index] for index, _ in fill]
        return EnergyBatch(
            stacked([ready.case for _, ready in members], size),
            stacked([ready.seen for _, ready in members], size),
            np.array([self._baselines[index] for index, _ in fill]),
            None if found is None else np.stack([one.fock for one in found]),
            None if found is None else np.array([one.energy for one in found]),
            (np.arange(size) < len(members)).astype(np.float32),
        )
