"""Any source of molecules by its suffix: ``read_molecules("drugs.smi")``, as a stream of molecules and failures."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from qmgen.errors import UsageError, first_line
from qmgen.molecules.readers.text import Kept
from qmgen.molecules.types import Failure, Molecule

SUFFIXES: Final = (".smi", ".csv", ".sdf", ".xyz", ".parquet", ".tsv", ".mol", ".extxyz")
#: what all of them but Parquet may end in besides
COMPRESSED: Final = ".gz"
#: of files that hold SMILES without geometries: a row of a corpus holds all that such a file has of a molecule
SMILES_SUFFIXES: Final = (".smi", ".csv", ".tsv")
_KNOWN: Final = f"{' '.join(SUFFIXES)}, and all but .parquet with {COMPRESSED} behind"


def read_molecules(
    path: str | Path, smiles_column: str | None = None, keep: Sequence[str] = ()
) -> Iterator[Molecule | Failure]:
    """The entries of a file, in order and as a stream; ``molecule_id`` is the 0-based place of each.

    What cannot be read or labeled is a ``Failure`` with its reason, never an exception. ``smiles_column`` is for
    ``.csv`` and ``.tsv`` (default: the column with a usual name, see ``read_csv``).

    ``keep`` names columns of ``.csv`` and ``.parquet``, properties of ``.sdf`` and keys of the comments of ``.xyz``
    whose values the entries carry (``Molecule.kept``, in this order and without ``name``, which is the entry's name).

    Raises ``UsageError`` at once for a missing file, an unknown suffix, a missing column, or no entry at all; at the
    end for a property that no entry had.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    compressed = suffix == COMPRESSED
    suffix = Path(path.stem).suffix.lower() if compressed else suffix
    if suffix not in SUFFIXES or (compressed and suffix == ".parquet"):
        raise UsageError(f"{path}: unknown kind of file; the suffix must be one of {_KNOWN}")
    if smiles_column is not None and suffix not in (".csv", ".tsv"):
        raise UsageError(f"{path}: --smiles-column is for .csv files only")
    if not path.is_file():
        what = "is a directory, not a file" if path.is_dir() else "there is no such file"
        raise UsageError(f"{path}: {what}; give a file of molecules ({_KNOWN})")
    try:
        if path.stat().st_size == 0:
            raise UsageError(f"{path} is empty; give a file with at least one molecule")
        kept = Kept(keep)
        entries = _to_the_end(path, _entries(path, suffix, smiles_column, kept), kept)
        first = next(entries, None)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from None
    if first is None:
        raise UsageError(f"{path} holds no molecules; give a file with at least one")
    return itertools.chain([first], entries)


def _entries(path: Path, suffix: str, smiles_column: str | None, kept: Kept) -> Iterator[Molecule | Failure]:
    """The entries of a file, by the reader of its suffix, which is imported here."""
    match suffix:
        case ".smi":
            from qmgen.molecules.readers.smiles import read_smi

            kept.require(path, ())
            return read_smi(path)
        case ".csv" | ".tsv":
            from qmgen.molecules.readers.smiles import read_csv

            return read_csv(path, smiles_column, kept)
        case ".sdf" | ".mol":
            from qmgen.molecules.readers.sdf import read_sdf

            return read_sdf(path, kept)
        case ".xyz" | ".extxyz":
            from qmgen.molecules.readers.xyz import read_xyz

            return read_xyz(path, kept)
    from qmgen.molecules.readers.parquet import read_parquet

    return read_parquet(path, kept)


def read_files(paths: Iterable[str | Path]) -> Iterator[Molecule | Failure]:
    """The entries of several files one after the other; ``molecule_id`` counts on. All are opened before the first
    entry, so that a wrong name costs no work. Raises as ``read_molecules``."""
    opened = [read_molecules(path) for path in paths]

    def entries() -> Iterator[Molecule | Failure]:
        place = 0
        for file in opened:
            for entry in file:
                yield replace(entry, molecule_id=place)
                place += 1

    return entries()


def _to_the_end(path: Path, entries: Iterator[Molecule | Failure], kept: Kept) -> Iterator[Molecule | Failure]:
    """The entries; ``UsageError`` where a compressed file is cut or damaged, the disk fails, or no entry had a property
    that was to be kept."""
    try:
        yield from entries
    except (OSError, EOFError, zlib.error) as error:
        if isinstance(error, OSError) and error.strerror:
            raise UsageError(f"{path} cannot be read: {error.strerror}") from None
        raise UsageError(f"{path} is cut or damaged ({first_line(error)}); make or fetch it again") from None
    kept.finish(path)
