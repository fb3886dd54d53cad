"""Basis sets against PySCF's: which elements, which functions, in which order; and what they are called."""

from __future__ import annotations

import importlib.machinery
import json
import sys
import types
import warnings
from importlib import resources
from typing import Any

import numpy as np
import pytest
from pyscf import gto
from pyscf.data.elements import ELEMENTS as SYMBOLS

from qmgen.dft import basis_names
from qmgen.dft.basis import Basis, load_basis, shell_orbitals
from qmgen.dft.basis_exchange import read_exchange
from qmgen.dft.basis_names import ELEMENTS, NAMES, SHIPPED, canonical_name, file_name, plain_name
from qmgen.errors import UsageError

#: name, its number of elements with integrals here (all of H to Ca and Ga to Kr are 26), highest l
SETS = {
    "sto-3g": (18, 1), "3-21g": (26, 2), "6-31g": (18, 1), "6-31g*": (26, 2), "6-31+g**": (20, 2),
    "6-31g(2df,p)": (18, 3), "6-311++g(2df,p)": (9, 3), "dzvp": (26, 2), "def2-svp": (26, 2), "def2-tzvp": (26, 3),
    "def2-svpd": (26, 2), "def2-tzvpd": (26, 3), "def2-tzvppd": (26, 3), "def2-mtzvp": (26, 2), "def2-mtzvpp": (26, 2),
    "cc-pvdz": (25, 2), "cc-pvtz": (25, 3), "aug-cc-pvdz": (24, 2), "pcseg-1": (26, 2), "pcseg-2": (26, 3),
}  # fmt: skip


