"""Conformers: determinism, order, and what a failing, hanging or crashing embedding costs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from qmgen.constants import BOHR_TO_ANGSTROM
from qmgen.errors import Interrupted
from qmgen.molecules import embedding_pool
from qmgen.molecules.embedding import EmbeddingRefused, Procedure, conformer_seed, embed
from qmgen.molecules.embedding_pool import conformers
from qmgen.molecules.entries import check_supported
from qmgen.molecules.geometry import neighbors
from qmgen.molecules.types import Conformer, Failure, Molecule, Pruned, Reason


@pytest.fixture
def hostile(monkeypatch):
    """The module of hostile embeddings, importable by name here and in the worker."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    import hostile_embedding

    return hostile_embedding


def molecules(*smiles: str) -> list[Molecule]:
    return [Molecule(place, f"m{place}", text) for place, text in enumerate(smiles)]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


# ---- embedding itself


@pytest.mark.parametrize(
    "smiles", ["[H][H]", "C", "O", "F", "N#N", "[C-]#[O+]", "CCO", "c1ccccc1", "O=C=C=C=O", "[He]"]
)
def test_embedding_gives_sound_geometries_at_stored_precision(smiles):
    numbers, positions, *_ = embed(smiles, 2, seed=0)
    assert numbers.dtype == np.uint8 and len(positions) == 2
    for geometry in positions:
        assert geometry.shape == (len(numbers), 3) and geometry.dtype == np.float64
        assert np.array_equal(geometry, geometry.astype(np.float32))
        assert neighbors(numbers, geometry).closest[0] * BOHR_TO_ANGSTROM > 0.5


def test_a_conformer_depends_on_seed_and_molecule_alone():
    one, four = embed("CCCCO", 1, seed=3), embed("CCCCO", 4, seed=3)
    assert np.array_equal(one.positions[0], four.positions[0])
    assert not np.array_equal(four.positions[0], four.positions[1])
    assert not np.array_equal(one.positions[0], embed("CCCCO", 1, seed=4).positions[0])
    assert len({conformer_seed(s, m, k) for s in range(5) for m in ("C", "CC", "CCC") for k in range(5)}) == 75
    assert 0 <= conformer_seed(-1, "C", 0) < 2**31 - 1


@pytest.mark.parametrize("smiles", ["C.C", "[NH4+].[F-]", "C1CC"])
def test_what_is_not_one_molecule_is_refused(smiles):
    with pytest.raises(EmbeddingRefused):
        embed(smiles, 1, seed=0)


# ---- the stream


def test_worker_and_in_process_agree_whatever_the_neighbors():
    source = molecules("CCO", "C", "[H][H]", "CCCCCN", "c1ccccc1O")
    apart = list(conformers(source, count=2, seed=5))
    here = list(conformers(source, count=2, seed=5, in_process=True))
    alone = list(conformers([source[3]], count=2, seed=5, in_process=True))
    assert [(c.molecule_id, c.conformer_id) for c in apart] == [(m, k) for m in range(5) for k in range(2)]
    for a, b in zip(apart, here):
        assert np.array_equal(a.positions, b.positions) and np.array_equal(a.numbers, b.numbers)
        assert (a.name, a.smiles) == (b.name, b.smiles)
    assert np.array_equal(alone[1].positions, apart[7].positions)


def test_given_geometries_and_failures_pass_through_in_order():
    given = Molecule(1, "h2", "", np.array([1, 1], np.uint8), np.array([[0, 0, 0], [0, 0, 1.5]]), 0, 7)
    bad = Failure(3, -1, "bad", "C1CC", Reason.UNREADABLE, "no SMILES")
    source = [Molecule(0, "", "CO"), given, bad, Molecule(4, "", "N")]
    items = list(conformers(source, count=1, seed=0))
    assert [i.molecule_id for i in items] == [0, 1, 3, 4]
    assert items[1].conformer_id == 7 and items[1].positions is given.positions
    assert items[2] is bad


def test_no_worker_where_nothing_is_embedded(monkeypatch):
    monkeypatch.setattr("qmgen.processes.subprocess.Popen", None)
    given = Molecule(0, "", "", np.array([2], np.uint8), np.zeros((1, 3)))
    assert isinstance(next(conformers([given], count=1, seed=0)), Conformer)
    assert list(conformers([], count=1, seed=0)) == []


