"""A trained language model in a few lines for people."""

from __future__ import annotations

import math
from typing import Any

from qmgen.learning.fp8 import NOTE


def text(result: dict[str, Any]) -> str:
    """What ``result.json`` says first."""
    loss, left_out = result["validation_loss"], result.get("unreadable", 0)
    speed = result["tokens_seen"] / max(result["seconds"], 1e-9)
    return "\n".join(
        [
            f"{result['arch']} {result['preset']}, {result['parameters']:,} parameters, {result['precision']}",
            f"{result['tokens_seen']:,} tokens in {result['steps']} steps, {result['seconds']:.0f} s, {speed:.0f}/s",
            f"held out: {loss:.4f} nats a token (perplexity {math.exp(loss):.3f}), next token right "
            f"{100 * result['validation_accuracy']:.2f} %",
            *([f"{left_out} lines were left out that cannot be tokenised"] if left_out else []),
            *([NOTE] if result["emulated"] else []),
        ]
    )
