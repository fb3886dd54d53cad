"""Ensembles that hang, crash or raise on chosen molecules; imported by name in the worker process."""

from __future__ import annotations

import os
import signal
import time

from qmgen.molecules.conformers import Ensemble, make
from qmgen.molecules.procedure import Procedure

HANGS, CRASHES, EXITS, RAISES = "CCCC", "CCCCC", "CCCCCC", "CCCCCCC"


def hostile(smiles: str, count: int, seed: int, procedure: Procedure) -> list[Ensemble]:
    if smiles == HANGS:
        time.sleep(600)
    if smiles == CRASHES:
        os.kill(os.getpid(), signal.SIGSEGV)
    if smiles == EXITS:
        os._exit(3)
    if smiles == RAISES:
        raise RuntimeError("Invariant Violation")
    return make(smiles, count, seed, procedure)


def on_one_point(smiles: str, count: int, seed: int, procedure: Procedure) -> list[Ensemble]:
    (made,) = make(smiles, count, seed, procedure)
    positions = [positions * 1e-3 if positions is not None else None for positions in made.positions]
    return [Ensemble(made.numbers, positions)]


def fails_second(smiles: str, count: int, seed: int, procedure: Procedure) -> list[Ensemble]:
    (made,) = make(smiles, count, seed, procedure)
    return [Ensemble(made.numbers, [p if k != 1 else None for k, p in enumerate(made.positions)])]


def where(smiles: str, count: int, seed: int, procedure: Procedure) -> list[Ensemble]:
    raise RuntimeError(str(os.getpid()))
