"""The stations of the pipeline by name, so that each is imported only in the process and at the time it is needed.

A worker pins itself to its core before anything imports numpy or jax; and a test can put a stand-in for any station.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class Stages:
    """``module:function`` of each station.

    ``read(path, smiles_column)`` (with a third, the columns to keep, where there are any) and ``merge(entries)`` yield
    Molecule or Failure; ``merge`` hands out each before it
    takes the next. ``parse(molecule_id, smiles, name)`` returns one. ``check(entry, settings)`` hands it back, or a
    Failure if the level of theory cannot label it. ``conformers(molecules, count, seed, time_limit, procedure=...)``
    yields Conformer, Failure or Pruned, ``label(conformers, settings, starting)`` (Conformer, Label) or Failure, in any
    order; it calls ``starting(batch)`` with the conformers of each batch before it works on them. Where a network is
    the first guess it is given ``guess=`` and ``tally=`` too: ``guess(path)`` opens one (``labeling.Guess``, with its
    ``checksum`` and its ``level``, the names of functional and basis), ``about_guess(path)`` says what it is: a mapping
    with ``checksum``, ``xc`` and ``basis``.
    ``prepare()`` sets the switches of the process; ``theory(settings)`` describes the level of theory and refuses
    an unknown one.
    """

    read: str = "qmgen.molecules.readers:read_molecules"
    parse: str = "qmgen.molecules.entries:from_smiles"
    merge: str = "qmgen.molecules.entries:merge_duplicates"
    check: str = "qmgen.pipeline.level:check"
    conformers: str = "qmgen.molecules.embedding_pool:conformers"
    label: str = "qmgen.labeling:label"
    guess: str = "qmgen.learning.energy.stored:open_guess"
    about_guess: str = "qmgen.pipeline.learned:about"
    prepare: str = "qmgen.runtime:prepare"
    theory: str = "qmgen.pipeline.level:level_of_theory"

    def load(self, stage: str) -> Callable[..., Any]:
        """The function of a station: ``stages.load("label")``."""
        module, _, name = getattr(self, stage).partition(":")
        function: Callable[..., Any] = getattr(import_module(module), name)
        return function
