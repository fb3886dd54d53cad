"""A trained language model in a few lines for people."""

from __future__ import annotations

import math
from typing import Any


def text(result: dict[str, Any]) -> str:
    """What ``result.json`` says first."""
    loss = result["validation_loss"]
    note = " (emulated on this device)" if result["emulated"] else ""
    speed = result["tokens_seen"] / max(result["seconds"], 1e-9)
    return "\n".join(
        [
            f"{result['arch']} {result['preset']}, {result['parameters']:,} parameters, {result['precision']}{note}",
            f"{result['tokens_seen']:,} tokens in {result['steps']} steps, {result['seconds']:.0f} s, {speed:.0f}/s",
            f"held out: {loss:.4f} nats a token (perplexity {math.exp(loss):.3f}), next token right "
            f"{100 * result['validation_accuracy']:.2f} %",
        ]
    )
