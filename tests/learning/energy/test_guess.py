"""A stored network as the first guess: idempotent densities, whatever the padding, and clear refusals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from few_molecules import LEVEL, MOLECULES, SMALL, system

from qmgen.dft.backend import ACCELERATOR, using
from qmgen.dft.prepare import Shape, batch_lists, prepare, prepare_batch, shape_of
from qmgen.dft.scf import Problem
from qmgen.errors import UsageError
from qmgen.learning.energy.problems import case_of
from qmgen.learning.energy.stored import LearnedGuess, StoredHamiltonian, open_guess, save_model
from qmgen.learning.training.checkpoint import MODEL


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network with random last layers, which corrects by a few mHa."""
    shape = Shape(8, 4, 4)
    seen = [SMALL.describe(case_of(system(name), shape, LEVEL).inputs) for name in ("water", "ammonia")]
    params = SMALL.init(jax.random.key(0))
    for name in ("on", "off"):
        last = params[name]["out"]
        last["weight"] = 0.1 * jax.random.normal(jax.random.key(1), last["weight"].shape, jnp.float32)
    about = {
        "xc": "b3lyp5", "basis": "sto-3g", "basis_checksum": LEVEL.basis_set.checksum, "grid_level": 0,
        "elements": [1, 7, 8],
    }  # fmt: skip
    folder = tmp_path_factory.mktemp("guess")
    seen = [jax.tree.map(np.asarray, one) for one in seen]
    save_model(folder / MODEL, StoredHamiltonian(SMALL, params, SMALL.statistics(seen), about))
    return folder


@pytest.fixture(scope="module")
def guess(stored: Path) -> LearnedGuess:
    return open_guess(stored)


def problem_of(name: str, shape: Shape | None = None) -> Problem:
    one = system(name)
    shape = shape or shape_of(one.numbers, LEVEL.basis_set, LEVEL.functional, 0)
    return prepare(one, shape, LEVEL.basis_set, LEVEL.functional, 0).problem


def density(guess: LearnedGuess, name: str, problem: Any) -> np.ndarray:
    (found,) = guess([problem], [system(name).numbers])
    return found


@pytest.mark.parametrize("name", ["water", "ammonia"])
def test_idempotent_with_all_electrons(guess: LearnedGuess, name: str) -> None:
    problem = problem_of(name)
    found, overlap = density(guess, name, problem), np.asarray(problem.overlap)
    assert found.dtype == np.float64
    assert np.abs(found @ overlap @ found - 2 * found).max() < 1e-10  # rounding of products of 8 by 8
    assert np.trace(found @ overlap) == pytest.approx(sum(MOLECULES[name][0]), abs=1e-10)


def test_it_is_not_the_guess_without_a_network(guess: LearnedGuess) -> None:
    problem = problem_of("water")
    nothing = LearnedGuess(replace(open_stored(guess), params=jax.tree.map(jnp.zeros_like, guess.stored.params)))
    assert np.abs(density(guess, "water", problem) - density(nothing, "water", problem)).max() > 1e-4


def open_stored(guess: LearnedGuess) -> StoredHamiltonian:
    return guess.stored


def test_other_padding_is_the_same_density(guess: LearnedGuess) -> None:
    small = density(guess, "water", problem_of("water"))
    wide = density(guess, "water", problem_of("water", Shape(24, 20, 6, 3)))
    n = 7
    assert not wide[n:].any() and not wide[:, n:].any()
    # the network is float32: its correction, of 1e-2 Ha, is known to 1e-8, and gaps are half a Hartree
    assert np.abs(wide[:n, :n] - small[:n, :n]).max() < 1e-6


@pytest.mark.slow
def test_problems_of_the_batched_path(guess: LearnedGuess) -> None:
    """Their supermatrix is one block, and padding has other places."""
    one = system("water")
    shape = shape_of(one.numbers, LEVEL.basis_set, LEVEL.functional, 0)
    lists = batch_lists([one], shape, LEVEL.basis_set, LEVEL.functional, 0, 1)
    with using(ACCELERATOR):
        problems = prepare_batch(ACCELERATOR, LEVEL.functional, LEVEL.basis_set.pair_classes, lists, "float32").problem
        found = density(guess, "water", jax.tree.map(lambda leaf: leaf[0], problems))
    expected = density(guess, "water", problem_of("water", shape))
    # the coarse grid is in float32 on both sides, and its sums are ordered otherwise
    assert np.abs(found - expected).max() < 1e-5


def test_unknown_elements_have_no_density(guess: LearnedGuess) -> None:
    found = density(guess, "fluoride", problem_of("fluoride"))
    assert np.isnan(found).all()


def test_what_generate_asks_of_it(guess: LearnedGuess, stored: Path) -> None:
    from qmgen.corpus.unit_records import digest

    assert guess.level == ("b3lyp5", "sto-3g") and guess.checksum == digest(stored / MODEL)


def test_another_basis_set_of_that_name_is_refused(guess: LearnedGuess) -> None:
    stored = open_stored(guess)
    with pytest.raises(UsageError, match="another sto-3g"):
        LearnedGuess(replace(stored, about={**stored.about, "basis_checksum": "0"}))


def test_no_network_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no trained network"):
        open_guess(tmp_path)
