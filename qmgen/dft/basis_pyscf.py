"""The one place where the physics reads a table from PySCF: basis sets that are not shipped."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def read_tables(name: str) -> dict[int, list[Any]]:
    """Element number -> shells in PySCF's format, for H to Kr as far as the set goes; empty if the name is unknown."""
    from pyscf.data.elements import ELEMENTS
    from pyscf.gto.basis import load

    tables: dict[int, list[Any]] = {}
    with _own_tables(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number in range(1, 37):
            try:
                tables[number] = load(f"{name} ", ELEMENTS[number])  # a space: or a file of that name would be read
            except Exception:  # PySCF raises several kinds for a missing set or element
                continue
    return {z: shells for z, shells in tables.items() if shells}


@contextmanager
def _own_tables() -> Iterator[None]:
    """PySCF fills gaps in its tables from basis-set-exchange where that is installed: a name would then mean another
    set on another machine."""
    from pyscf.gto.basis import bse

    kept, bse.basis_set_exchange = bse.basis_set_exchange, None
    try:
        yield
    finally:
        bse.basis_set_exchange = kept


def known_names() -> list[str]:
    from pyscf.gto.basis import ALIAS

    return sorted(ALIAS)
