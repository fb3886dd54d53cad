"""Fitting sets: which one belongs to which basis set, and that their functions are PySCF's."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from pyscf import gto
from pyscf.data.elements import ELEMENTS as SYMBOLS
from pyscf.df.addons import aug_etb, make_auxmol

from qmgen.dft.basis import load_basis
from qmgen.dft.fitting import RATIO, default_jk, even_tempered, fitting_name, generated, load_fitting_set
from qmgen.errors import UsageError
from qmgen.labeling.level import resolved_level
from qmgen.labeling.types import Settings

#: what belongs to a basis set
BELONGS = {
    "def2-svp": "def2-universal-jkfit", "def2-tzvp": "def2-universal-jkfit", "def2-svpd": "def2-universal-jkfit",
    "def2-tzvpd": "def2-universal-jkfit", "def2-tzvppd": "def2-universal-jkfit", "def2-mtzvp": "def2-universal-jkfit",
    "def2-mtzvpp": "def2-universal-jkfit", "6-31g": "cc-pvdz-jkfit", "6-31g*": "cc-pvdz-jkfit",
    "6-31+g**": "cc-pvdz-jkfit", "6-31g(2df,p)": "cc-pvdz-jkfit", "cc-pvdz": "cc-pvdz-jkfit",
    "cc-pvtz": "cc-pvtz-jkfit", "aug-cc-pvdz": "aug-cc-pvdz-jkfit", "dzvp": "even-tempered",
    "6-311++g(2df,p)": "even-tempered", "pcseg-1": "even-tempered", "pcseg-2": "even-tempered",
}  # fmt: skip
EXACT = ("sto-3g", "3-21g", "6-31g", "4-31g", "6-311g")


def atom(number: int, basis: str, cartesian: bool = False) -> gto.Mole:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return gto.M(atom=[(number, (0, 0, 0))], basis=basis, spin=number % 2, cart=cartesian, verbose=0)


@pytest.mark.parametrize("name", BELONGS)
def test_what_belongs_to_a_basis_set_is_pyscfs_for_every_element(name: str) -> None:
    basis = load_basis(name)
    fitting, wanted = load_fitting_set(None, basis), BELONGS[name]
    assert fitting_name(basis) == fitting.name == wanted
    assert fitting.elements == basis.elements
    made = generated(basis, fitting)
    for number in sorted(basis.elements):
        mol = atom(number, name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            auxiliary = make_auxmol(mol, aug_etb(mol) if number in made else wanted)
        (theirs,) = auxiliary._basis.values()
        # i functions, of which there are none here
        assert fitting.source[number] == [shell for shell in theirs if shell[0] <= 5], number
        assert fitting.n_orbitals(np.array([number])) == auxiliary.nao - 13 * sum(shell[0] == 6 for shell in theirs)
    if wanted == "def2-universal-jkfit":
        assert not made and fitting.highest == 5
    elif wanted == "even-tempered":
        assert made.keys() == fitting.elements
    else:
        assert made.keys() == basis.elements & {2, 3, 4, 11, 12, 19, 20}


def test_functions_beyond_h_are_left_out_of_generated_sets() -> None:
    """PySCF gives germanium i functions for the products of two f functions."""
    basis = load_basis("pcseg-2")
    auxiliary = make_auxmol(mol := atom(32, "pcseg-2"), aug_etb(mol))
    assert max(auxiliary.bas_angular(shell) for shell in range(auxiliary.nbas)) == 6
    assert max(part.l for part in even_tempered(32, basis.source[32])) == 5


def test_what_is_stored_makes_generated_functions_again() -> None:
    basis = load_basis("6-31g*")
    fitting = load_fitting_set(None, basis)
    for number, parts in generated(basis, fitting).items():
        again = gto.expand_etbs([(l, count, smallest, RATIO) for l, count, smallest in parts])
        assert again == fitting.source[number], SYMBOLS[number]


def test_a_named_set_goes_with_any_basis_set() -> None:
    basis = load_basis("6-31g")
    named = load_fitting_set("Def2-Universal-JKFIT", basis)
    assert named.name == "def2-universal-jkfit" and named.elements == basis.elements
    assert load_fitting_set("def2-tzvp-jkfit", basis).checksum == named.checksum
    assert load_fitting_set("even-tempered", basis).name == "even-tempered"


@pytest.mark.parametrize("cartesian", [False, True])
def test_fitting_functions_are_cartesian_where_orbitals_are(cartesian: bool) -> None:
    fitting = load_fitting_set(None, load_basis("6-31g*", cartesian))
    assert fitting.n_orbitals(np.array([6])) == make_auxmol(atom(6, "6-31g*", cartesian), "cc-pvdz-jkfit").nao


def test_one_angular_momentum_a_shell() -> None:
    for name in ("def2-svp", "6-31g*", "dzvp"):
        fitting = load_fitting_set(None, load_basis(name))
        assert all(len(one.angular_momenta) == 1 for one in fitting.shell_classes)


def test_the_default_depends_on_the_basis_set_alone() -> None:
    assert {default_jk(load_basis(name)) for name in EXACT} == {"exact"}
    assert {default_jk(load_basis(name)) for name in BELONGS if name not in EXACT} == {"df"}


@pytest.mark.parametrize(
    ("basis", "name", "said"),
    [
        ("def2-svp", "def2-sv-jkfit", "unknown fitting set 'def2-sv-jkfit'; did you mean"),
        ("def2-svp", "def2-tzvp", "is no fitting set: use one for J and K, such as def2-universal-jkfit"),
        ("def2-svp", "cc-pvdz-ri", "is an auxiliary set for another purpose: use one for J and K"),
        ("def2-svp", "cc-pv5z-jkfit", "fitting set 'cc-pv5z-jkfit' has functions beyond h: use a smaller one"),
        ("sto-3g", None, "no fitting set belongs to sto-3g: use --jk exact, or name one, as --auxbasis"),
    ],
)
def test_what_does_not_fit_says_so_in_one_line(basis: str, name: str | None, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_fitting_set(name, load_basis(basis))
    assert said in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "level"),
    [
        ({}, ("sto-3g", "exact", None, False)),
        ({"basis": "6-31G", "jk": "df"}, ("6-31g", "df", "cc-pvdz-jkfit", False)),
        ({"basis": "6-31G(d)", "cartesian": True}, ("6-31g*", "df", "cc-pvdz-jkfit", True)),
        ({"basis": "def2-SVP"}, ("def2-svp", "df", "def2-universal-jkfit", False)),
        ({"basis": "def2-svp", "jk": "exact"}, ("def2-svp", "exact", None, False)),
        ({"basis": "def2-svp", "auxbasis": "cc-pVTZ-JKFIT"}, ("def2-svp", "df", "cc-pvtz-jkfit", False)),
        ({"basis": "6-31g", "cartesian": True}, ("6-31g", "exact", None, False)),  # it changes nothing
        ({"basis": "def2-svp", "auxbasis": "weigend", "xc": "pbe"}, ("def2-svp", "df", "def2-universal-jfit", False)),
    ],
)
def test_levels_hold_what_was_decided(settings: dict[str, object], level: tuple[object, ...]) -> None:
    found = resolved_level(Settings(**settings))  # type: ignore[arg-type]
    assert (found.basis, found.jk, found.auxbasis, found.cartesian) == level
    fitting = found.fitting_set
    assert (None if fitting is None else fitting.name) == level[2]
    assert found.basis_set.cartesian == level[3]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"auxbasis": "def2-universal-jkfit"},
            "of no use with --jk exact, the default of sto-3g: leave it out, or add",
        ),
        (
            {"basis": "def2-svp", "auxbasis": "weigend"},
            "is made for J alone, and b3lyp5 needs K: use def2-universal-jkfit",
        ),
        ({"jk": "df"}, "no fitting set belongs to sto-3g"),
        ({"jk": "fitted"}, "unknown jk 'fitted'; known: auto, exact, df"),
    ],
)
def test_settings_that_contradict_one_another(settings: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolved_level(Settings(**settings))  # type: ignore[arg-type]
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_a_level_names_what_is_not_as_usual() -> None:
    usual, fitted = (resolved_level(Settings(basis=name, cartesian=name != "sto-3g")) for name in ("sto-3g", "6-31g*"))
    assert str(usual) == "b3lyp5/sto-3g, grid level 1"
    assert str(fitted) == "b3lyp5/6-31g* (Cartesian), density fitting in cc-pvdz-jkfit, grid level 1"
    assert usual.about() == {"xc": "b3lyp5", "basis": "sto-3g", "grid_level": 1}
    assert fitted.about()["jk"] == "df" and fitted.about()["cartesian"] is True
