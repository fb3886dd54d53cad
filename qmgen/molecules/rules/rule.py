"""One rule: a name, what it is, where it comes from, and the test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Stage(StrEnum):
    """What a rule looks at, and so how early it can be applied."""

    VALENCE = "valence"
    GRAPH = "graph"
    BONDS = "bonds"
    ATOMS = "atoms"


@dataclass
class Rule:
    """Removes every molecule that ``test`` is true of; ``removed`` counts them.

    ``test`` gets an RDKit molecule in the aromatic form of ``aromatic.aromatic_form``. ``smarts`` and ``also`` are the
    patterns of the table, empty for a test that SMARTS cannot say. ``why`` says in words what is removed, ``source``
    where that is known from.
    """

    name: str
    stage: Stage
    why: str
    source: str
    test: Callable[[Any], bool] = field(repr=False)
    smarts: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    removed: int = 0
