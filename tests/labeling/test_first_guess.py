"""A learned first guess: the same labels from good and bad ones, fewer cycles from good ones, and atoms for none."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import jax
import numpy as np
import pytest

from qmgen.dft.backend import ACCELERATOR, CPU, Backend, using
from qmgen.dft.functionals import functional
from qmgen.dft.guess import core_guess
from qmgen.dft.scf import Problem
from qmgen.errors import UsageError
from qmgen.labeling import Guess, Label, LabelCosts, Settings, compiling, label
from qmgen.labeling.stream import Slices, learned_densities
from qmgen.labeling.types import LEARNED_CYCLES, network_guess
from qmgen.molecules.types import Conformer, Failure
from tests.labeling.test_batches import ETHANE, METHANOL, METHYLAMINE, conformer, same_bits

#: the module, which its function hides in the package
label_module = sys.modules["qmgen.labeling.stream"]
BATCH = [conformer(METHANOL, 0), conformer(METHYLAMINE, 1), conformer(ETHANE, 2)]
SETTINGS = Settings(grid_level=0, batch_size=3)
#: the path of accelerators compiles for a minute and more: one test of it is always run (``test_one_program``)
PATHS = (
    pytest.param(CPU, id="cpu"),
    pytest.param(ACCELERATOR, id="accelerator", marks=pytest.mark.slow),
)


def labeled(
    settings: Settings = SETTINGS, guess: Guess | None = None, tally: LabelCosts | None = None, batch: Sequence = BATCH
) -> dict[int, Label]:
    found = {}
    for one in label(batch, settings, guess=guess, tally=tally):
        assert not isinstance(one, Failure), one
        found[one[0].molecule_id] = one[1]
    assert len(found) == len(batch)
    return found


class Capture:
    """Notes the densities that solutions end at, in the order in which molecules are labeled."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.found: dict[bytes, np.ndarray] = {}
        real = label_module._to_label

        def note(system, inputs, solution, *rest):  # type: ignore[no-untyped-def]
            self.found[system.numbers.tobytes()] = np.asarray(solution.density)[0]
            return real(system, inputs, solution, *rest)

        monkeypatch.setattr(label_module, "_to_label", note)


def moved(one: Conformer) -> Conformer:
    """A very slightly different geometry, 1e-4 Bohr an atom and direction: its density is a good guess indeed."""
    shift = np.random.default_rng(one.molecule_id).normal(scale=1e-4, size=one.positions.shape)
    return replace(one, positions=(one.positions + shift).astype(np.float32).astype(np.float64))


@pytest.fixture(scope="module")
def near() -> dict[bytes, np.ndarray]:
    """Converged densities of slightly different geometries, by the atoms."""
    with pytest.MonkeyPatch.context() as patch:
        capture = Capture(patch)
        labeled(batch=[moved(one) for one in BATCH])
    return capture.found


@pytest.fixture(scope="module")
def plain() -> dict[int, Label]:
    return labeled()


@pytest.fixture(params=PATHS)
def path(request: pytest.FixtureRequest, plain: dict, near: dict) -> Iterator[Backend]:
    """The loops of both backends, whatever is here."""
    with using(request.param):
        yield request.param


def orthogonaliser(overlap: np.ndarray, n: int) -> np.ndarray:
    values, vectors = np.linalg.eigh(overlap[:n, :n])
    return (vectors / np.sqrt(values)) @ vectors.T


def purified(problem: Problem, density: np.ndarray) -> np.ndarray:
    """The idempotent density of this problem's overlap that is nearest to ``density``."""
    n, root = int(problem.n_real), orthogonaliser(np.asarray(problem.overlap), int(problem.n_real))
    back = np.linalg.inv(root)
    occupied = root @ np.linalg.eigh(-back @ density[:n, :n] @ back)[1][:, : int(problem.n_occupied)]
    return padded(problem, 2.0 * occupied @ occupied.T)


def padded(problem: Problem, density: np.ndarray) -> np.ndarray:
    whole = np.zeros(np.shape(problem.overlap))
    whole[: len(density), : len(density)] = density
    return whole


