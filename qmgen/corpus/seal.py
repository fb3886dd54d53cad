"""JSON files that carry a checksum of themselves, so that a changed byte shows wherever it is.

The last member, ``sha256``, is that of the canonical JSON of all others; and the text must be the one that the values
are written as. Files from before there were seals are taken as they are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final

from qmgen.corpus.schema import canonical_json
from qmgen.documents import table_of
from qmgen.errors import first_line

KEY: Final = "sha256"
CHANGED: Final = "is not what was written (its checksum differs)"
_DIGEST: Final = re.compile("[0-9a-f]{64}")


def sealed(value: Mapping[str, Any], indent: int = 2) -> bytes:
    """The document of ``value``, a table of plain values, with its checksum."""
    inside = {key: one for key, one in value.items() if key != KEY}
    return _document({**inside, KEY: _sum(inside)}, indent)


def fault(content: bytes, indent: int = 2) -> str | None:
    """What is wrong with a document, in words; None where it is what was written, as far as it can tell."""
    try:
        value = table_of(content)
    except ValueError as error:
        return f"cannot be read ({first_line(error)})"
    return CHANGED if _broken(value, content, indent) else None


def sound_table(content: bytes, indent: int = 2) -> dict[str, Any]:
    """What a document holds. Raises ``ValueError`` where it has a ``fault``: a changed value must not be taken over."""
    value = table_of(content)
    if _broken(value, content, indent):
        raise ValueError(f"it {CHANGED}")
    return value


def _broken(value: dict[str, Any], content: bytes, indent: int) -> bool:
    if KEY not in value:
        last = next(reversed(value.values()), None)  # a seal under another name, where a byte of the name was changed
        return isinstance(last, str) and _DIGEST.fullmatch(last) is not None
    inside = {key: one for key, one in value.items() if key != KEY}
    return value[KEY] != _sum(inside) or content != _document(value, indent)


def _sum(inside: Mapping[str, Any]) -> str:
    return sha256(canonical_json(inside).encode()).hexdigest()


def _document(value: Mapping[str, Any], indent: int) -> bytes:
    return (json.dumps(value, indent=indent, ensure_ascii=False) + "\n").encode()
