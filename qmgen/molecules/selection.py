"""What an enumeration keeps: multigraphs of some queries that pass a rule set, one form of each molecule.

    selection = Selection((Query(9, pruning=...),), load_rules("gdb11"), merge=True)
    for piece in selection.pieces():
        print(*piece.smiles, sep="\n")

The items of all queries are one sequence; ``ResumePoint`` is how far it has been gone through, which it takes to go
on after a stop.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np

from qmgen.molecules.enumeration.chemistry import molecules, own_form, stands_for_molecule
from qmgen.molecules.enumeration.items import NITRO_ATOMS, WHOLE, MultigraphBatch, Part, Query, batches
from qmgen.molecules.enumeration.pruning import NITRO, VALENCES, Removed
from qmgen.molecules.geometry import hill_formula
from qmgen.molecules.rules.ruleset import RuleSet
from qmgen.molecules.rules.table import Stage
from qmgen.molecules.rules.tautomers import is_representative


class ResumePoint(NamedTuple):
    """All items before ``item`` of query number ``query`` are done."""

    query: int
    item: int


FIRST: Final = ResumePoint(0, 0)


class Piece(NamedTuple):
    """SMILES in order; ``place`` is not None at the end of an item: the point to go on from."""

    smiles: list[str]
    place: ResumePoint | None


class FormulaCount(NamedTuple):
    """Of one formula: ``multigraphs`` that pass the rules, and the ``molecules`` they stand for."""

    heavy_atoms: int
    formula: str
    multigraphs: int
    molecules: int


@dataclass(frozen=True)
class Selection:
    """``queries`` one after another, of each the ``part``, filtered by ``rules``; under ``merge`` one tautomer each.

    ``judged_by_engine``: what the pruning of the queries leaves passes the rules up to this stage.
    """

    queries: Sequence[Query]
    rules: RuleSet
    merge: bool
    part: Part = WHOLE
    judged_by_engine: Stage = Stage.VALENCE
    removed: Removed = field(default_factory=Removed)

    def pieces(self, start: ResumePoint = FIRST) -> Iterator[Piece]:
        """The molecules from a place on."""
        for number in range(start.query, len(self.queries)):
            at = start.item if number == start.query else 0
            for batch in batches(self.queries[number], self.part, self.removed, at):
                if batch.item.number != at:
                    at = batch.item.number
                    yield Piece([], ResumePoint(number, at))
                yield Piece([smiles for _, smiles in self._judged(batch) if smiles], None)
            yield Piece([], ResumePoint(number + 1, 0))

    def batches(self) -> Iterator[MultigraphBatch]:
        """What the engine makes for the part, query by query, for ``kept``: to take the parts apart in one pass."""
        for query in self.queries:
            yield from batches(query, self.part, self.removed)

    def kept(self, batch: MultigraphBatch) -> Iterator[tuple[int, str]]:
        """The molecules of a batch: the number (1…) of the part that each was dealt to, and SMILES. Those of one part
        come in the order in which the part alone would give them."""
        return ((int(batch.parts[row]) + 1, smiles) for row, smiles in self._judged(batch) if smiles)

    def counts(self) -> Iterator[FormulaCount]:
        """What each batch adds; a formula may come several times."""
        for query in self.queries:
            for batch in batches(query, self.part, self.removed):
                names, index = formulas(batch)
                if self._keeps_all():
                    passed = np.ones(len(batch), np.bool_)
                    own = stands_for_molecule(batch)
                else:
                    passed, own = np.zeros((2, len(batch)), np.bool_)
                    for row, smiles in self._judged(batch):
                        passed[row], own[row] = True, bool(smiles)
                for k, name in enumerate(names):
                    here = index == k
                    if passed[here].any():
                        yield FormulaCount(query.heavy_atoms, name, int(passed[here].sum()), int(own[here].sum()))

    def _keeps_all(self) -> bool:
        """Whether the rules keep all that the engine makes, so that RDKit is needed less often."""
        return not self.merge and all(rule.stage == Stage.VALENCE for rule in self.rules)

    def _judged(self, batch: MultigraphBatch) -> Iterator[tuple[int, str]]:
        """Row and SMILES of the molecules that pass the rules; no SMILES where another form stands for the molecule."""
        from rdkit import Chem

        everything = self._keeps_all()
        for row, mol in enumerate(molecules(batch)):
            if not everything and self.rules.first_violation(mol, after=self.judged_by_engine) is not None:
                continue
            smiles = str(Chem.MolToSmiles(mol))
            own = own_form(batch, row, mol, smiles)
            if own and self.merge and not is_representative(mol, self.rules.accepts):
                own = False
            yield row, smiles if own else ""


def formulas(batch: MultigraphBatch) -> tuple[list[str], np.ndarray]:
    """The formulas in a batch, and for each row (k,) int64 the index of its own."""
    symbols = list(VALENCES)
    atoms = np.zeros((len(batch), len(symbols) + 1), np.int64)
    for code, symbol in enumerate(batch.symbols):
        number = (batch.elements == code).sum(axis=1)
        for inside, count in (NITRO_ATOMS if symbol == NITRO else {symbol: 1}).items():
            atoms[:, symbols.index(inside)] += count * number
    atoms[:, -1] = batch.hydrogens()
    kinds, index = np.unique(atoms, axis=0, return_inverse=True)
    return [hill_formula(dict(zip([*symbols, "H"], kind))) for kind in kinds.tolist()], index.ravel()
