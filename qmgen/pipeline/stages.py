"""The stations of the pipeline. Each imports what it needs when it is called, in the process that calls it.

A worker pins itself to its core before anything imports numpy or jax.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from qmgen.labeling.types import Guess, Label, LabelCosts, Settings
    from qmgen.molecules.embedding import Procedure
    from qmgen.molecules.types import Conformer, Failure, Molecule, Pruned


class Stages:
    """``Stages()`` are the real stations. Tests and measurements give functions to be called ``instead``, by the name
    of the station; a function is pickled by reference."""

    def __init__(self, **instead: Callable[..., Any]) -> None:
        if unknown := sorted(name for name in instead if not hasattr(type(self), name)):
            raise TypeError(f"there is no station {unknown[0]}")
        vars(self).update(instead)

    def replace(self, **instead: Callable[..., Any]) -> Stages:
        """These stations, with others ``instead`` of some."""
        return Stages(**vars(self) | instead)

    def read(self, path: Path, smiles_column: str | None, keep: Sequence[str] = ()) -> Iterator[Molecule | Failure]:
        """The entries of a file, with the columns ``keep``."""
        from qmgen.molecules.readers import read_molecules

        return read_molecules(path, smiles_column, keep)

    def parse(self, molecule_id: int, smiles: str, name: str) -> Molecule | Failure:
        """The entry of a SMILES string."""
        from qmgen.molecules.smiles import from_smiles

        return from_smiles(molecule_id, smiles, name)

    def merge(self, entries: Iterable[Molecule | Failure]) -> Iterable[Molecule | Failure]:
        """The entries without duplicates; each is handed out before the next is taken."""
        from qmgen.molecules.entries import merge_duplicates

        return merge_duplicates(entries)

    def check(self, entry: Molecule | Failure, settings: Settings) -> Molecule | Failure:
        """The entry, or a failure if the level of theory cannot label it."""
        from qmgen.pipeline.level import check_level

        return check_level(entry, settings)

    def conformers(
        self,
        molecules: Iterable[Molecule],
        count: int,
        seed: int,
        time_limit: float,
        procedure: Procedure | None = None,
    ) -> Iterator[Conformer | Failure | Pruned]:
        """``count`` conformers of each molecule, and what became of the others; ``time_limit`` in CPU seconds."""
        from qmgen.molecules.embedding import PLAIN
        from qmgen.molecules.embedding_pool import conformers

        return conformers(molecules, count, seed, time_limit, procedure=procedure or PLAIN)

    def label(
        self,
        conformers: Iterable[Conformer],
        settings: Settings,
        on_batch_start: Callable[[list[Conformer]], None] | None = None,
        guess: Guess | None = None,
        tally: LabelCosts | None = None,
    ) -> Iterator[tuple[Conformer, Label] | Failure]:
        """A label or a failure of each conformer, in any order. ``on_batch_start(conformers)`` is called before a batch
        is sent to the device. ``guess`` is a network that gives the first density; ``tally`` adds up what it cost."""
        from qmgen.labeling import label

        return label(conformers, settings, on_batch_start, guess=guess, tally=tally)

    def guess(self, path: str) -> Any:
        """The network of the run at ``path``, opened: a ``Guess`` with ``checksum`` and ``level`` (xc, basis)."""
        from qmgen.learning.energy.stored import open_guess

        return open_guess(path)

    def about_guess(self, path: str) -> Mapping[str, Any]:
        """``checksum``, ``xc`` and ``basis`` of the network at ``path``; nothing is opened on a device."""
        from qmgen.pipeline.level import describe_network

        return describe_network(path)

    def prepare(self) -> None:
        """Set the switches of the process."""
        from qmgen.runtime import prepare

        prepare()

    def theory(self, settings: Settings) -> dict[str, Any]:
        """The level of theory as plain values. Raises ``UsageError`` on an unknown one."""
        from qmgen.pipeline.level import level_of_theory

        return level_of_theory(settings)
