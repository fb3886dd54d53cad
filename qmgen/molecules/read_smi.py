"""Reader of ``.smi``: one SMILES a line, white space, an optional name; ``#`` comments and blank lines are skipped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from qmgen.molecules.entries import from_smiles
from qmgen.molecules.types import Failure, Molecule


def read_smi(path: Path) -> Iterator[Molecule | Failure]:
    """The entries of a ``.smi`` file, in order. A name may hold spaces; bytes that are not UTF-8 become U+FFFD."""
    with path.open(encoding="utf-8-sig", errors="replace") as lines:
        molecule_id = 0
        for line in lines:
            text = line.strip()
            if not text or text.startswith("#"):
                continue
            smiles, _, name = text.replace("\t", " ").partition(" ")
            yield from_smiles(molecule_id, smiles, name.strip())
            molecule_id += 1
