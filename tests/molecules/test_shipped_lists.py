"""The lists that ship with the project: the quickstart's molecules and the reference list."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np

from qmgen.molecules.entries import atomic_numbers
from qmgen.molecules.geometry import electrons_problem, geometry_problem, stored_precision
from qmgen.molecules.readers import read_molecules
from qmgen.molecules.types import Molecule

ROOT = Path(__file__).resolve().parents[2]


def test_quickstart_list_is_real_molecules_in_few_shapes():
    entries = list(read_molecules(ROOT / "configs" / "quickstart.smi"))
    assert all(isinstance(entry, Molecule) and entry.name for entry in entries)
    assert len({entry.smiles for entry in entries}) == len(entries) >= 24
    shapes = Counter((int((z > 1).sum()), int((z == 1).sum())) for z in map(atomic_numbers, entries))
    assert len(shapes) <= 3 and {heavy for heavy, _ in shapes} == {9, 10, 11}
    assert {-(-(5 * heavy + hydrogens) // 8) * 8 for heavy, hydrogens in shapes} == {64}


def test_reference_list_covers_every_class_with_sound_geometries():
    rows = [line.split("\t") for line in (ROOT / "tests/reference/molecules.tsv").read_text("utf-8").splitlines()[1:]]
    with np.load(ROOT / "tests/reference/geometries.npz") as archive:
        numbers, positions, offsets = archive["numbers"], archive["positions"], archive["offsets"]
    assert len(rows) == len(offsets) - 1 >= 300 and offsets[-1] == len(numbers) == len(positions)
    assert len({row[1] for row in rows}) == len({row[2] for row in rows}) == len(rows)
    assert np.array_equal(positions, stored_precision(positions))
    for index, row in enumerate(rows):
        z, r = (array[offsets[index] : offsets[index + 1]] for array in (numbers, positions))
        assert int(row[0]) == index and (int((z > 1).sum()), int((z == 1).sum())) == (int(row[3]), int(row[4]))
        assert geometry_problem(z, r) is None and electrons_problem(z, 0) is None
    classes = {(int(row[3]), int(row[4])) for row in rows}
    assert {(heavy, hydrogens) for heavy in range(2, 12) for hydrogens in range(2 * heavy + 3)} <= classes
    hard = {"quinone", "nitroso", "cumulene", "polyyne", "perfluorinated", "hydrogen-free", "zwitterionic"}
    assert hard <= {row[5] for row in rows}


def test_importing_the_room_imports_neither_rdkit_nor_pyarrow():
    modules = "readers embedding_pool entries smiles readers.smiles readers.xyz readers.sdf readers.parquet"
    program = "".join(f"import qmgen.molecules.{module};" for module in modules.split())
    program += "import sys; print(sorted({'rdkit', 'pyarrow', 'jax', 'pyscf'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"
