"""AdamW for the weights; probes take the place of their own gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import optax

Params = dict[str, Any]


def decayed(weights: Params) -> Any:
    """Which leaves weight decay is for: matrices of the blocks and the head, no biases, norms or embeddings."""

    def one(path: Any, _: Any) -> bool:
        names = [str(getattr(key, "key", key)) for key in path]
        return names[-1] == "weight" or names[-1] == "head"

    return jax.tree_util.tree_map_with_path(one, weights)


def adamw(rate: Callable[[Any], Any], weight_decay: float, clip: float) -> optax.GradientTransformation:
    """AdamW (β 0.9, 0.95) behind a clip of the gradients' global norm, over {"weights", "probes"}."""
    inner = optax.chain(
        optax.clip_by_global_norm(clip), optax.adamw(rate, b1=0.9, b2=0.95, weight_decay=weight_decay, mask=decayed)
    )

    def update(gradients: Params, state: Any, params: Params | None = None) -> tuple[Params, Any]:
        assert params is not None
        updates, state = inner.update(gradients["weights"], state, params["weights"])
        return {"weights": updates, "probes": gradients["probes"]}, state

    return optax.GradientTransformation(lambda params: inner.init(params["weights"]), update)


def applied(params: Params, updates: Params) -> Params:
    """The parameters after a step."""
    return {"weights": optax.apply_updates(params["weights"], updates["weights"]), "probes": updates["probes"]}


def kept(params: Params, updates: Params) -> Params:
    """The same after a step that did not look at its scales."""
    return {"weights": optax.apply_updates(params["weights"], updates["weights"]), "probes": params["probes"]}
