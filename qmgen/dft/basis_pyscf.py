"""The one place where the physics reads a table from PySCF: basis sets that are not shipped."""

from __future__ import annotations

import warnings


def read_tables(name: str) -> dict[str, list]:
    """Element number -> shells in PySCF's format, for H to Kr as far as the set goes; empty if the name is unknown."""
    from pyscf.data.elements import ELEMENTS
    from pyscf.gto.basis import load

    tables: dict[str, list] = {}
    for number in range(1, 37):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tables[str(number)] = load(name, ELEMENTS[number])
        except Exception:  # PySCF raises several kinds for a missing set or element
            continue
    return {z: shells for z, shells in tables.items() if shells}


def known_names() -> list[str]:
    from pyscf.gto.basis import ALIAS

    return sorted(ALIAS)
