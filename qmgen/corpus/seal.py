"""JSON files with a checksum of themselves, and values out of JSON files that anybody may have written.

The last member, ``sha256``, is that of the canonical JSON of all others; and the text must be the one that the values
are written as. Files from before there were checksums are taken as they are. Values are taken with their types and
bounds, or not at all.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final, TypeGuard

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


#: larger than any count of molecules, rows, bytes or seconds; twice it still fits into 64 bits
LARGEST: Final = 2**62


def units_of(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The finished units that a record names."""
    return [unit for unit in list_of(record.get("units")) if isinstance(unit, dict)]


def list_of(value: Any) -> list[Any]:
    """A list; an empty one for anything else."""
    return value if isinstance(value, list) else []


def number_of(value: Any) -> float:
    """A number that is not negative; 0 for anything else."""
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if plain and 0 <= value < LARGEST else 0.0


def is_count(value: Any, least: int = 0, most: int = LARGEST) -> TypeGuard[int]:
    """Whether it is an integer within these bounds."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def whole_of(value: Any) -> int:
    """A count; 0 for anything else."""
    return int(number_of(value))
