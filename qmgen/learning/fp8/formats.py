"""The 8-bit floating-point formats.

name       sign.exponent.mantissa  largest   of
e4m3fn     1.4.3                   448       OCP, NVIDIA, AMD from MI350; no infinity, one NaN
e5m2       1.5.2                   57344     OCP
e4m3fnuz   1.4.3, bias 8           240       Graphcore IPU, AMD MI300; no infinity, no negative zero
e5m2fnuz   1.5.2, bias 16          57344     the same

Micikevicius et al., arXiv 2209.05433; Noune et al., arXiv 2206.02915 (the IPU's).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import jax.numpy as jnp


@dataclass(frozen=True)
class Format:
    """``largest`` is its largest finite value; ``dtype`` NumPy's and JAX's type of it."""

    name: str
    dtype: Any
    largest: float

    def bits(self) -> tuple[int, int]:
        """Exponent and mantissa of ``largest`` as a float32: largest = (1 + mantissa 2^−23) 2^exponent."""
        fraction, exponent = math.frexp(self.largest)
        return exponent - 1, int((2.0 * fraction - 1.0) * 2**23)


E4M3: Final = Format("e4m3fn", jnp.float8_e4m3fn, 448.0)
E5M2: Final = Format("e5m2", jnp.float8_e5m2, 57344.0)
E4M3_IPU: Final = Format("e4m3fnuz", jnp.float8_e4m3fnuz, 240.0)
E5M2_IPU: Final = Format("e5m2fnuz", jnp.float8_e5m2fnuz, 57344.0)
FORMATS: Final = {format.name: format for format in (E4M3, E5M2, E4M3_IPU, E5M2_IPU)}
