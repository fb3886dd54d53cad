"""Checkpoints are whole or not there, and a damaged one is noticed."""

from __future__ import annotations

import os
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from qmgen.errors import QmgenError
from qmgen.learning.training import checkpoint

PARAMETERS = {"layers": [{"w": jnp.arange(6, dtype=jnp.float32).reshape(2, 3)}], "b": jnp.zeros((), jnp.float32)}
TREE = {"state": PARAMETERS, "optimiser": optax.adamw(1e-3).init(PARAMETERS)}


def test_a_tree_comes_back_as_it_was(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "x.safetensors", TREE, {"step": 3, "best": 0.1})
    found, about = checkpoint.restore(tmp_path / "x.safetensors", TREE)
    assert about == {"step": 3, "best": 0.1}
    names, before = checkpoint.names_of(found), checkpoint.names_of(TREE)
    assert names.keys() == before.keys() and "state.layers.0.w" in names
    for name, array in names.items():
        assert array.dtype == before[name].dtype and array.shape == before[name].shape
        assert np.array_equal(array, before[name])
    assert os.listdir(tmp_path) == ["x.safetensors"]


@pytest.mark.parametrize("spoil", ["truncate", "flip", "empty", "foreign"])
def test_a_damaged_one_is_passed_over_for_the_one_before(tmp_path: Path, spoil: str) -> None:
    checkpoint.keep(tmp_path, TREE, {"step": 1})
    checkpoint.keep(tmp_path, TREE, {"step": 2})
    damage(tmp_path / checkpoint.NAME, spoil)
    found = checkpoint.latest(tmp_path, TREE)
    assert found is not None
    _, about, said = found
    assert about == {"step": 1}
    assert len(said) == 1 and checkpoint.NAME in said[0]


def test_nothing_whole_left_is_one_line(tmp_path: Path) -> None:
    assert checkpoint.latest(tmp_path, TREE) is None
    checkpoint.keep(tmp_path, TREE, {"step": 1})
    damage(tmp_path / checkpoint.NAME, "truncate")
    with pytest.raises(QmgenError, match=r"is damaged .* remove .* to train it anew") as raised:
        checkpoint.latest(tmp_path, TREE)
    assert "\n" not in str(raised.value)


def test_killed_between_the_two_renames_the_one_before_counts(tmp_path: Path) -> None:
    checkpoint.keep(tmp_path, TREE, {"step": 1})
    os.replace(tmp_path / checkpoint.NAME, tmp_path / checkpoint.PREVIOUS)
    found = checkpoint.latest(tmp_path, TREE)
    assert found is not None and found[1] == {"step": 1} and found[2] == []


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint.keep(tmp_path, TREE, {"step": 1})
    before = (tmp_path / checkpoint.NAME).read_bytes()

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(QmgenError, match="No space left on device; the same command continues"):
        checkpoint.keep(tmp_path, TREE, {"step": 2})
    assert os.listdir(tmp_path) == [checkpoint.NAME]
    assert (tmp_path / checkpoint.NAME).read_bytes() == before


def test_arrays_of_another_training_are_refused(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "x.safetensors", {"w": jnp.zeros(3, jnp.float32)}, {})
    for other in ({"v": jnp.zeros(3, jnp.float32)}, {"w": jnp.zeros(4, jnp.float32)}, {"w": jnp.zeros(3, jnp.int32)}):
        with pytest.raises(checkpoint.DamagedCheckpoint, match=r"holds (other arrays|another w)"):
            checkpoint.restore(tmp_path / "x.safetensors", other)


def damage(path: Path, how: str) -> None:
    """What a dying disk, or somebody else's file, does."""
    data = path.read_bytes()
    if how == "truncate":
        path.write_bytes(data[:-5])
    elif how == "flip":
        path.write_bytes(data[:-3] + bytes([data[-3] ^ 1]) + data[-2:])
    elif how == "empty":
        path.write_bytes(b"")
    else:
        from safetensors.numpy import save

        path.write_bytes(save({"w": np.zeros(3, np.float32)}))
