"""The functionals by name."""

from __future__ import annotations

import difflib
from typing import Final

from qmgen.dft.functionals.functional import Functional
from qmgen.dft.functionals.pieces import becke88, lyp, pbe_correlation, pbe_exchange, slater, vwn5, vwn_rpa
from qmgen.errors import UsageError

_ALL: Final = (
    Functional(
        name="hf",
        description="Hartree-Fock: exact exchange alone, no semilocal functional and no VWN.",
        exact_exchange=1.0,
        needs_gradient=False,
        pieces=(),
    ),
    Functional(
        name="lda",
        description="Local density approximation: Slater exchange and VWN5 correlation (PySCF's 'lda,vwn').",
        exact_exchange=0.0,
        needs_gradient=False,
        pieces=((1.0, slater), (1.0, vwn5)),
    ),
    Functional(
        name="pbe",
        description="PBE exchange and correlation; no VWN (its uniform gas is Perdew-Wang 1992).",
        exact_exchange=0.0,
        needs_gradient=True,
        pieces=((1.0, pbe_exchange), (1.0, pbe_correlation)),
    ),
    Functional(
        name="pbe0",
        description="PBE0: PBE with 25 % exact exchange; no VWN (its uniform gas is Perdew-Wang 1992).",
        exact_exchange=0.25,
        needs_gradient=True,
        pieces=((0.75, pbe_exchange), (1.0, pbe_correlation)),
    ),
    Functional(
        name="b3lyp",
        description="B3LYP with VWN-RPA ('VWN3') correlation, as in Gaussian, NWChem, Q-Chem, Psi4 and PySCF >= 2.3.",
        exact_exchange=0.2,
        needs_gradient=True,
        pieces=((0.08, slater), (0.72, becke88), (0.81, lyp), (0.19, vwn_rpa)),
    ),
    Functional(
        name="b3lyp5",
        description="B3LYP with VWN5 correlation, as in ORCA, GAMESS-US, DALTON, PySCF < 2.3 and QM1B.",
        exact_exchange=0.2,
        needs_gradient=True,
        pieces=((0.08, slater), (0.72, becke88), (0.81, lyp), (0.19, vwn5)),
    ),
)
_ALIASES: Final = {"lda,vwn": "lda", "svwn": "lda"}
_BY_NAME: Final = {f.name: f for f in _ALL}

#: canonical names
FUNCTIONAL_NAMES: Final = tuple(_BY_NAME)


def functional(name: str) -> Functional:
    """The functional called ``name``; case and spaces do not matter.

    Raises:
        UsageError: no functional of that name; says the nearest one, and all.
    """
    key = "".join(name.lower().split())
    key = _ALIASES.get(key, key)
    if key in _BY_NAME:
        return _BY_NAME[key]
    names = (*_BY_NAME, *_ALIASES)
    near = difflib.get_close_matches(key, names, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise UsageError(f"unknown functional {name!r}: {hint}Known are {', '.join(names)}.")
