"""The networks of the energy loss with FP8 products."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from few_molecules import system, write_xyz

from qmgen.cli.main import main
from qmgen.config.train import TrainEnergyConfig
from qmgen.labeling.level import level_of
from qmgen.labeling.types import Settings
from qmgen.learning.energy.problems import GeometryStore
from qmgen.learning.energy.train import result_text, run
from qmgen.learning.fp8 import AMAX, NONE, NOTE, by_recipe
from qmgen.learning.hamiltonian.network import network_of

LEVEL = level_of(Settings("b3lyp5", "sto-3g", 0))


@pytest.mark.parametrize("preset", ["blocks-tiny", "qpt-tiny"])
def test_corrections_are_near_those_of_float32(preset: str) -> None:
    """And their gradients: of numbers with 3 and 4 significant bits, through a few layers."""
    network = network_of(preset, LEVEL.basis_set, [1, 8])
    ready = GeometryStore([system("water", 0)], LEVEL, network, 0.0).get(0)
    assert ready is not None
    statistics = network.statistics([ready.seen])
    params = jax.tree.map(
        lambda leaf: leaf + 0.05 * jax.random.normal(jax.random.key(leaf.size), leaf.shape, leaf.dtype),
        network.init(jax.random.key(0)),
    )  # the last layers begin as zeros
    assert by_recipe(params, NONE) is params

    def size(params: Any, recipe: Any) -> Any:
        correction = network.correction(by_recipe(params, recipe), statistics, ready.seen)
        return jnp.sum(correction**2), correction

    found = [jax.jit(jax.grad(lambda p, r=r: size(p, r), has_aux=True))(params) for r in (NONE, AMAX)]
    (exact_slope, exact), (slope, scaled) = found
    assert 0 < np.linalg.norm(scaled - exact) < 0.25 * np.linalg.norm(exact)
    flat = [np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)]) for tree in (exact_slope, slope)]
    assert 0 < np.linalg.norm(flat[1] - flat[0]) < 0.35 * np.linalg.norm(flat[0])


def test_it_learns_in_fp8(tmp_path: Path, capsys: Any) -> None:
    file = write_xyz(tmp_path / "water.xyz", [system("water", seed) for seed in range(16)])
    settings = TrainEnergyConfig(
        molecules=[str(file)], out=tmp_path / "run", model="blocks-tiny", precision="fp8-amax", steps=60, batch_size=4,
        validation_fraction=0.25, monitor=2,
    )  # fmt: skip
    result = run(settings, quiet=True)
    assert result["excess_meV"]["refine_0"] < 0.5 * result["excess_meV_without_correction"]["refine_0"]
    assert result["identity"]["precision"] == "fp8-amax" and result["emulated"]
    assert NOTE in result_text(result)
    words = ["train", "energy", "--molecules", str(file), "--out", str(tmp_path / "other"), "--precision", "fp8"]
    assert main(words) == 2
    assert "fp8-amax" in capsys.readouterr().err


def test_trainings_from_before_are_recognized() -> None:
    """A float32 training says nothing of its precision, as when there was no other."""
    fields = TrainEnergyConfig(molecules=["a.xyz"], out=Path("run")).training_fields()
    assert "precision" not in fields