def pyscf_functions(number: int, name: str) -> list[tuple[int, np.ndarray, np.ndarray]]:
    """(l, exponents, coefficients) of each contracted function of one atom, in PySCF's order; coefficients such that
    the primitives are those of ``qmgen``: x^l exp(-a r^2), and the contracted function has norm one with x^l."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mol = gto.M(atom=[(number, (0, 0, 0))], basis=name, spin=number % 2, verbose=0)
    functions = []
    for shell in range(mol.nbas):
        l, exponents = mol.bas_angular(shell), mol.bas_exp(shell)
        norms = (2 * exponents / np.pi) ** 0.75 * (4 * exponents) ** (l / 2) / np.sqrt(np.prod(range(2 * l - 1, 0, -2)))
        contracted = mol.bas_ctr_coeff(shell) * norms[:, None]  # of normalized primitives
        order = np.argsort(-exponents, kind="stable")
        functions += [(l, exponents[order], column[order]) for column in contracted.T]
    return functions


def our_functions(number: int, basis: Basis) -> list[tuple[int, np.ndarray, np.ndarray]]:
    """The same of ours, in the order of the orbitals."""
    found: dict[int, tuple[int, np.ndarray, np.ndarray]] = {}
    for _, shell, orbitals in shell_orbitals(np.array([number]), basis):
        for column, l in enumerate(shell.angular_momenta):
            first, orbitals = orbitals[0], orbitals[2 * l + 1 :]
            found[first] = l, shell.exponents, shell.coefficients[:, column]
    return [found[first] for first in sorted(found)]


@pytest.mark.parametrize("name", SETS)
def test_functions_of_every_element_equal_pyscfs(name: str) -> None:
    basis = load_basis(name)
    assert (len(basis.elements), basis.highest) == SETS[name]
    assert basis.elements <= set(ELEMENTS)
    for number in sorted(basis.elements):
        ours, theirs = our_functions(number, basis), pyscf_functions(number, name)
        assert [l for l, _, _ in ours] == [l for l, _, _ in theirs], number
        assert basis.n_orbitals(np.array([number])) == sum(2 * l + 1 for l, _, _ in theirs)
        for (_, exponents, coefficients), (_, all_exponents, all_coefficients) in zip(ours, theirs):
            part = all_coefficients != 0  # primitives of other contractions of the same shell
            np.testing.assert_array_equal(exponents, all_exponents[part])
            # one rounding each of the norms
            np.testing.assert_allclose(coefficients, all_coefficients[part], rtol=1e-13)


@pytest.mark.parametrize("name", ["def2-svp", "6-31g*", "cc-pvtz"])
def test_cartesian_orbitals_are_as_many_as_pyscfs(name: str) -> None:
    basis = load_basis(name, cartesian=True)
    for number in sorted(basis.elements):
        mol = gto.M(atom=[(number, (0, 0, 0))], basis=name, spin=number % 2, cart=True, verbose=0)
        assert basis.n_orbitals(np.array([number])) == mol.nao
    assert load_basis(name).n_orbitals(np.array([6])) < basis.n_orbitals(np.array([6]))


@pytest.mark.parametrize("name", SHIPPED)
def test_data_files_are_pyscfs_tables(name: str) -> None:
    for number, shells in basis_names.shipped_table(name).items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert shells == gto.basis.load(name, SYMBOLS[number]), number
    stored = json.loads(resources.files("qmgen.dft").joinpath("data", f"{file_name(name)}.json").read_text())
    assert stored["name"] == name and "PySCF" in stored["source"]


def test_names_and_checksums_of_the_first_sets_stay() -> None:
    """They stand in corpora, and in the hashes of their settings."""
    first = {"sto-3g": "27d86897aaf6401a", "6-31g": "d59a83442bd2aa3d", "321g": "a7b29bf5b53b142d"}
    for name, checksum in first.items():
        basis = load_basis(name)
        assert (basis.name, basis.checksum) == (name, checksum)


@pytest.mark.parametrize(
    ("spellings", "name"),
    [
        (("STO-3G", "sto3g", "STO_3G", " sto-3g "), "sto-3g"),
        (("6-31G*", "6-31g(d)", "631G*", "6-31Gs", "6-31G (d)"), "6-31g*"),
        (("6-31+G**", "6-31+g(d,p)", "6-31+G(d, p)", "631+gss"), "6-31+g**"),
        (("6-31G(2df,p)", "631g(2df,p)", "6-31G(2DF, P)"), "6-31g(2df,p)"),
        (("6-311++G(2df,p)", "6311++g(2df,p)"), "6-311++g(2df,p)"),
        (("def2-SVP", "def2svp", "Def2_SVP"), "def2-svp"),
        (("aug-cc-pVDZ", "AUGCCPVDZ"), "aug-cc-pvdz"),
        (("3-21G", "321g"), "321g"),
    ],
)
def test_a_set_has_one_name(spellings: tuple[str, ...], name: str) -> None:
    assert {load_basis(spelling).name for spelling in spellings} == {name}


def test_names_with_hyphens_are_of_different_sets_that_exist() -> None:
    assert len({plain_name(name) for name in NAMES}) == len(NAMES)
    assert all(canonical_name(plain_name(name)) == name for name in NAMES)
    for name in NAMES:
        assert basis_names.read_table(name).elements


@pytest.mark.parametrize("base", ["6-31g", "6-31+g", "6-31++g", "6-311g", "6-311+g", "6-311++g"])
@pytest.mark.parametrize(("stars", "letters"), [("*", "(d)"), ("**", "(d,p)")])
def test_star_notation_is_of_the_same_tables(base: str, stars: str, letters: str) -> None:
    """PySCF makes the second from other files than the first: where both have an element they have the same shells."""

    def table(name: str) -> dict[int, Any]:
        found = {}
        for number in ELEMENTS:
            try:
                found[number] = gto.basis.load(name, SYMBOLS[number])
            except Exception:  # PySCF has several for a missing element
                continue
        return found

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        one, other = table(base + stars), table(base + letters)
    assert other and other.keys() <= one.keys()
    assert all(one[number] == shells for number, shells in other.items())
    assert canonical_name(base + letters) == canonical_name(base + stars)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("def2-spv", "unknown basis 'def2-spv'; did you mean 'def2-svp'"),
        ("cc-pv6z", "unknown basis 'cc-pv6z'"),
        ("def2-universal-jkfit", "an auxiliary set, and holds no orbitals: use an orbital set, such as def2-svp"),
        ("cc-pvdz-ri", "an auxiliary set"),
        ("cc-pvdz-rifit", "an auxiliary set"),
        ("def2-svp-autoaux", "an auxiliary set"),
        ("crenbs", "belongs to effective core potentials, which are not supported: use a set for all electrons"),
    ],
)
def test_what_is_no_basis_set_says_so_in_one_line(name: str, said: str) -> None:
    with pytest.raises(UsageError, match="basis") as caught:
        load_basis(name)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_of_the_name_of_a_set_is_not_read(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """PySCF takes a name for that of a file first."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dzp").write_text("C S\n 1.0 1.0\n")
    assert load_basis("dzp").n_orbitals(np.array([6])) > 1


