"""What an enumeration is asked for: how numbers of heavy atoms and lists of elements are written, and the defaults."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field

DEFAULT_ELEMENTS: Final = ("C", "N", "O", "F")
#: of `qmgen enumerate` and of `qmgen generate --enumerate` alike
DEFAULT_RULES: Final = "gdb11"


def _words(value: Any) -> Any:
    """``C,N,O`` as a list."""
    if isinstance(value, list | tuple) and len(value) == 1:
        value = value[0]
    return [word.strip() for word in value.split(",")] if isinstance(value, str) else value


#: of columns: ``name,pIC50``, or a list
Names = Annotated[list[str], BeforeValidator(_words)]
Elements = Annotated[list[str], BeforeValidator(_words), Field(min_length=1)]


def sizes_of(text: str) -> range:
    """``9`` or ``9-11`` as a range. Raises ``ValueError`` for anything else."""
    found = re.fullmatch(r"\s*(\d{1,3})\s*(?:-\s*(\d{1,3})\s*)?", text, re.ASCII)
    if found is None:
        raise ValueError(f"{text!r} is no number of heavy atoms: give 9 or 9-11")
    first, last = int(found[1]), int(found[2] or found[1])
    if not 1 <= first <= last:
        raise ValueError(f"{text!r} is no range of heavy atoms: give 9 or 9-11")
    return range(first, last + 1)
