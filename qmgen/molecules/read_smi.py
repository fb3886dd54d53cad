"""Reader of ``.smi``: one SMILES a line, white space, an optional name; ``#`` comments and blank lines are skipped.

A CXSMILES block ``|...|`` may stand between SMILES and name.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from qmgen.molecules.entries import failure, from_smiles
from qmgen.molecules.text_file import LONGEST, open_text, read_lines
from qmgen.molecules.types import Failure, Molecule, Reason


def read_smi(path: Path) -> Iterator[Molecule | Failure]:
    """The entries of a ``.smi`` file, in order. A name may hold spaces; bytes that are not UTF-8 become U+FFFD."""
    with open_text(path) as lines:
        molecule_id = 0
        for number, line in enumerate(read_lines(lines), 1):
            if len(line) > LONGEST:
                detail = f"line {number}: a line of more than {LONGEST} characters"
                yield failure(molecule_id, "", "", Reason.UNREADABLE, detail)
                molecule_id += 1
                continue
            text = line.strip()
            if not text or text.startswith("#"):
                continue
            smiles, _, name = text.replace("\t", " ").partition(" ")
            name = name.strip()
            if name.startswith("|"):  # to the second bar; all of it where there is none
                closed = name.find("|", 1) + 1 or len(name)
                smiles, name = f"{smiles} {name[:closed]}", name[closed:].strip()
            yield from_smiles(molecule_id, smiles, name)
            molecule_id += 1