def test_which_elements_are_left_out_and_why() -> None:
    quadruple, pseudo = load_basis("def2-qzvp"), load_basis("lanl2dz")
    assert quadruple.beyond >= {6, 7, 8} and quadruple.elements == {1, 2, 3, 4, 11, 12, 19, 20}
    assert pseudo.core_potentials >= {14, 17} and 6 in pseudo.elements
    assert not load_basis("def2-svp").elements & set(range(21, 31))


def test_polarized_sets_are_told_by_their_first_row() -> None:
    without = {"sto-3g", "3-21g", "6-31g"}
    for name in SETS:
        assert load_basis(name).polarized == (name not in without), name
    assert not load_basis("3-21g*").polarized  # d functions from sodium on alone


#: of two kinds of shells that the exchange has: sp shells, and general contractions
EXCHANGED: dict[str, Any] = {
    "6": {
        "electron_shells": [
            {"angular_momentum": [0, 1], "exponents": ["3.0", "1.0"], "coefficients": [["0.4", "0.7"], ["0.2", "0.9"]]},
            {"angular_momentum": [2], "exponents": ["0.8"], "coefficients": [["1.0"]]},
            {"angular_momentum": [0], "exponents": ["90.0", "9.0"], "coefficients": [["1.0", "0.5"], ["0.0", "1.0"]]},
        ]
    },
    "26": {"electron_shells": [{"angular_momentum": [0], "exponents": ["1.0"], "coefficients": [["1.0"]]}]},
    "36": {"ecp_electrons": 28},
}


@pytest.fixture
def exchange(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package basis-set-exchange with one set."""
    module = types.ModuleType("basis_set_exchange")
    module.__spec__ = importlib.machinery.ModuleSpec("basis_set_exchange", None)
    vars(module).update(get_all_basis_names=lambda: ["Their-Set (2)"], get_basis=lambda name: {"elements": EXCHANGED})
    monkeypatch.setitem(sys.modules, "basis_set_exchange", module)
    basis_names._read.cache_clear()


@pytest.mark.usefixtures("exchange")
def test_sets_of_the_basis_set_exchange() -> None:
    basis = load_basis("their_set (2)")
    assert basis.elements == {6}
    assert [shell[0] for shell in basis.source[6]] == [0, 0, 1, 2]
    assert sorted(shell.angular_momenta for shell in basis.shells(6)) == [(0,), (0,), (0, 1), (2,)]
    assert basis.n_orbitals(np.array([6])) == 3 + 3 + 5
    # primitives that a contraction leaves out are none of its own
    assert sorted(len(shell.exponents) for shell in basis.shells(6)) == [1, 1, 2, 2]
    assert not read_exchange(lambda name: name == "another", ELEMENTS)


def test_without_the_exchange_an_unknown_name_says_how_to_have_it() -> None:
    with pytest.raises(UsageError, match=r"pip install 'qmgen\[basis\]'"):
        load_basis("their-set-3")
