"""What a unit that adds to a finished corpus knows of what is there: it labels only what is not, and counts it once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from qmgen.molecules.types import Failure

#: a row of a failures file: molecule_id, conformer_id, reason
FailureKey = tuple[int, int, str]


@dataclass(frozen=True)
class Already:
    """``known`` entries of the unit were counted before. Of the molecules in ``first`` the conformers below that number
    are there, of those in ``only`` just these are wanted; of all others all. ``labelled`` molecules have rows in
    earlier generations. ``decided`` are the earlier failures that the unit tries again."""

    known: int = 0
    first: Mapping[int, int] = field(default_factory=dict)
    only: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    labelled: frozenset[int] = frozenset()
    decided: tuple[FailureKey, ...] = ()

    def wants(self, molecule_id: int, conformer_id: int) -> bool:
        """Whether this conformer is to be labelled here."""
        if molecule_id in self.only:
            return conformer_id in self.only[molecule_id]
        return conformer_id >= self.first.get(molecule_id, 0)

    def failures(self, failure: Failure) -> Iterator[Failure]:
        """What ``failure`` comes to here: one of a whole molecule is one of each conformer that was wanted, where these
        are known one by one."""
        if failure.conformer_id < 0:
            wanted = self.only.get(failure.molecule_id, (failure.conformer_id,))
            yield from (replace(failure, conformer_id=conformer) for conformer in wanted)
        elif self.wants(failure.molecule_id, failure.conformer_id):
            yield failure

    def pruned(self, molecule_id: int, count: int) -> int:
        """How many of ``count`` pruned conformers were not counted before."""
        return 0 if molecule_id in self.only else count

    def keys(self) -> set[tuple[int, int]]:
        """What must become a row or a failure, as far as it is known one by one."""
        return {(molecule, conformer) for molecule, wanted in self.only.items() for conformer in wanted}

    def counts(self, rows: Mapping[str, list[dict[str, Any]]]) -> dict[str, Any]:
        """What the unit's failures file says about this: see ``corpus.books.Book``."""
        again = {split: len({r["molecule_id"] for r in of_split} & self.labelled) for split, of_split in rows.items()}
        found: dict[str, Any] = {"again": again}
        if self.decided:
            found["decided"] = [list(key) for key in self.decided]
        return found