@dataclass
class StandIn:
    """A guess that makes a density of each problem and its atoms; ``calls`` says how many it was given at a time."""

    make: Callable[[Problem, np.ndarray], np.ndarray]
    calls: list[int] = field(default_factory=list)

    def __call__(self, problems: Sequence[Problem], numbers: Sequence[np.ndarray]) -> list[np.ndarray]:
        self.calls.append(len(problems))
        return [self.make(problem, atoms) for problem, atoms in zip(problems, numbers, strict=True)]


def close_to(near: dict[bytes, np.ndarray]) -> StandIn:
    return StandIn(lambda problem, atoms: purified(problem, near[np.asarray(atoms).tobytes()]))


def from_core(problem: Problem, atoms: np.ndarray) -> np.ndarray:
    core, overlap = np.asarray(problem.core), np.asarray(problem.overlap)
    return core_guess(core, overlap, int(problem.n_real), int(problem.n_occupied))


def at_random(problem: Problem, atoms: np.ndarray) -> np.ndarray:
    """Idempotent, and otherwise nonsense."""
    n = int(problem.n_real)
    orbitals, _ = np.linalg.qr(np.random.default_rng(7).normal(size=(n, n)))
    occupied = orthogonaliser(np.asarray(problem.overlap), n) @ orbitals[:, : int(problem.n_occupied)]
    return padded(problem, 2.0 * occupied @ occupied.T)


def same_labels(found: dict[int, Label], expected: dict[int, Label]) -> None:
    for molecule, one in found.items():
        other = expected[molecule]
        assert abs(one.energy - other.energy) < 1e-8  # the same converged labels
        # of first order in the density, which is converged to a gradient of 1e-6 on either way
        assert abs(one.homo - other.homo) < 1e-6 and abs(one.lumo - other.lumo) < 1e-6
        assert np.abs(one.properties["dipole"] - other.properties["dipole"]).max() < 1e-5


def test_a_good_guess_gives_the_same_labels_in_fewer_cycles(path: Backend, plain: dict, near: dict) -> None:
    tally = LabelCosts()
    found = labeled(guess=close_to(near), tally=tally)
    same_labels(found, plain)
    # the extra one counted
    assert all(found[molecule].cycles < plain[molecule].cycles for molecule in plain)
    assert (tally.guessed, tally.fallbacks) == (3, 0)
    assert tally.seconds["guess"] > 0 and tally.seconds["field"] > 0
    assert tally.seconds["prepare"] > 0


def test_a_given_guess_goes_before_the_core(path: Backend, plain: dict, near: dict) -> None:
    found, core = (
        labeled(guess=close_to(near), settings=replace(SETTINGS, guess="core")),
        labeled(settings=replace(SETTINGS, guess="core")),
    )
    same_labels(found, plain)
    assert all(found[molecule].cycles < core[molecule].cycles for molecule in plain)


@pytest.mark.parametrize("make", [from_core, at_random])
def test_a_bad_guess_gives_the_same_labels(path: Backend, plain: dict, make: Callable) -> None:
    same_labels(labeled(guess=StandIn(make)), plain)


def test_what_the_network_sees_costs_a_cycle(path: Backend, plain: dict) -> None:
    """The guess of atoms as if it were learned: the very labels of atoms, and the cycle more."""
    found = labeled(guess=StandIn(lambda problem, atoms: np.asarray(problem.guess)[0]))
    # the way of accelerators rounds otherwise, which may cost a cycle where a gradient is next to its threshold
    expected = labeled() if path.batched else plain
    for molecule, one in found.items():
        assert same_bits(replace(one, cycles=one.cycles - LEARNED_CYCLES), expected[molecule])


def raises(problem: Problem, atoms: np.ndarray) -> np.ndarray:
    raise np.linalg.LinAlgError("no eigenvectors today")


