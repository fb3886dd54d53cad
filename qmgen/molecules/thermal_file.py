"""Thermal geometries of molecules as a multi-frame ``.xyz``, which ``read_xyz`` gives back to the last bit."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qmgen.constants import BOHR_TO_ANGSTROM
from qmgen.errors import UsageError
from qmgen.molecules.embedding import EmbeddingRefused
from qmgen.molecules.geometry import symbol_of
from qmgen.molecules.stated_charge import has_statement
from qmgen.molecules.thermal import thermal_geometries
from qmgen.molecules.types import Conformer, Failure, Molecule


@dataclass(frozen=True)
class Written:
    """What came of a file; ``refused`` are molecules that have no geometry in it."""

    geometries: int
    molecules: int
    discarded: int
    refused: int


def write_thermal(
    entries: Iterable[Molecule | Failure],
    out: Path,
    count: int,
    temperatures: tuple[float, float],
    seed: int,
    refuse: Callable[[str, str], None],
) -> Written:
    """``count`` geometries of each molecule in Angstrom, one after the other; the file is whole or not there at all.

    The comment of a frame holds name (the SMILES where there is none), SMILES, temperature in Kelvin, force field and
    seed. ``refuse`` gets the name or SMILES, and the reason, of each molecule that has none. A geometry that an entry
    comes with is not used. Raises ``UsageError`` when nothing is left, or ``out`` cannot be written.
    """
    temporary = out.with_name(f".{out.name}.{os.getpid()}.part")
    geometries = molecules = discarded = refused = 0
    try:
        try:
            with temporary.open("x", encoding="utf-8", newline="") as stream:
                for place, entry in enumerate(entries):
                    try:
                        if isinstance(entry, Failure):
                            raise EmbeddingRefused(entry.detail, entry.reason)
                        made = thermal_geometries(entry.smiles, count, temperatures, seed, entry.name, place)
                    except EmbeddingRefused as error:
                        refuse(entry.name or entry.smiles, f"{error.reason.value}: {error}")
                        refused += 1
                        continue
                    for conformer, temperature in zip(made.conformers, made.temperatures, strict=True):
                        recipe = f"temperature_K={temperature:.2f} force_field={made.field} seed={seed}"
                        stream.write(frame(conformer, recipe))
                    geometries += len(made.conformers)
                    molecules += 1
                    discarded += made.discarded
                stream.flush()
                os.fsync(stream.fileno())
            if not geometries:
                raise UsageError(f"none of {refused} molecules has a geometry: {out} is not written")
            os.replace(temporary, out)
        except OSError as error:
            raise UsageError(f"cannot write {out}: {error.strerror or error}; choose another --out") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
    return Written(geometries, molecules, discarded, refused)


def frame(conformer: Conformer, recipe: str) -> str:
    """A frame of an ``.xyz`` file, positions in Angstrom; the comment ends with ``recipe``."""
    # a quote would end the name, a backslash before one too; and the reader takes "charge=1" in a name for a charge
    name = " ".join((conformer.name or conformer.smiles).split()).replace('"', "'")
    name = re.sub("[=:]", "-", name) if has_statement(name) else name
    name = re.sub(r"\\(?=[\\'\"]|$)", r"\\\\", name)
    lines = [f"{len(conformer.numbers)}", f'name="{name}" smiles="{conformer.smiles}" {recipe}']
    for number, at in zip(conformer.numbers, np.asarray(conformer.positions) * BOHR_TO_ANGSTROM, strict=True):
        lines.append(" ".join([symbol_of(int(number)), *(f"{x:.13g}" for x in at)]))
    return "\n".join(lines) + "\n"
