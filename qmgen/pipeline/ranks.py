"""placeholder: comes from the cluster branch"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Rank:
    rank: int = 0
    world_size: int = 1


def rank_of(rank: int | None, world_size: int | None, environment: Mapping[str, str]) -> Rank:
    return Rank(rank or 0, world_size or 1)