@pytest.mark.parametrize(
    "make",
    [
        lambda problem, atoms: np.full(np.shape(problem.overlap), np.nan),
        lambda problem, atoms: np.zeros((2, 2)),
        raises,
    ],
    ids=["nan", "shape", "raises"],
)
def test_without_an_answer_a_molecule_begins_from_its_atoms(
    path: Backend, plain: dict, near: dict, make: Callable
) -> None:
    good = close_to(near)

    def none_for_nitrogen(problem: Problem, atoms: np.ndarray) -> np.ndarray:
        return np.asarray(make(problem, atoms) if 7 in atoms else good.make(problem, atoms))

    tally = LabelCosts()
    found = labeled(guess=StandIn(none_for_nitrogen), tally=tally)
    same_labels(found, plain)
    assert found[1].cycles == plain[1].cycles
    assert all(found[molecule].cycles < plain[molecule].cycles for molecule in (0, 2))
    assert (tally.guessed, tally.fallbacks) == (2, 1)


def test_other_errors_are_bugs(path: Backend) -> None:
    def broken(problem: Problem, atoms: np.ndarray) -> np.ndarray:
        raise KeyError("no such layer")

    with pytest.raises(KeyError, match="no such layer"):
        labeled(guess=StandIn(broken))


def test_retries_begin_without_the_guess(path: Backend, plain: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    """A first attempt that is cut short, and retries that see the density of the atoms."""
    begun: list[np.ndarray] = []
    real = label_module._retry

    def note(prepared, *rest):  # type: ignore[no-untyped-def]
        begun.append(np.asarray(prepared.problem.guess))
        return real(prepared, *rest)

    monkeypatch.setattr(label_module, "_retry", note)
    guess = StandIn(at_random)
    found = labeled(replace(SETTINGS, max_cycles=2), guess, batch=BATCH[:1])
    same_labels(found, plain)
    assert found[0].cycles > 2 + LEARNED_CYCLES and len(guess.calls) == 1
    atoms: list[np.ndarray] = []
    labeled(guess=StandIn(lambda problem, _: atoms.append(np.asarray(problem.guess)[0]) or atoms[0]), batch=BATCH[:1])
    assert begun and all(np.array_equal(one[0], atoms[0]) for one in begun)


def test_neighbors_change_no_bit(path: Backend, near: dict) -> None:
    guess = close_to(near)
    alone = labeled(guess=guess, batch=BATCH[:1])[0]
    assert same_bits(labeled(guess=guess, batch=BATCH[::-1])[0], alone)
    # on a CPU even the network sees one at a time
    assert set(guess.calls) == ({1, 3} if path.batched else {1})


def test_a_name_without_its_network_is_refused() -> None:
    named = replace(SETTINGS, guess=network_guess("0" * 64))
    with pytest.raises(UsageError, match="network"):
        labeled(named)


def test_a_named_network_falls_back_to_atoms(plain: dict) -> None:
    named = replace(SETTINGS, guess=network_guess("0" * 64))
    nothing = StandIn(lambda problem, atoms: np.full(np.shape(problem.overlap), np.nan))
    found = labeled(named, nothing, batch=BATCH[:1])
    assert same_bits(found[0], plain[0])


def test_slices_are_cut_when_asked_for() -> None:
    leaves = [np.arange(6.0).reshape(3, 2) for _ in Problem._fields]
    slices = Slices(Problem(*leaves), 2)
    assert len(slices) == 2 and len(list(slices)) == 2 and len(slices[:1]) == 1
    assert np.array_equal(slices[1].overlap, [2.0, 3.0]) and np.array_equal(slices[-1].core, [2.0, 3.0])
    with pytest.raises(IndexError):
        slices[2]


def test_too_few_densities_are_nobody_s() -> None:
    problem = Problem(*[np.zeros((2, 2)) for _ in Problem._fields])
    answers = iter([[np.ones((2, 2))], [np.ones((2, 2))], []])  # of two at once, and then of each
    found = learned_densities(lambda problems, numbers: next(answers), [problem] * 2, [np.array([1, 1])] * 2)
    assert found[0] is not None and found[1] is None


def test_one_program_serves_every_start(near: dict) -> None:
    """On an accelerator the SCF is compiled for the shape, not for who guessed."""
    with using(ACCELERATOR):
        labeled()
        before = set(compiling._COMPILED)
        labeled(guess=close_to(near))
    assert set(compiling._COMPILED) == before
    assert functional("b3lyp5").pieces and jax.config.jax_enable_x64  # there is a coarse grid, and float64
