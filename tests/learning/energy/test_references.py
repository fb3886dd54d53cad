"""References: converged, counted where they are not, and lowered where a network finds a lower solution."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from few_molecules import LEVEL, store_of

from qmgen.dft.scf import ScfOptions, solve
from qmgen.learning.energy.problems import REFERENCES, PreparedGeometry, References

STORE = store_of(["water", "ammonia", "fluoride"])


def ready(index: int) -> PreparedGeometry:
    found = STORE.get(index)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def made() -> References:
    references = References(STORE)
    references.make(range(3))
    return references


def test_they_are_the_self_consistent_field(made: References) -> None:
    problem = ready(0).case.problem._replace(coarse=None)
    found = jax.jit(lambda p: solve(LEVEL.functional, p, ScfOptions(1e-10, 1e-7, 100)))(problem)
    assert bool(found.converged) and not made.missing
    # two programs, one of which has the options for arguments: rounding alone
    assert made.energies[0] == pytest.approx(float(found.energy), abs=1e-9)


def test_the_field_of_the_converged_density_has_its_levels(made: References) -> None:
    case = ready(1).case
    found = made.converge(case)
    assert found is not None
    root = np.asarray(case.inverse_root)[:8, :8]
    levels = np.linalg.eigvalsh(root @ made.fock(case, found.density)[:8, :8] @ root)
    # of first order in the orbital gradient, 1e-7
    assert np.abs(levels - found.levels[:8]).max() < 1e-6


def test_a_good_guess_saves_cycles_and_changes_nothing(made: References) -> None:
    cold = made.converge(ready(0).case)
    assert cold is not None
    warm = made.converge(ready(0).case, cold.density)
    assert warm is not None and warm.cycles < cold.cycles
    assert warm.energy == pytest.approx(cold.energy, abs=1e-9)


def test_what_does_not_converge_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    references, asked = References(STORE), []

    def lost(case: Any, guess: Any = None, options: Any = None) -> None:
        asked.append(int(case.problem.n_real))

    monkeypatch.setattr(references, "converge", lost)
    for _ in range(2):
        references.make([2, 0])
    assert references.missing == {0, 2} and not references.energies and asked == [6, 7]


def test_too_few_cycles_are_no_reference(made: References) -> None:
    assert made.converge(ready(0).case, options=ScfOptions(1e-10, 1e-7, 1)) is None


def test_a_lower_solution_becomes_the_reference_and_is_counted(made: References) -> None:
    """Our field ended on a higher one, let us say: 0.1 Ha above. The network's density leads to the lower."""
    lowest, found = made.energies[0], made.converge(ready(0).case)
    assert found is not None
    references = References(STORE, {0: lowest + 0.1, 1: made.energies[1]})
    # a density near the lowest, of energy somewhat above it
    assert references.excess(0, lowest + 0.02, found.density) == pytest.approx(0.02, abs=1e-8)
    assert references.energies[0] == pytest.approx(lowest, abs=1e-8) and references.lower == {0}
    # from now on nothing is lower
    assert references.excess(0, lowest + 0.02, found.density) == pytest.approx(0.02, abs=1e-8)
    assert references.lower == {0} and references.energies[1] == made.energies[1]


def test_rounding_is_no_lower_solution(made: References) -> None:
    references = References(STORE, dict(made.energies))
    found = references.converge(ready(0).case)
    assert found is not None
    assert references.excess(0, made.energies[0] - 5e-9, found.density) == pytest.approx(-5e-9, abs=1e-12)
    assert not references.lower and references.energies == made.energies


def test_where_the_lower_one_does_not_converge_its_energy_is_the_bound(
    made: References, monkeypatch: pytest.MonkeyPatch
) -> None:
    references = References(STORE, {0: made.energies[0] + 0.1})
    monkeypatch.setattr(references, "converge", lambda *_: None)
    energy = made.energies[0] + 0.03
    assert references.excess(0, energy, np.zeros((8, 8))) == 0.0
    assert references.energies == {0: energy} and references.lower == {0}


def test_they_are_kept_to_the_last_digit_and_those_of_others_are_not_taken(made: References, tmp_path: Path) -> None:
    first = References(STORE, dict(made.energies), {7}, file=tmp_path / REFERENCES, key="water")
    found = made.converge(ready(0).case)
    assert found is not None
    first.energies[0] += 0.1
    first.excess(0, made.energies[0] + 0.02, found.density)  # written as soon as one is lowered
    again = References(STORE, file=tmp_path / REFERENCES, key="water")
    assert (again.energies, again.missing, again.lower) == (first.energies, {7}, {0})
    assert not References(STORE, file=tmp_path / REFERENCES, key="ammonia").energies
    (tmp_path / REFERENCES).write_text('{"key": "water", "energies": [')
    assert not References(STORE, file=tmp_path / REFERENCES, key="water").energies


def test_what_is_kept_is_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = References(STORE, file=tmp_path / REFERENCES)
    first.make([0])
    first.keep()
    second = References(STORE, file=tmp_path / REFERENCES)
    monkeypatch.setattr(second, "converge", None)
    second.make([0])
    assert second.energies == first.energies
