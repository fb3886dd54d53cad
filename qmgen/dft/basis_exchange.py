"""Basis sets that neither ship nor are PySCF's: from the package basis-set-exchange, where it is installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

INSTALL: Final = "pip install 'qmgen[basis]' brings those of the Basis Set Exchange"


def installed() -> bool:
    return importlib.util.find_spec("basis_set_exchange") is not None


def read_exchange(meant: Callable[[str], bool], elements: Collection[int]) -> dict[int, list[Any]]:
    """Shells in PySCF's format of the set whose name is ``meant``, for those of ``elements`` that it has; empty where
    there is no such set, or the package is not installed."""
    if not installed():
        return {}
    import basis_set_exchange

    name = next(filter(meant, basis_set_exchange.get_all_basis_names()), None)
    if name is None:
        return {}
    found = basis_set_exchange.get_basis(name)["elements"]
    there = {number: found[str(number)] for number in elements if str(number) in found}
    return {number: _shells(element) for number, element in there.items() if element.get("electron_shells")}


def _shells(element: Mapping[str, Any]) -> list[Any]:
    """Several angular momenta of a shell of the exchange are a column each; those of one are contractions of it."""
    shells: list[Any] = []
    for shell in element["electron_shells"]:
        exponents = [float(exponent) for exponent in shell["exponents"]]
        columns = [[float(value) for value in column] for column in shell["coefficients"]]
        momenta = shell["angular_momentum"]
        parts = [(momenta[0], columns)] if len(momenta) == 1 else [(l, [c]) for l, c in zip(momenta, columns)]
        shells += [[l, *([e, *row] for e, *row in zip(exponents, *part))] for l, part in parts]
    return sorted(shells, key=lambda shell: int(shell[0]))
