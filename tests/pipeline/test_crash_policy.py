"""What the deaths of workers mean: for the conformers in hand, for the unit, for the machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from qmgen.molecules.types import Failure, Reason
from qmgen.pipeline.crash_policy import (
    MAX_DEATHS_OUT_OF_MEMORY,
    MAX_DEATHS_WITHOUT_NEW_BEST,
    MAX_DEATHS_WITHOUT_PROGRESS,
    MAX_EXCLUDED_IN_A_ROW,
    MAX_UNEXPLAINED_DEATHS,
    ConformerKey,
    MachineHealth,
    UnitCrashes,
    WorkerDeath,
    death_of,
)
from qmgen.pipeline.messages import show_stage, shown_stage

SEGFAULT, KILL = WorkerDeath("SIGSEGV", True), WorkerDeath("SIGKILL", False, True)
A, B, C = (1, 0), (2, 0), (2, 1)


def excluded(key: ConformerKey, how: str, reason: Reason = Reason.WORKER_CRASHED) -> Failure:
    return Failure(*key, "", "", reason, f"{how} while it was being labelled")


needs_proc = pytest.mark.skipif(not Path("/proc/self/comm").exists(), reason="needs /proc")


@pytest.mark.parametrize(
    ("code", "memory", "limited", "how", "explained", "machine"),
    [
        (-11, False, False, "SIGSEGV", True, False),
        (-6, False, False, "SIGABRT", True, False),
        (-6, False, True, "SIGABRT", True, True),
        (-7, False, False, "SIGBUS", True, False),
        (-9, False, False, "SIGKILL", False, True),
        (-9, True, False, "SIGKILL for want of memory", True, True),
        (-15, True, False, "SIGTERM", False, True),
        (-40, False, False, "signal 40", False, True),
        (3, False, False, "exit code 3", True, False),
        (127, False, True, "exit code 127", True, True),
        (0, False, False, "exit code 0", True, False),
        (None, True, False, "it fell silent", False, True),
    ],
)
def test_how_a_worker_died(
    code: int | None, memory: bool, limited: bool, how: str, explained: bool, machine: bool
) -> None:
    assert death_of(code, memory, limited) == WorkerDeath(how, explained, machine)


def test_the_second_explained_death_condemns_and_company_counts_once() -> None:
    trial = UnitCrashes()
    assert trial.died(SEGFAULT, (A, B, C), 0, 0) == [] and set(trial.suspected) == {A, B, C}
    trial.survived((A,))
    assert trial.died(SEGFAULT, (B,), 0, 1) == [B]
    assert trial.excluded == {B: excluded(B, "SIGSEGV twice")} and set(trial.suspected) == {A, C}
    # the one that was through alone has a clean record again; the other has not
    assert trial.died(SEGFAULT, (A,), 0, 0) == [] and trial.died(WorkerDeath("exit code 3", True), (C,), 0, 0) == [C]
    assert trial.excluded[C] == excluded(C, "SIGSEGV and exit code 3")
    assert trial.died(SEGFAULT, (A,), 0, 0) == [A]


def test_company_alone_never_condemns() -> None:
    trial = UnitCrashes()
    for _ in range(3):
        assert trial.died(SEGFAULT, (A, B), 0, 0) == []
    assert not trial.excluded


def test_a_batch_of_one_counts_as_alone() -> None:
    trial = UnitCrashes()
    assert trial.died(SEGFAULT, (A,), 0, 0) == [] and trial.died(SEGFAULT, (A,), 0, 0) == [A]


def test_unexplained_deaths_condemn_only_the_very_unlucky() -> None:
    trial = UnitCrashes()
    trial.died(KILL, (A, B), 0, 0)
    for _ in range(MAX_UNEXPLAINED_DEATHS - 1):
        assert trial.died(KILL, (A,), 0, 0) == []
    trial.survived((A,))  # somebody else's doing after all
    for _ in range(MAX_UNEXPLAINED_DEATHS - 1):
        assert trial.died(KILL, (A,), 0, 0) == []
    assert trial.died(SEGFAULT, (A,), 0, 0) == []  # the first that counts
    assert trial.died(KILL, (A,), 0, 0) == [A]
    assert trial.excluded == {A: excluded(A, "SIGKILL 8 times", Reason.MACHINE_TROUBLE)}


def test_a_unit_that_gets_no_further_is_hopeless() -> None:
    trial = UnitCrashes()
    for _ in range(MAX_DEATHS_WITHOUT_PROGRESS - 1):
        trial.died(SEGFAULT, (), 0, 0)
    assert not trial.hopeless
    trial.died(SEGFAULT, (), 0, 5)
    trial.died(SEGFAULT, (), 0, 5)  # labelling what was labelled before is no progress
    assert not trial.hopeless
    for _ in range(MAX_DEATHS_WITHOUT_PROGRESS - 1):
        trial.died(SEGFAULT, (), 0, 5)
    assert trial.hopeless == MAX_DEATHS_WITHOUT_PROGRESS


def test_a_unit_that_others_kill_while_it_works_has_more_patience() -> None:
    trial = UnitCrashes()
    for _ in range(MAX_DEATHS_WITHOUT_NEW_BEST):
        assert not trial.hopeless
        trial.died(KILL, (), 2, 5)
    trial.died(KILL, (), 2, 5)
    assert trial.hopeless == MAX_DEATHS_WITHOUT_NEW_BEST


@needs_proc
def test_a_process_shows_its_stage() -> None:
    before = Path("/proc/self/comm").read_text()
    try:
        show_stage("label")
        assert Path("/proc/self/comm").read_text() == "qmgen:label\n" and shown_stage(os.getpid()) == "label"
        show_stage("a stage with a long name")
        assert shown_stage(os.getpid()) == "a stage w"
    finally:
        Path("/proc/self/comm").write_text(before.removeprefix("qmgen:"))
    assert shown_stage(os.getpid()) is None and shown_stage(2**22 + 1) is None


# ---- the machine's trouble


def crash(molecule: int, conformer: int = 0) -> Failure:
    return excluded((molecule, conformer), "SIGSEGV twice")


def doubt(molecule: int) -> Failure:
    return excluded((molecule, 0), "SIGKILL for want of memory twice", Reason.MACHINE_TROUBLE)


def test_several_molecules_in_a_row_are_the_machines_trouble() -> None:
    found = MachineHealth()
    for number in range(MAX_EXCLUDED_IN_A_ROW - 1):
        found.exclude(crash(number))
        found.exclude(crash(number, 1))  # another conformer is the same molecule
        assert found.in_doubt and found.lost is None
    found.labeled()
    assert not found.in_doubt
    for number in range(MAX_EXCLUDED_IN_A_ROW):
        assert found.lost is None
        found.exclude(crash(10 + number))
    assert found.lost == (
        "3 molecules in a row (10, 11, 12) ended their workers, the last one: SIGSEGV twice while it was being labelled"
    )


def test_molecules_that_ended_an_earlier_run_too_are_what_fails() -> None:
    found = MachineHealth(before={(number, 0) for number in range(9)})
    for number in range(9):
        found.exclude(crash(number))
    assert found.lost is None and not found.in_doubt
    for number in range(MAX_EXCLUDED_IN_A_ROW):  # too little memory is the machine's, however often
        found.exclude(doubt(number))
    assert found.lost is not None


@pytest.mark.parametrize(
    ("verdict", "proven", "never"), [(doubt(0), False, True), (doubt(0), True, False), (crash(0), False, False)]
)
def test_where_nothing_was_ever_labelled(verdict: Failure, proven: bool, never: bool) -> None:
    found = MachineHealth(proven)
    assert found.never is None
    found.exclude(verdict)
    assert (found.never is not None) is never
    found.labeled()
    assert found.never is None


def test_a_unit_that_has_no_memory_is_given_up_soon() -> None:
    trial = UnitCrashes()
    starved = WorkerDeath("too little memory", True, True)
    deaths_ = 0
    while not trial.hopeless:
        deaths_ += 1
        trial.died(starved, (), 0, 0)
    assert deaths_ == MAX_DEATHS_OUT_OF_MEMORY < MAX_DEATHS_WITHOUT_PROGRESS
