"""Equal molecules of a source, merged and counted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from qmgen.molecules.types import Failure, Molecule


def merge_key(entry: Molecule | Failure) -> str:
    """What duplicates have in common: the canonical SMILES; empty for what is never merged."""
    return "" if isinstance(entry, Failure) or entry.positions is not None else entry.smiles


class NamedDuplicates:
    """Notes of which molecules a source has duplicates with names: ``see`` each entry, then ask for ``keys``."""

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._named: set[str] = set()

    def see(self, entry: Molecule | Failure) -> None:
        """The next entry of the source."""
        key = merge_key(entry)
        if key and key in self._seen and entry.name:
            self._named.add(key)
        elif key:
            self._seen.add(key)

    @property
    def keys(self) -> frozenset[str]:
        """Their ``merge_key``."""
        return frozenset(self._named)


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
            key = merge_key(entry)
            if not key or key not in self._seen:
                self._seen.add(key)
                return entry
            self.merged += 1
        raise StopIteration
