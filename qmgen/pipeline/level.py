"""The level of theory: as it stands in the files, what it can label, and the network whose densities begin the SCF.

What counts of a network (``--guess RUN``) is the SHA-256 of its file. It stands in the rows' recipe and metadata; where
the run lies and what it is called stands in config.toml, in the manifest and in ``runs/``, and may change.
jax is imported where a level is asked for: a worker that imports this module is not prepared yet.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from qmgen.corpus.unit_records import digest
from qmgen.defaults import PLAIN_GUESSES
from qmgen.documents import table_of
from qmgen.errors import QmgenError, UsageError, first_line
from qmgen.labeling.types import Settings, is_network, network_guess
from qmgen.molecules.entries import atomic_numbers, check_supported
from qmgen.molecules.geometry import symbol_of
from qmgen.molecules.types import Failure, Molecule, failure

if TYPE_CHECKING:
    from qmgen.dft.level import LevelOfTheory
    from qmgen.labeling.types import Guess
    from qmgen.pipeline.stages import Stages

#: the file of a run, and the key of its metadata that qmgen writes
_MODEL: Final = "model.safetensors"
_KEY: Final = "qmgen"
#: trained networks that predict labels and no density
_NO_DENSITY: Final = ("schnet",)
_HOW: Final = "give what `qmgen train energy --out` was given"
GRID = "Becke partition, Treutler-Ahlrichs radii, Lebedev angles, NWChem pruning: PySCF's points of this level"


def level_of_theory(settings: Settings) -> dict[str, Any]:
    """Plain values for the metadata: enough to compute the same labels again with another program.

    Raises ``UsageError`` on an unknown functional, basis, grid level, precision or guess, with the nearest name.
    """
    from qmgen.labeling.level import level_of

    return described(level_of(settings), settings)


def described(level: LevelOfTheory, settings: Settings) -> dict[str, Any]:
    """``level_of_theory`` of a level that is known; ``settings`` hold the thresholds."""
    values = asdict(settings)
    for said_otherwise in (*asdict(level), "batch_size"):
        values.pop(said_otherwise)
    return {
        "method": "closed-shell Kohn-Sham (RKS)",
        "xc": level.functional.name,
        "functional": level.functional.description,
        "basis": level.basis_set.name,
        "basis_checksum": level.basis_set.checksum,
        **_coulomb_exchange(level),
        "grid": GRID,
        "grid_level": level.grid_level,
        **values,
    }


def _coulomb_exchange(level: LevelOfTheory) -> dict[str, Any]:
    """How J and K are made, and Cartesian functions; nothing where all of it is as it was when there was no choice."""
    from qmgen.dft.fitting import RATIO, default_jk, generated

    basis, fitting = level.basis_set, level.fitting_set
    values: dict[str, Any] = {"cartesian": True} if level.cartesian else {}
    if level.jk == "exact" == default_jk(basis):
        return values
    values["jk"] = level.jk
    if fitting is None:
        return values
    values |= {"auxbasis": fitting.name, "auxbasis_checksum": fitting.checksum}
    if parts := generated(basis, fitting):
        # [l, number, smallest exponent in 1/Bohr^2] of each element
        values["auxbasis_even_tempered"] = {symbol_of(z): [list(part) for part in found] for z, found in parts.items()}
        values["auxbasis_ratio"] = RATIO
    return values


def check_level(entry: Molecule | Failure, settings: Settings) -> Molecule | Failure:
    """The entry, or one failure for all its conformers, before any of them is made, if the basis set will not do."""
    from qmgen.labeling.level import element_problem, level_of, virtual_orbital_problem

    if isinstance(entry, Failure):
        return entry
    basis, numbers = level_of(settings).basis_set, atomic_numbers(entry)
    checked = check_supported(entry, basis.elements)
    if isinstance(checked, Failure):
        return replace(checked, detail=element_problem(numbers, basis) or checked.detail)
    problem = virtual_orbital_problem(numbers, basis)
    if problem is None:
        return entry
    place = -1 if entry.positions is None else entry.conformer_id
    return failure(entry.molecule_id, entry.name, entry.smiles, *problem, place)


@dataclass(frozen=True)
class NetworkGuess:
    """A trained network: the ``path`` of its run, what that is called (``run``), and the SHA-256 of its file."""

    path: str
    run: str
    checksum: str

    @property
    def guess(self) -> str:
        """The value of ``Settings.guess`` for it."""
        return network_guess(self.checksum)

    def about(self) -> dict[str, str]:
        """Plain values for manifest and run records."""
        return {"run": self.run, "sha256": self.checksum}


def describe_network(path: str) -> dict[str, Any]:
    """``checksum``, ``xc`` and ``basis`` of the network at ``path``: a run, or its file; no array is read.

    Raises ``UsageError`` with one line where there is none, or it says nothing of its level.
    """
    file = Path(path) / _MODEL if Path(path).is_dir() else Path(path)
    if not file.is_file():
        raise UsageError(f"guess = {path!r}: no training in it is finished yet, or it is none; {_HOW}")
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy") as stream:
            found = table_of((stream.metadata() or {}).get(_KEY, "{}"))
        level = found.get("level_of_theory") or {}
        if not all(isinstance(level[name], str) for name in ("xc", "basis")):
            raise TypeError("its level of theory is no text")
        known = {"checksum": digest(file), "xc": level["xc"], "basis": level["basis"]}
    except OSError as error:
        raise UsageError(f"guess = {path!r}: {error.strerror or error}") from error
    except (SafetensorError, ValueError, AttributeError, KeyError, TypeError) as error:
        what = "damaged" if isinstance(error, SafetensorError) else "no network of qmgen's"
        raise UsageError(f"guess = {path!r}: {file.name} is {what} ({first_line(error)}); {_HOW}") from error
    if found.get("kind") in _NO_DENSITY:
        raise UsageError(f"guess = {path!r}: a {found['kind']} predicts labels, and no density; {_HOW}")
    return known


def network_guess_of(guess: str, settings: Settings, stages: Stages) -> NetworkGuess | None:
    """What the setting ``guess`` names, where it is no plain word; ``settings`` say at which level it is to serve.

    Raises ``UsageError`` with one line where it is no such network, or was trained at another level.
    """
    if guess in PLAIN_GUESSES:
        return None
    path = os.path.abspath(Path(guess).expanduser())
    found = stages.about_guess(path)
    _refuse_other_level(guess, (found["xc"], found["basis"]), settings)
    return NetworkGuess(path, _run(path), found["checksum"])


def recorded_guess(recipe: Mapping[str, Any], path: str) -> NetworkGuess | None:
    """What a corpus of this ``recipe`` was begun from, whether or not it is still at ``path``."""
    guess = str(recipe.get("guess", ""))
    if not is_network(guess):
        return None
    path = os.path.abspath(path)
    return NetworkGuess(path, _run(path), guess.partition(":")[2])


def _run(path: str) -> str:
    """What the run at ``path``, its folder or its file, is called."""
    folder, name = os.path.split(path)
    return os.path.basename(folder) if name == _MODEL else name


#: what this process has opened, by path and checksum
_OPEN: dict[tuple[str, str], Guess] = {}


def opened_guess(network: NetworkGuess, settings: Settings, stages: Stages) -> Guess:
    """The network itself, opened once in a process.

    Raises ``QmgenError`` where its file is not what it was when the run began; else as the station ``guess`` does.
    """
    key = network.path, network.checksum
    if key not in _OPEN:
        found = stages.guess(network.path)
        if found.checksum != network.checksum:
            raise QmgenError(
                f"the network in {network.path} was changed since this run began: run the same command again"
            )
        _refuse_other_level(network.path, tuple(found.level), settings)
        _OPEN[key] = found
    return _OPEN[key]


def _refuse_other_level(name: str, level: tuple[str, ...], settings: Settings) -> None:
    """By the names that ``settings``, from a configuration whose aliases are resolved, have."""
    wanted = settings.xc, settings.basis
    if tuple(level[:2]) != wanted:
        raise UsageError(
            f"guess = {name!r} was trained at {'/'.join(level[:2])}, and this is {'/'.join(wanted)}: "
            f"set --xc {level[0]} --basis {level[1]}, or train one at this level"
        )
