"""One compilation of each kernel for all molecules of a shape; a second process compiles nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from qmgen.labeling import Settings, compiling, label
from qmgen.molecules.types import Conformer

ROOT = Path(__file__).resolve().parents[2]

#: labels 20 and then 80 more molecules of one shape, and prints how many programs XLA compiled, took from the cache,
#: and what they are, after each part
PROGRAM = """
import collections, json, sys
import numpy as np
import jax, jax.monitoring
from qmgen import runtime

runtime.prepare()
counts = collections.Counter()
jax.monitoring.register_event_listener(lambda event, **_: counts.update([event]))
jax.monitoring.register_event_duration_secs_listener(lambda event, *_, **__: counts.update([event]))

from qmgen.dft import coulomb_exchange
from qmgen.dft.grid import quadrature
from qmgen.dft.integrals import one_electron, pair_data, repulsion
from qmgen.labeling import Settings, label
from qmgen.molecules.types import Conformer

first, rest = int(sys.argv[2]), int(sys.argv[3])
with np.load(sys.argv[1]) as archive:
    pairs = list(zip(archive["numbers"], archive["positions"]))[: first + rest]
conformers = [Conformer(i, 0, "", "", z[z > 0], xyz[z > 0]) for i, (z, xyz) in enumerate(pairs)]
report = []
for part in (conformers[:first], conformers[first:]):
    counts.clear()
    results = label(part, Settings(grid_level=0, batch_size=4))
    energies = [one.energy for _, one in sorted((c.molecule_id, one) for c, one in results)]
    report.append({
        "requests": counts["/jax/compilation_cache/compile_requests_use_cache"],
        "hits": counts["/jax/compilation_cache/cache_hits"],
        "backend": counts["/jax/core/compile/backend_compile_duration"],
        "energies": energies,
    })
kernels = {
    name: function._cache_size()
    for module in (coulomb_exchange, quadrature, one_electron, pair_data, repulsion)
    for name, function in vars(module).items()
    if hasattr(function, "_cache_size")
}
print(json.dumps({"parts": report, "kernels": kernels}))
"""


def hundred_molecules() -> tuple[np.ndarray, np.ndarray]:
    """100 geometries of four molecules of one shape (two heavy atoms, 14 or 15 orbitals)."""
    skeletons = {  # numbers; positions in Bohr
        "methanol": (
            [6, 8, 1, 1, 1, 1],
            [[0, 1.3, 0], [0, -1.4, 0], [-2, 1.9, 0], [1, 2, 1.7], [1, 2, -1.7], [1.7, -2, 0]],
        ),
        "hydrazine": (
            [7, 7, 1, 1, 1, 1],
            [[0, 0, 1.37], [0, 0, -1.37], [0, 1.8, 1.9], [1.6, -0.9, 1.9], [0, -1.8, -1.9], [1.6, 0.9, -1.9]],
        ),
        "methylamine": (
            [6, 7, 1, 1, 1, 1, 1],
            [[0, 1.4, 0], [0, -1.4, 0], [-1.8, 2.2, 0], [1, 2, 1.7], [1, 2, -1.7], [-1, -2, 1.5], [-1, -2, -1.5]],
        ),
        "ethylene": (
            [6, 6, 1, 1, 1, 1],
            [[0, 0, 1.3], [0, 0, -1.3], [0, 1.7, 2.3], [0, -1.7, 2.3], [0, 1.7, -2.3], [0, -1.7, -2.3]],
        ),
    }
    rng = np.random.default_rng(0)
    numbers, positions = np.zeros((100, 8), np.uint8), np.zeros((100, 8, 3))
    for i in range(100):
        z, xyz = list(skeletons.values())[i % len(skeletons)]
        numbers[i, : len(z)] = z
        positions[i, : len(z)] = np.asarray(xyz, float) + rng.normal(scale=0.05, size=(len(z), 3))
    return numbers, positions


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    """The program above in two processes, one after the other, with one new cache directory."""
    directory = tmp_path_factory.mktemp("compilation")
    numbers, positions = hundred_molecules()
    np.savez(directory / "molecules.npz", numbers=numbers, positions=positions)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("JAX_", "QMGEN_", "XLA_"))}
    environment |= {"QMGEN_CACHE": str(directory / "cache"), "PYTHONPATH": str(ROOT)}
    answers = []
    for first, rest in ((20, 80), (4, 0)):
        command = [sys.executable, "-c", PROGRAM, str(directory / "molecules.npz"), str(first), str(rest)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        answers.append(json.loads(done.stdout.splitlines()[-1]))
    return answers


def test_molecules_share_one_shape() -> None:
    from qmgen.dft.basis import load_basis
    from qmgen.dft.functionals import functional
    from qmgen.dft.prepare import shape_of

    basis, xc = load_basis("sto-3g"), functional("b3lyp5")
    assert len({shape_of(z[z > 0], basis, xc, 0) for z in hundred_molecules()[0]}) == 1


def test_eighty_more_molecules_compile_nothing(runs: list[dict]) -> None:
    _, rest = runs[0]["parts"]
    assert len(rest["energies"]) == 80
    assert rest["backend"] == 0 and rest["requests"] == 0


def test_each_kernel_is_compiled_once_per_class(runs: list[dict]) -> None:
    kernels = runs[0]["kernels"]
    # three classes of shell pairs (ss, ps, pp) and six of quartets: whatever the hundred molecules were
    assert kernels["pair_data"] == 3
    assert kernels["block_integrals"] == 6
    assert kernels["_weighted_chunk"] == 1
    assert kernels["supermatrix"] == 1


def test_a_second_process_takes_its_programs_from_the_cache(runs: list[dict]) -> None:
    (first, _), (second, _) = runs[0]["parts"], runs[1]["parts"]
    assert first["backend"] > 10 and first["hits"] == 0
    # compilations shorter than a tenth of a second are not worth a file (runtime.SHORTEST_KEPT): those are made again
    assert second["hits"] > 10
    assert second["energies"] == first["energies"][: len(second["energies"])]


def test_programs_go_before_they_use_up_the_memory_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    hydrogen = Conformer(0, 0, "", "", np.array([1, 1]), np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 0.74]]))
    settings = Settings(xc="hf", grid_level=0)

    def energy() -> float:
        ((_, found),) = label([hydrogen], settings)
        return float(found.energy)

    first = energy()
    assert compiling._COMPILED
    for share, kept in ((1.0, True), (0.0, False)):
        monkeypatch.setattr(compiling, "_SHARE", share)
        before = set(compiling._COMPILED)
        compiling.compiled(("test", share), lambda: abs)
        assert (before <= set(compiling._COMPILED)) == kept
    assert set(compiling._COMPILED) == {("test", 0.0)}
    assert energy() == first


def test_a_process_that_is_stopped_with_the_lock_keeps_nobody_from_compiling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A suspended job may hold it for days."""
    before = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    monkeypatch.setattr(compiling, "_PATIENCE", 0.5)
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    try:
        _hold_and_wait(tmp_path)
    finally:
        jax.config.update("jax_compilation_cache_dir", before)


def _hold_and_wait(tmp_path: Path) -> None:
    hold = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True)"
    with compiling._lock("a shape"):
        pass
    (path,) = (tmp_path / "locks").iterdir()
    command = [sys.executable, "-c", f"{hold}; sys.stdin.read()", str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        holder.send_signal(signal.SIGSTOP)
        begin = time.monotonic()
        with compiling._lock("a shape"):
            assert 0.5 <= time.monotonic() - begin < 60
        holder.kill()