def test_more_molecules_than_are_taken_ahead(hostile):
    source = molecules(*["C", "CC", "CCC", "CO"] * 15)
    assert [c.molecule_id for c in conformers(iter(source), count=1, seed=0)] == list(range(60))


def test_isomers_of_a_molecule_share_its_number_and_no_key():
    source = molecules("CCO", "CC=CC(O)F", "CC(O)F")
    given = Molecule(3, "", "C[C@H](O)F", np.array([2], np.uint8), np.zeros((1, 3)), 0, 9)
    how = Procedure(stereo="enumerate")
    items = list(conformers([*source, given], count=3, seed=0, procedure=how))
    keys = [(c.molecule_id, c.conformer_id) for c in items]
    assert keys == [(0, k) for k in range(3)] + [(1, k) for k in range(12)] + [(2, k) for k in range(6)] + [(3, 9)]
    assert [len({c.smiles for c in items if c.molecule_id == m}) for m in range(4)] == [1, 4, 2, 1]
    assert [{c.family for c in items if c.molecule_id == m} for m in range(4)] == [
        {"CCO"}, {"CC=CC(O)F"}, {"CC(O)F"}, {"CC(O)F"},
    ]  # fmt: skip
    assert all(c.smiles == d.smiles for c, d in zip(items[3::3], items[4::3]))  # an isomer's conformers are together


def test_pruned_conformers_are_counted_in_the_stream():
    how = Procedure(relax="mmff", prune_rms=0.8, energy_window=10.0)
    source = molecules("C", "CCCCO", "CB(C)C", "CC")
    items = list(conformers(source, count=6, seed=0, procedure=how))
    here = list(conformers(source, count=6, seed=0, procedure=how, in_process=True))
    assert [type(i) for i in items] == [type(i) for i in here]
    assert all(np.array_equal(a.positions, b.positions) for a, b in zip(items, here) if isinstance(a, Conformer))
    by_molecule = {m: [i for i in items if i.molecule_id == m] for m in range(4)}
    assert by_molecule[0][1:] == [Pruned(0, 5)] and by_molecule[0][0].conformer_id == 0
    *left, pruned = by_molecule[1]
    assert 1 < len(left) < 6 and pruned == Pruned(1, 6 - len(left))
    (failure,) = by_molecule[2]
    assert (failure.reason, failure.conformer_id) == (Reason.NO_FORCE_FIELD, -1)
    assert by_molecule[3][-1] == Pruned(3, 5)
    assert not any(isinstance(i, Pruned) for i in conformers(source[:1], count=6, seed=0))


def test_given_geometries_are_neither_relaxed_nor_pruned():
    h2 = [Molecule(0, "", "[H][H]", np.array([1, 1], np.uint8), np.eye(3)[:2], 0, k) for k in range(3)]
    how = Procedure(relax="mmff", prune_rms=9.0, energy_window=1.0)
    items = list(conformers(h2, count=1, seed=0, procedure=how))
    assert [i.conformer_id for i in items] == [0, 1, 2] and np.array_equal(items[2].positions, np.eye(3)[:2])


# ---- failures cost one molecule


def test_a_molecule_that_takes_too_long_to_prune_costs_itself(hostile):
    """The limit is for all that is done with a molecule: here a thousand conformers, all pairs of them compared."""
    how = Procedure(prune_rms=1e-6)
    stream = conformers(molecules("CC(C)(C)CC(C)(C)C", "C"), count=1000, seed=0, time_limit=1.0, procedure=how)
    items = list(stream)
    assert (items[0].reason, items[0].conformer_id) == (Reason.EMBEDDING_TIMEOUT, -1)
    assert items[1:] and all(i.molecule_id == 1 for i in items[1:])


@pytest.mark.parametrize("how", [Procedure(embed="qm1b"), Procedure(relax="mmff", stereo="enumerate")], ids=str)
def test_a_crash_costs_one_molecule_whatever_the_procedure(hostile, how):
    source = molecules("CC", hostile.CRASHES, "C1#CC1", "CO")
    items = list(conformers(source, count=2, seed=1, embed_with=hostile.hostile, procedure=how))
    failed = {i.molecule_id: i.reason for i in items if isinstance(i, Failure)}
    assert failed[1] is Reason.EMBEDDING_CRASHED and set(failed) == {1, 2}
    assert [i.molecule_id for i in items if isinstance(i, Conformer)] == [0, 0, 3, 3]


