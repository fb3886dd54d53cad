"""The figure is a picture of the right kind, for good and for strange reports, and leaves matplotlib as it was."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from qmgen.dft.level import LevelOfTheory
from qmgen.errors import UsageError
from qmgen.report.parity import draw
from qmgen.validation.compare import ComparedRow, Tolerances, ValidationReport, compare


def report(rows: int = 40, worst: float = 3e-10, orbital: float = 2e-8) -> ValidationReport:
    """A report on made-up labels; energies differ by at most ``worst``, levels by about ``orbital`` (Ha)."""
    random = np.random.default_rng(0)
    homo, lumo = -0.3 + 0.1 * random.random(rows), 0.05 + 0.2 * random.random(rows)
    energy, dipole = -300 - random.random(rows), random.normal(size=(rows, 3))
    theirs = {"energy": energy, "homo": homo, "lumo": lumo, "gap": lumo - homo, "dipole": dipole}
    homo, lumo = (level + orbital * random.normal(size=rows) for level in (homo, lumo))
    ours = {
        "energy": energy + worst * random.uniform(-1, 1, rows),
        "homo": homo,
        "lumo": lumo,
        "gap": lumo - homo,
        "dipole": dipole + 1e-6 * random.normal(size=(rows, 3)),
    }
    return ValidationReport(
        directory="corpus",
        level=LevelOfTheory("b3lyp5", "sto-3g", 1),
        tolerances=Tolerances(),
        sample=rows,
        seed=0,
        corpus_rows=120,
        not_converged=0,
        rows=tuple(ComparedRow(i, 0, "C", 20, 49 + i % 31, "minao", False, 1.0) for i in range(rows)),
        failed=(),
        ours=ours,
        reference=theirs,
        below=0,
        lowered=0,
        comparison=compare(ours, theirs),
        provenance={"pyscf": "2.14.0"},
    )


@pytest.mark.parametrize(
    "made", [report(), report(1), report(worst=0.0, orbital=0.0), report(worst=1e-2, orbital=1e-3)]
)
def test_writes_a_picture(made, tmp_path):
    path = draw(made, tmp_path / "deep" / "validation.png")
    assert path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 20_000


def test_a_value_that_is_not_a_number_does_not_stop_the_figure(tmp_path):
    made = report()
    made.comparison.differences["energy"][0] = np.nan
    assert draw(dataclasses.replace(made), tmp_path / "nan.svg").exists()


def test_a_place_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot write"):
        draw(report(), tmp_path / "file" / "validation.png")
    with pytest.raises(UsageError, match="cannot write"):
        draw(report(), tmp_path / "validation.xyz")
