"""Sizes of language models, and how many parameters they have.

The presets are those of arXiv 2309.17224: Cerebras-GPT's shapes (GPT-2's network) and Llama 2's. ``tiny`` has about a
million parameters in either form, ``mini`` a seventh of that, for SMILES and a CPU.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from qmgen.errors import UsageError


@dataclass(frozen=True)
class LmShape:
    """A decoder: ``arch`` gpt (learned positions, LayerNorm, GELU, biases, head tied to the embedding) or llama (rotary
    positions, RMSNorm, SwiGLU, no biases, a head of its own).

    Attributes:
        width, layers, heads: of the residual stream; a head has ``width / heads`` features.
        kv_heads: heads of keys and values; ``heads`` but for grouped queries.
        inner: features within the feed-forward part.
        vocabulary: tokens; ``context``: positions.
        eps: of the normalization; ``theta``: base of the rotary angles.
    """

    arch: str
    width: int
    layers: int
    heads: int
    kv_heads: int
    inner: int
    vocabulary: int
    context: int
    eps: float = 1e-5
    theta: float = 10000.0

    def __post_init__(self) -> None:
        if self.arch not in ("gpt", "llama"):
            raise ValueError(f"arch is gpt or llama, not {self.arch!r}")
        if min(self.width, self.layers, self.heads, self.kv_heads, self.inner, self.vocabulary, self.context) < 1:
            raise ValueError("a network has at least one of everything")
        if self.width % self.heads or self.heads % self.kv_heads:
            raise ValueError("heads must divide the width, and heads of keys and values the heads")

    @property
    def head_width(self) -> int:
        return self.width // self.heads

    def of(self, vocabulary: int, context: int | None = None) -> LmShape:
        """The same network over other tokens."""
        return replace(self, vocabulary=vocabulary, context=context or self.context)

    def linears(self) -> dict[str, tuple[int, int]]:
        """(inputs, outputs) of the linear layers of a block: what FP8 is for."""
        d, kv, inner = self.width, self.kv_heads * self.head_width, self.inner
        if self.arch == "gpt":
            return {"qkv": (d, d + 2 * kv), "out": (d, d), "up": (d, inner), "down": (inner, d)}
        return {
            "q": (d, d), "k": (d, kv), "v": (d, kv), "out": (d, d),
            "gate": (d, inner), "up": (d, inner), "down": (inner, d),
        }  # fmt: skip

    def parameters(self) -> dict[str, int]:
        """Numbers of parameters by part: linear (weights of the blocks), other (biases and normalization), embedding
        (tokens and positions), head (0 where it is tied)."""
        linear = sum(inputs * outputs for inputs, outputs in self.linears().values())
        if self.arch == "gpt":
            biases = sum(outputs for _, outputs in self.linears().values())
            return {
                "linear": self.layers * linear,
                "other": self.layers * (biases + 4 * self.width) + 2 * self.width,
                "embedding": (self.vocabulary + self.context) * self.width,
                "head": 0,
            }
        return {
            "linear": self.layers * linear,
            "other": (2 * self.layers + 1) * self.width,
            "embedding": self.vocabulary * self.width,
            "head": self.vocabulary * self.width,
        }

    def total(self) -> int:
        """All parameters."""
        return sum(self.parameters().values())


#: tokens of GPT-2 and of Llama 2, and positions that all presets are counted with
GPT_VOCABULARY: Final = 50257
LLAMA_VOCABULARY: Final = 32000
PUBLISHED_CONTEXT: Final = 2048


def _gpt(width: int, layers: int, heads: int) -> LmShape:
    return LmShape("gpt", width, layers, heads, heads, 4 * width, GPT_VOCABULARY, PUBLISHED_CONTEXT)


def _llama(width: int, inner: int, layers: int, heads: int, kv_heads: int | None = None) -> LmShape:
    return LmShape("llama", width, layers, heads, kv_heads or heads, inner, LLAMA_VOCABULARY, PUBLISHED_CONTEXT)


PRESETS: Final = {
    "gpt-111m": _gpt(768, 10, 12),
    "gpt-590m": _gpt(1536, 18, 12),
    "gpt-1.3b": _gpt(2048, 24, 16),
    "gpt-6.7b": _gpt(4096, 32, 32),
    "gpt-13b": _gpt(5120, 40, 40),
    "llama2-7b": _llama(4096, 11008, 32, 32),
    "llama2-13b": _llama(5120, 13824, 40, 40),
    "llama2-70b": _llama(8192, 28672, 80, 64, 8),
}
#: sizes that come in either form
SMALL: Final = {
    "mini": {"gpt": _gpt(64, 3, 2), "llama": _llama(64, 176, 3, 2, 1)},
    "tiny": {"gpt": _gpt(128, 5, 4), "llama": _llama(128, 352, 5, 4, 2)},
}


NAMES: Final = (*SMALL, *PRESETS)


def published(preset: str, arch: str | None) -> LmShape:
    """The shape of a preset with its published vocabulary and 2048 positions.

    Raises ``UsageError``: no such preset, or one of another ``arch``.
    """
    if preset in SMALL:
        return SMALL[preset][arch or "gpt"]
    if preset not in PRESETS:
        raise UsageError(f"no preset is called {preset!r}: choose from {', '.join(NAMES)}")
    shape = PRESETS[preset]
    if arch is not None and shape.arch != arch:
        raise UsageError(f"the preset {preset} is a {shape.arch}: leave --arch out, or choose another preset")
    return shape
