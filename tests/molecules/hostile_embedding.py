"""Ensembles that hang, crash or raise on chosen molecules; imported by name in the worker process."""

from __future__ import annotations

import os
import signal
import time

from qmgen.molecules.embedding import Ensemble, Procedure, make_conformers

HANGS, CRASHES, EXITS, RAISES, SPINS = "CCCC", "CCCCC", "CCCCCC", "CCCCCCC", "CCCCCCCC"
#: molecules of which the machine's trouble is met, and the one that it is tried with
KILLED, STOPPED, STARVED = "CCN", "CCO", "CCF"


def hostile(smiles: str, count: int, seed: int, procedure: Procedure) -> list[Ensemble]:
    if smiles == HANGS:
        time.sleep(600)
    if smiles == CRASHES:
        os.kill(os.getpid(), signal.SIGSEGV)
    if smiles == EXITS:
        os._exit(3)
    if smiles == RAISES:
        raise RuntimeError("Invariant Violation")
    while smiles == SPINS:
        pass
    return make_conformers(smiles, count, seed, procedure)


def troubled(smiles: str, count: int, seed: int, procedure: Procedure) -> list[Ensemble]:
    """Some molecules meet what a machine does to processes."""
    if smiles == KILLED:
        os.kill(os.getpid(), signal.SIGKILL)
    if smiles == STOPPED:
        os.kill(os.getpid(), signal.SIGSTOP)
    if smiles == STARVED:
        raise MemoryError
    return make_conformers(smiles, count, seed, procedure)


def always_troubled(smiles: str, count: int, seed: int, procedure: Procedure) -> list[Ensemble]:
    """The first molecule is well; from then on the machine does to all of them what it does to CCN, CCO, CCF."""
    return troubled("C" if smiles == "CC" else os.environ["QMGEN_TEST_TROUBLE"], count, seed, procedure)


def troubled_once(smiles: str, count: int, seed: int, procedure: Procedure) -> list[Ensemble]:
    """The first process that embeds a molecule is killed; files in QMGEN_TEST_TOLD say which were embedded."""
    seen = os.path.join(os.environ["QMGEN_TEST_TOLD"], smiles)
    if not os.path.exists(seen):
        with open(seen, "w"):
            pass
        os.kill(os.getpid(), signal.SIGKILL)
    return make_conformers(smiles, count, seed, procedure)


def stopped_for_a_while(smiles: str, count: int, seed: int, procedure: Procedure) -> list[Ensemble]:
    """Half a second of CPU time, after this process has told its number in a file: somebody stops it meanwhile."""
    with open(os.path.join(os.environ["QMGEN_TEST_TOLD"], "pid"), "a") as stream:
        stream.write(f"{os.getpid()}\n")
    begin = time.process_time()
    while time.process_time() - begin < 0.5:
        pass
    return make_conformers(smiles, count, seed, procedure)


def on_one_point(smiles: str, count: int, seed: int, procedure: Procedure) -> list[Ensemble]:
    (made,) = make_conformers(smiles, count, seed, procedure)
    positions = [positions * 1e-3 if positions is not None else None for positions in made.positions]
    return [Ensemble(made.numbers, positions)]


def fails_second(smiles: str, count: int, seed: int, procedure: Procedure) -> list[Ensemble]:
    (made,) = make_conformers(smiles, count, seed, procedure)
    return [Ensemble(made.numbers, [p if k != 1 else None for k, p in enumerate(made.positions)])]


def where(smiles: str, count: int, seed: int, procedure: Procedure) -> list[Ensemble]:
    raise RuntimeError(str(os.getpid()))