def test_hang_crash_exit_and_exception_cost_one_molecule_each(hostile, capfd, monkeypatch):
    monkeypatch.setattr(embedding_pool, "_ASLEEP", 1.0)
    source = molecules("C", hostile.HANGS, "CC", hostile.CRASHES, hostile.EXITS, hostile.RAISES, "C.C", "CO")
    source += [Molecule(8, "", hostile.SPINS), Molecule(9, "", "CN")]
    items = list(conformers(source, count=1, seed=0, time_limit=1.0, embed_with=hostile.hostile))
    assert [i.molecule_id for i in items] == list(range(10))
    assert [getattr(i, "reason", None) for i in items] == [
        *(None, Reason.EMBEDDING_TIMEOUT, None, Reason.EMBEDDING_CRASHED, Reason.EMBEDDING_CRASHED),
        *(Reason.EMBEDDING_FAILED, Reason.MIXTURE, None, Reason.EMBEDDING_TIMEOUT, None),
    ]
    assert "SIGSEGV" in items[3].detail and "exit code 3" in items[4].detail and "within 1 s" in items[1].detail
    assert all(i.conformer_id == -1 for i in items if isinstance(i, Failure))
    plain = list(conformers(molecules("C", "CC"), count=1, seed=0, in_process=True))
    assert np.array_equal(items[2].positions, plain[1].positions)
    assert capfd.readouterr() == ("", "")


def test_time_spent_elsewhere_is_not_held_against_a_molecule():
    stream = conformers(molecules("C", "CC", "CCC"), count=1, seed=0, time_limit=1.0)
    assert isinstance(next(stream), Conformer)
    time.sleep(1.5)
    assert [type(item) for item in stream] == [Conformer, Conformer]


# ---- trouble of the machine


def test_a_process_that_was_stopped_longer_than_its_time_limit_goes_on(hostile, tmp_path, monkeypatch):
    monkeypatch.setenv("QMGEN_TEST_TOLD", str(tmp_path))

    def stop_and_continue():
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            time.sleep(0.01)
        pid = int((tmp_path / "pid").read_text())
        os.kill(pid, signal.SIGSTOP)
        time.sleep(4.0)
        os.kill(pid, signal.SIGCONT)

    thread = threading.Thread(target=stop_and_continue)
    thread.start()
    items = list(conformers(molecules("CCO"), count=1, seed=0, time_limit=2.0, embed_with=hostile.stopped_for_a_while))
    thread.join()
    assert [type(i) for i in items] == [Conformer]
    assert len((tmp_path / "pid").read_text().splitlines()) == 1  # nobody had to begin anew


def test_a_process_that_somebody_kills_costs_nothing(hostile, tmp_path, monkeypatch):
    monkeypatch.setenv("QMGEN_TEST_TOLD", str(tmp_path))
    stream = conformers(molecules("C", "CC", "CO"), count=1, seed=0, embed_with=hostile.troubled_once)
    assert [type(i) for i in stream] == [Conformer] * 3


@pytest.mark.parametrize(
    ("trouble", "said"),
    [("KILLED", "SIGKILL"), ("STOPPED", "stopped or starved"), ("STARVED", "too little memory")],
)
def test_what_may_be_the_machines_doing_is_no_fault_of_the_molecule(hostile, trouble, said, monkeypatch):
    monkeypatch.setattr(embedding_pool, "PATIENCE", 2.0)
    source = molecules("C", getattr(hostile, trouble), "CO")
    items = list(conformers(source, count=1, seed=0, embed_with=hostile.troubled))
    assert [getattr(i, "reason", None) for i in items] == [None, Reason.MACHINE_TROUBLE, None]
    assert said in items[1].detail and items[1].conformer_id == -1


@pytest.mark.parametrize("trouble", ["KILLED", "STARVED"])
def test_where_methane_is_not_embedded_either_all_of_it_ends(hostile, trouble, monkeypatch):
    monkeypatch.setenv("QMGEN_TEST_TROUBLE", getattr(hostile, trouble))
    stream = conformers(molecules("CC", "CCC", "CO"), count=1, seed=0, embed_with=hostile.always_troubled)
    assert isinstance(next(stream), Conformer)
    with pytest.raises(Interrupted, match="not even methane") as caught:
        next(stream)
    assert "same command continues" in str(caught.value) and "\n" not in str(caught.value)


