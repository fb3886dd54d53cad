"""The power law on made-up data, and the whole of ``scripts/bench_growth`` on tiny molecules."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.growth import FULL, TOY
from qmgen.dft.basis import load_basis
from qmgen.molecules.embedding import embed
from qmgen.power_law import power_law

ROOT = Path(__file__).resolve().parents[2]


def test_a_power_law_is_found_again() -> None:
    sizes = np.array([31.0, 45, 59, 80, 108])
    law = power_law(sizes, 2e-6 * sizes**3.25)
    assert law.exponent == pytest.approx(3.25) and law.factor == pytest.approx(2e-6)
    assert law.exponent_error == pytest.approx(0, abs=1e-9)
    assert law(np.array([62.0])) == pytest.approx(2e-6 * 62**3.25)


def test_the_error_of_the_exponent_is_that_of_a_straight_line() -> None:
    random = np.random.default_rng(0)
    sizes = np.tile([30.0, 40, 60, 80, 110], 3)
    values = 1e-4 * sizes**2.5 * np.exp(0.1 * random.normal(size=len(sizes)))
    law = power_law(sizes, values)
    (slope, _), covariance = np.polyfit(np.log(sizes), np.log(values), 1, cov=True)
    assert law.exponent == pytest.approx(slope)
    assert law.exponent_error == pytest.approx(np.sqrt(covariance[0, 0]))
    assert abs(law.exponent - 2.5) < 4 * law.exponent_error


def test_two_points_have_no_error_and_one_size_has_no_law() -> None:
    law = power_law([10, 20], [1, 8])
    assert (law.exponent, law.exponent_error) == (pytest.approx(3), None)
    with pytest.raises(ValueError, match="two different sizes"):
        power_law([10, 10], [1, 2])


def test_molecules_of_a_row_have_one_size_and_rows_grow() -> None:
    basis, sizes = load_basis("sto-3g"), []
    for row in FULL.molecules:
        found = {basis.n_orbitals(embed(smiles, 1, 0).numbers) for smiles in row}
        assert len(found) == 1, row
        sizes += found
    assert sizes == sorted(set(sizes)) and len(sizes) == 10
    assert sizes[0] < 35 and 100 < sizes[-1] < 115
    assert FULL.rows % FULL.chunk == 0 and TOY.rows % TOY.chunk == 0


@pytest.mark.slow
def test_the_script_runs_to_its_end(tmp_path: Path, bare_environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "bench_growth", "--toy", "--repeats", "2"]
        + ["--json", tmp_path / "growth.json", "--figure", tmp_path / "growth.png"],
        capture_output=True,
        text=True,
        env=bare_environment,
    )
    assert done.returncode == 0, done.stderr
    assert (
        "to the power" in done.stdout and "| integrals | supermatrix | grid | history | sum | measured |" in done.stdout
    )
    assert (tmp_path / "growth.png").read_bytes().startswith(b"\x89PNG")

    found = json.loads((tmp_path / "growth.json").read_text())
    assert {"schema_version", "date", "command", "machine", "versions", "settings", "repeats", "seed"} <= found.keys()
    assert found["compile_seconds_while_timed"] == 0
    size, batch, rows = found["by_size"], found["by_batch"], found["by_rows"]
    assert [(p["smiles"], p["orbitals"], p["padded_orbitals"]) for p in size["points"]] == [
        ("CO", 14, 16), ("CCO", 21, 24), ("COC", 21, 24)
    ]  # fmt: skip
    assert size["fit"].keys() == {"factor", "exponent", "exponent_error"}
    assert [p["batch_size"] for p in batch["points"]] == [1, 2]
    assert [(p["first_row"], p["rows"]) for p in rows["points"]] == [(1, 2), (3, 2)]
    for point in size["points"] + batch["points"]:
        assert point["cpu_seconds"] > 0 and point["seconds"] > 0 and len(point["cpu_seconds_each"]) == 2
        assert point["memory_by_part_bytes"].keys() == {"integrals", "supermatrix", "grid", "history"}
    assert all(point["peak_bytes"] > 100e6 for point in size["points"] + batch["points"] + rows["points"])


def test_what_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    from qmgen.errors import UsageError
    from qmgen.files import write_json
    from qmgen.machine import provenance

    assert provenance().keys() == {"date", "command", "machine", "versions"}
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="choose another --json"):
        write_json({}, tmp_path / "file" / "a.json", "--json")
