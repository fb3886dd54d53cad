"""Values of Arrow as texts, numbers, elements and positions: of any type that writers of Parquet give them."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any, Final

import numpy as np

from qmgen.molecules.geometry import MOST_ATOMS, number_of
from qmgen.molecules.types import one_line

#: symbols and numbers of atoms in one text
_ATOM: Final = re.compile(r"[A-Z][a-z]?|[0-9]+")
_FORMULA: Final = re.compile(r"(?:([A-Z][a-z]?)([0-9]{0,4}))")


def inner_type(kind: Any) -> Any:
    """The type of the elements of a list, of whatever kind of list; None for another type."""
    import pyarrow.types as kinds

    lists = (kinds.is_list, kinds.is_large_list, kinds.is_fixed_size_list, kinds.is_list_view, kinds.is_large_list_view)
    return kind.value_type if any(is_one(kind) for is_one in lists) else None


def is_text(kind: Any) -> bool:
    import pyarrow.types as kinds

    if kinds.is_dictionary(kind):
        return is_text(kind.value_type)
    texts = (kinds.is_string, kinds.is_large_string, kinds.is_string_view, kinds.is_binary, kinds.is_large_binary)
    return any(is_one(kind) for is_one in texts)


def holds_elements(kind: Any) -> bool:
    """Whether a column of this type may hold the elements of atoms: lists of whole numbers or texts, or one text."""
    import pyarrow.types as kinds

    leaf = inner_type(kind) or kind
    return is_text(leaf) or (leaf is not kind and bool(kinds.is_integer(leaf)))


def _out_of_dictionary(scalar: Any) -> Any:
    """The value itself, also where it stands in a dictionary; None for null."""
    scalar = scalar.value if hasattr(scalar, "dictionary") else scalar
    return scalar if scalar is not None and scalar.is_valid else None


def text_of(scalar: Any) -> str:
    """A text, with U+FFFD for bytes that are not UTF-8; "" for null."""
    if (scalar := _out_of_dictionary(scalar)) is None:
        return ""
    return scalar.as_buffer().to_pybytes().decode(errors="replace") if is_text(scalar.type) else str(scalar.as_py())


def length_of(scalar: Any) -> int:
    """Of a list its length, of nested ones that of all lists in it, of a text its bytes; 0 for null."""
    if (scalar := _out_of_dictionary(scalar)) is None:
        return 0
    if inner_type(scalar.type) is None:
        return int(scalar.as_buffer().size) if is_text(scalar.type) else 0
    values = scalar.values
    return len(values) if inner_type(values.type) is None else max(len(values), len(values.flatten()))


def python_value(scalar: Any) -> Any:
    """A value in Python's types, a text as ``text_of``; of a longer list the first ``MOST_ATOMS`` + 1."""
    import pyarrow.types as kinds

    if (scalar := _out_of_dictionary(scalar)) is None:
        return None
    if kinds.is_map(scalar.type):
        entries = ((entry["key"], entry["value"]) for entry in scalar.values[: MOST_ATOMS + 1])
        return {text_of(key): python_value(value) for key, value in entries}
    if inner_type(scalar.type) is not None:
        values = scalar.values[: MOST_ATOMS + 1]
        return values.to_pylist() if kinds.is_primitive(values.type) else [python_value(value) for value in values]
    if kinds.is_struct(scalar.type):
        return {field.name: python_value(scalar[place]) for place, field in enumerate(scalar.type)}
    return text_of(scalar) if is_text(scalar.type) else scalar.as_py()


def numbers_of(scalar: Any) -> np.ndarray:
    """Atomic numbers (atoms,) int64 from a list of numbers or symbols, or from one text of symbols ("CCOH", "C C") or
    of numbers ("6 6 8 1"). Raises ``ValueError`` for others, also for a formula ("H2O"): its digits are no elements."""
    is_list = inner_type(scalar.type) is not None
    text = "" if is_list else text_of(scalar)
    parts = _ATOM.findall(text) if not is_list else [text_of(value) for value in scalar] if scalar.is_valid else []
    if not parts:
        raise ValueError("no atoms")
    if not is_list and len({part.isdigit() for part in parts}) > 1:
        raise ValueError(f"symbols and numbers in {one_line(repr(text), 60)}; write the symbol of each atom, as in OHH")
    numbers = [number_of(part) for part in parts]
    for part, number in zip(parts, numbers, strict=True):
        if number is None:
            raise ValueError(f"no element {one_line(repr(part), 60)}")
    if rest := re.sub(r"[\s,;\[\]'\"]", "", _ATOM.sub("", text)):
        raise ValueError(f"no elements {one_line(repr(rest), 60)}")
    return np.array(numbers, dtype=np.int64)


def are_other_atoms(scalar: Any, numbers: np.ndarray) -> bool:
    """Whether a column of elements beside ``numbers`` (atoms,) states other atoms, by symbols or as a formula. A text
    that is neither states none."""
    try:
        return numbers_of(scalar).tolist() != numbers.tolist()
    except ValueError:
        text = text_of(scalar) if inner_type(scalar.type) is None else ""
    counts: Counter[int | None] = Counter()
    for symbol, count in _FORMULA.findall(text):
        counts[number_of(symbol)] += int(count or 1)
    return bool(counts) and None not in counts and not _FORMULA.sub("", text) and counts != Counter(numbers.tolist())


def positions_of(scalar: Any, atoms: int) -> np.ndarray:
    """Positions (atoms, 3) float64, as they stand, from a list of 3 ``atoms`` numbers or of ``atoms`` lists of three.

    A number that is null becomes NaN. Raises ``ValueError`` where there are more or fewer.
    """
    if not scalar.is_valid:
        raise ValueError("no coordinates")
    values = scalar.values
    if inner_type(values.type) is None:
        if len(values) != 3 * atoms:
            raise ValueError(f"{atoms} atoms and {len(values)} coordinates, not three an atom")
    else:
        lengths = [len(inner) if inner.is_valid else 0 for inner in values]
        if lengths != [3] * atoms:
            wrong = next((f"one of {length} numbers" for length in lengths if length != 3), "all of three numbers")
            raise ValueError(f"{atoms} atoms and {len(lengths)} lists, {wrong}; give three numbers an atom")
        values = values.flatten()
    return np.array(values.to_pylist(), dtype=np.float64).reshape(-1, 3)
