"""Operations of a step of SchNet: what matrix products it cannot do without."""

from __future__ import annotations

from collections.abc import Sequence

from qmgen.benchmark.training.molecules import Given
from qmgen.learning.schnet.shape import SchNetShape


def operations(shape: SchNetShape, given: Sequence[Given], padded: bool = True) -> dict[str, float]:
    """Floating-point operations of one step on each batch (a multiplication and an addition are two), by part.

    ``pairs``: the filter networks, each pair once; ``atoms``: all that is done for each atom. Backward counts twice the
    forward, but for the first filter layer, whose input has no gradient. ``padded`` counts dummies too.
    """
    atoms = pairs = 0
    for one in given:
        sizes = [one.numbers.shape[1]] * len(one.numbers) if padded else (one.numbers > 0).sum(axis=1).tolist()
        atoms += sum(sizes)
        pairs += sum(n * (n - 1) // 2 for n in sizes)
    hidden, filters, gaussians = shape.hidden, shape.filters, shape.gaussians
    of_pair = shape.interactions * 2 * (2 * gaussians * filters + 3 * filters * filters)
    of_atom = (
        3 * 2 * (shape.interactions * (2 * hidden * filters + hidden * hidden) + hidden * (hidden // 2) + hidden // 2)
    )
    return {"pairs": float(pairs * of_pair), "atoms": float(atoms * of_atom)}
