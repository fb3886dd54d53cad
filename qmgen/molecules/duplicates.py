"""Equal molecules of a source, merged and counted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from qmgen.molecules.types import Failure, Molecule


class merge_duplicates(Iterator[Molecule | Failure]):
    """The entries without those whose canonical SMILES came before; ``merged`` counts the ones left out so far.

    Only molecules whose geometry is still to be made are merged: given geometries are all kept, since two of one
    molecule are two conformers. Failures pass through. Holds one SMILES a molecule in memory.
    """

    def __init__(self, entries: Iterable[Molecule | Failure]) -> None:
        self._entries = iter(entries)
        self._seen: set[str] = set()
        self.merged = 0

    def __next__(self) -> Molecule | Failure:
        for entry in self._entries:
            if isinstance(entry, Failure) or entry.positions is not None or not entry.smiles:
                return entry
            if entry.smiles not in self._seen:
                self._seen.add(entry.smiles)
                return entry
            self.merged += 1
        raise StopIteration
