"""Merging of equal molecules."""

from __future__ import annotations

import numpy as np

from qmgen.molecules.entries import merge_duplicates
from qmgen.molecules.types import Failure, Molecule, Reason


def test_equal_smiles_are_merged_and_counted(read):
    entries = merge_duplicates(read("a.smi", "CCO a\nOCC b\nC c\nC(O)C d\nC1CC e\nC1CC f\nC g\n"))
    kept = list(entries)
    assert [e.molecule_id for e in kept] == [0, 2, 4, 5]
    assert entries.merged == 3


def test_it_is_a_stream():
    def endless():
        while True:
            yield Molecule(0, "", "C")
            yield Molecule(1, "", "C")
            yield Molecule(2, "", "CC")
            yield Molecule(3, "", "CCC")

    entries = merge_duplicates(endless())
    assert [next(entries).smiles for _ in range(3)] == ["C", "CC", "CCC"]
    assert entries.merged == 1


def test_given_geometries_and_failures_are_never_merged():
    numbers = np.array([1, 1], np.uint8)
    bare = [Molecule(k, "", "", numbers, np.array([[0, 0, 0], [0, 0, 1.4]])) for k in range(2)]
    named = [Molecule(k, "", "[H][H]", numbers, np.array([[0, 0, 0], [0, 0, 1.4 + k]])) for k in range(2)]
    failures = [Failure(k, -1, "", "C1", Reason.UNREADABLE, "") for k in range(2)]
    entries = merge_duplicates([*bare, *named, *failures])
    assert len(list(entries)) == 6 and entries.merged == 0
