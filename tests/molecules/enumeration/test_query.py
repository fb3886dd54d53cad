"""What can be asked for, and what cannot."""

from __future__ import annotations

import pytest

from qmgen.errors import UsageError
from qmgen.molecules.enumeration.items import Query, batches
from qmgen.molecules.enumeration.pruning import check_elements, parse_formula


def test_formulas_are_read():
    assert parse_formula("C7H10O2") == {"C": 7, "H": 10, "O": 2}
    assert parse_formula("CH3OH") == {"C": 1, "H": 4, "O": 1}
    query = Query.of_formula("CH3OH")
    assert (query.heavy_atoms, query.elements) == (2, ("C", "O"))


@pytest.mark.parametrize(
    ("formula", "word"),
    [
        ("C2H7", "odd"),
        ("C2H8", "at most 6"),
        ("CH6", "at most 4"),
        ("C6H5", "odd"),
        ("H2", "hydrogen"),
        ("XeF2", "'Xe'"),
        ("C2H5Cl", "'Cl'"),
        ("", "formula"),
        ("c6h6", "formula"),
        ("C6-H6", "formula"),
        ("6", "formula"),
        ("CF2", "take up"),
        ("C60", "heavy atoms"),
        ("C0H4", "hydrogen"),
    ],
)
def test_what_is_no_formula(formula, word):
    with pytest.raises(UsageError, match=word) as error:
        Query.of_formula(formula)
    assert "\n" not in str(error.value)


def test_elements():
    assert check_elements(["O", "C", "O"]) == ("C", "O")
    for wrong in (["Cl"], ["c"], [], ["H"]):
        with pytest.raises(UsageError):
            check_elements(wrong)


@pytest.mark.parametrize(
    "fields",
    [
        {"heavy_atoms": 0},
        {"heavy_atoms": 16},
        {"max_bond_order": 4},
        {"max_bond_order": 0},
        {"max_rings": -1},
        {"min_hydrogens": 5, "max_hydrogens": 4},
        {"min_hydrogens": -1},
        {"elements": ("C", "X")},
    ],
)
def test_what_cannot_be_enumerated(fields):
    with pytest.raises(UsageError):
        Query(**{"heavy_atoms": 4, **fields})


def test_bounds_that_leave_nothing():
    assert not list(batches(Query.of_formula("C2H6", max_hydrogens=4)))
    assert not list(batches(Query(3, min_hydrogens=9)))
    assert not list(batches(Query(3, ("F",))))