def test_where_no_process_can_be_started_all_of_it_ends(monkeypatch):
    def refuse(*_, **__):
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr("qmgen.processes.subprocess.Popen", refuse)
    with pytest.raises(Interrupted, match="Cannot allocate memory"):
        list(conformers(molecules("C"), count=1, seed=0))


def test_embedded_atoms_on_one_point_and_missing_conformers(hostile):
    near = list(conformers(molecules("C"), count=2, seed=0, in_process=True, embed_with=hostile.on_one_point))
    assert [(i.reason, i.conformer_id) for i in near] == [(Reason.COINCIDENT_ATOMS, 0), (Reason.COINCIDENT_ATOMS, 1)]
    some = list(conformers(molecules("C"), count=3, seed=0, in_process=True, embed_with=hostile.fails_second))
    assert [type(i) for i in some] == [Conformer, Failure, Conformer]
    assert some[1].reason is Reason.EMBEDDING_FAILED and some[1].conformer_id == 1


def test_an_idle_worker_that_is_killed_costs_nothing(hostile):
    given = [Molecule(1, "", "", np.array([2], np.uint8), np.zeros((1, 3)))] * (2 * embedding_pool.AHEAD)
    stream = conformers([*molecules("C"), *given, *molecules("C")], count=1, seed=0, embed_with=hostile.where)
    first = int(next(stream).detail)
    os.kill(first, signal.SIGKILL)
    *between, last = stream
    assert between and all(isinstance(i, Conformer) for i in between)
    assert first != os.getpid() and last.reason is Reason.EMBEDDING_FAILED and int(last.detail) != first


@pytest.mark.parametrize("end", ["close", "exhaust", "raise"])
def test_the_worker_ends_with_the_iterator(hostile, end):
    def source():
        yield from molecules("C")
        if end == "raise":
            yield from (Molecule(k, "", "CC") for k in range(1, 40))
            raise KeyboardInterrupt

    stream = conformers(source(), count=1, seed=0, embed_with=hostile.where)
    pid = int(next(stream).detail)
    if end == "close":
        stream.close()
    elif end == "exhaust":
        list(stream)
    else:
        with pytest.raises(KeyboardInterrupt):
            list(stream)
    assert not alive(pid)


def test_a_worker_ends_when_its_parent_is_killed(hostile, tmp_path):
    program = (
        "import sys, time; from hostile_embedding import where; from qmgen.molecules.types import Molecule;"
        "from qmgen.molecules.embedding_pool import conformers;"
        "s = conformers([Molecule(0, '', 'C')], 1, 0, embed_with=where);"
        "print(next(s).detail, flush=True); time.sleep(60)"
    )
    path = os.pathsep.join(p for p in sys.path if p)
    parent = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path}
    )
    pid = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.communicate()
    deadline = time.monotonic() + 10
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(pid)


def test_a_worker_that_cannot_start_is_an_error(monkeypatch):
    monkeypatch.setattr("qmgen.processes.sys.executable", "/bin/false")
    with pytest.raises(Interrupted, match="does not start"):
        list(conformers(molecules("C"), count=1, seed=0))


def test_arguments_are_checked_at_once():
    for arguments in ({"count": 0}, {"count": 1, "time_limit": 0.0}):
        with pytest.raises(ValueError, match="must be positive"):
            conformers([], seed=0, **arguments)


# ---- elements


def test_check_supported_names_the_element():
    silane = Molecule(3, "silane", "C[SiH3]")
    refused = check_supported(silane, {1, 6, 7, 8, 9})
    assert refused.reason is Reason.UNSUPPORTED_ELEMENT and refused.molecule_id == 3
    assert refused.detail == "Si not in this basis (H C N O F)"
    assert check_supported(silane, {1, 6, 14}) is silane
    assert check_supported(refused, {1}) is refused
    assert check_supported(molecules("C")[0], {6}).detail == "H not in this basis (C)"
    given = Molecule(0, "", "", np.array([10], np.uint8), np.zeros((1, 3)))
    assert check_supported(given, {1, 10}) is given and check_supported(given, {1}).conformer_id == 0
