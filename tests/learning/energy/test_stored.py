"""Networks as files: what is read is what was written, and what is none is one line."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from few_molecules import LEVEL, store_of

from qmgen.dft.basis import load_basis
from qmgen.errors import UsageError
from qmgen.learning.energy.stored import StoredHamiltonian, load_model, save_model
from qmgen.learning.hamiltonian.network import network_of
from qmgen.learning.training import checkpoint
from qmgen.learning.training.checkpoint import MODEL

ABOUT = {"xc": "b3lyp5", "basis": "sto-3g", "basis_checksum": "abc", "grid_level": 0, "elements": [1, 7, 8, 9]}


def stored(preset: str) -> tuple[StoredHamiltonian, Any]:
    """A network with weights at random, and what it sees of ammonia."""
    network = network_of(preset, LEVEL.basis_set, [1, 7, 8, 9])
    store = store_of(["water", "ammonia"], network)
    seen = [ready.seen for index in range(2) if (ready := store.get(index)) is not None]
    params = jax.tree.map(
        lambda leaf: leaf + 0.1 * jax.random.normal(jax.random.key(leaf.size), leaf.shape, leaf.dtype),
        network.init(jax.random.key(0)),
    )
    return StoredHamiltonian(network, params, network.statistics(seen), dict(ABOUT)), seen[1]


@pytest.mark.parametrize("preset", ["blocks-tiny", "qpt-tiny"])
def test_what_is_read_is_what_was_written(preset: str, tmp_path: Path) -> None:
    model, seen = stored(preset)
    save_model(tmp_path / MODEL, model)
    for path in (tmp_path, tmp_path / MODEL):
        found = load_model(path)
        assert found.network == model.network and found.path == tmp_path / MODEL and len(found.checksum) == 64
        assert {key: found.about[key] for key in ABOUT} == ABOUT
        kept = jax.tree.leaves((found.params, found.statistics))
        assert all(
            np.array_equal(a, b) and a.dtype == b.dtype
            for a, b in zip(kept, jax.tree.leaves((model.params, model.statistics)), strict=True)
        )
    corrections = [
        jax.jit(one.network.correction)(one.params, one.statistics, seen) for one in (model, load_model(tmp_path))
    ]
    assert np.abs(corrections[0]).max() > 1e-4 and np.array_equal(*corrections)


def test_heavier_atoms_have_room_for_all_their_shells() -> None:
    """Chlorine has more s and p shells than the first two rows: without them its orbitals would share places."""
    basis = load_basis("sto-3g")
    assert [(n.shape.s, n.shape.p) for z in ([1, 8], [1, 17]) if (n := network_of("blocks-tiny", basis, z))] == [
        (2, 1),
        (3, 2),
    ]


def test_what_is_no_trained_hamiltonian_is_one_line(tmp_path: Path) -> None:
    model, _ = stored("blocks-tiny")
    save_model(tmp_path / MODEL, model)
    whole = (tmp_path / MODEL).read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[:-100])
    (tmp_path / "turned.safetensors").write_bytes(whole[:-3] + bytes([whole[-3] ^ 1]) + whole[-2:])
    (tmp_path / "text.safetensors").write_text("a network, believe me")
    checkpoint.save(tmp_path / "schnet.safetensors", {"w": np.zeros(2, np.float32)}, {"kind": "schnet"})
    checkpoint.save(tmp_path / "checkpoint.safetensors", {"w": np.zeros(2, np.float32)}, {"step": 3})
    about = {**ABOUT, "kind": "hamiltonian", "network": model.network.to_json()}
    checkpoint.save(tmp_path / "less.safetensors", {"params": {"w": np.zeros(2, np.float32)}}, about)
    odd = {**about, "network": {**model.network.to_json(), "kind": "graph"}}
    checkpoint.save(tmp_path / "odd.safetensors", {"params": model.params}, odd)
    (tmp_path / "unfinished").mkdir()
    (tmp_path / "unfinished/config.toml").write_text("steps = 3\n")
    (tmp_path / "empty").mkdir()
    for place, said in (
        ("nothing", "no trained network in .*nothing there"),
        ("empty", "nothing there"),
        ("unfinished", "its training is not finished"),
        ("cut.safetensors", "is damaged"),
        ("turned.safetensors", "is damaged"),
        ("text.safetensors", "is damaged"),
        ("schnet.safetensors", r"is no trained Hamiltonian \(it is a schnet\)"),
        ("checkpoint.safetensors", r"is no trained Hamiltonian \(it is a checkpoint of a training\)"),
        ("less.safetensors", "is of another version of qmgen"),
        ("odd.safetensors", "is of another version of qmgen"),
    ):
        with pytest.raises(UsageError, match=said) as raised:
            load_model(tmp_path / place)
        assert "\n" not in str(raised.value)


def test_a_run_of_schnet_is_not_called_unfinished(tmp_path: Path) -> None:
    cell = tmp_path / "rows-100/seed-0"
    cell.mkdir(parents=True)
    (tmp_path / "config.toml").write_text('preset = "tiny"\n')
    checkpoint.save(cell / MODEL, {"w": np.zeros(2, np.float32)}, {"kind": "schnet"})
    with pytest.raises(UsageError, match=r"it is a run of `qmgen train schnet`"):
        load_model(tmp_path)
    shutil.rmtree(cell)
    with pytest.raises(UsageError, match="its training is not finished"):
        load_model(tmp_path)
