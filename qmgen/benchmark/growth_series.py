"""Which molecules show how the time grows: isomers, three of each formula, from 31 to 108 atomic orbitals in STO-3G.

Isomers share a padded shape, so that each size is compiled once. All formulas are C_m H_2m O_2, seven orbitals apart:
a row holds an ester, an acid and something more compact, as far-away orbital pairs cost less than near ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Series:
    """``molecules`` by rows of one size; ``batch`` and ``rows`` are done with ``typical``, at all ``batch_sizes``
    with that many conformers, and with ``rows`` conformers timed in chunks of ``chunk``."""

    molecules: tuple[tuple[str, ...], ...]
    typical: str
    batch_sizes: tuple[int, ...]
    rows: int
    chunk: int
    grid_level: int


FULL: Final = Series(
    molecules=(
        # C3: 5 heavy atoms, 31 orbitals
        ("COC(C)=O", "CCC(=O)O", "OC1COC1"),
        # C4: 38
        ("CCOC(C)=O", "CC(C)C(=O)O", "C1COCCO1"),
        # C5: 45
        ("CCCOC(C)=O", "CC(C)(C)C(=O)O", "OCC1CCCO1"),
        # C6: 52
        ("CCCCOC(C)=O", "CCC(CC)C(=O)O", "OC1CCCCC1O"),
        # C7: 59
        ("CC(C)CCOC(C)=O", "CCCCCCC(=O)O", "CC1(O)CCCCC1O"),
        # C8: 66
        ("CCCCCCOC(C)=O", "CCCCC(CC)C(=O)O", "OCC1CCC(CO)CC1"),
        # C9: 73
        ("CCCCCCCOC(C)=O", "CC(CC(=O)O)CC(C)(C)C", "CC1CC(O)CC(C)(C)C1O"),
        # C10: 80
        ("CCCCCCCCOC(C)=O", "CCCCCCCCCC(=O)O", "CC(C)(O)C1CCC(C)(O)CC1"),
        # C12: 94
        ("CCCCCCCCCCOC(C)=O", "CCCCCCCCCCCC(=O)O", "OC1CCCCCCCCCCC1O"),
        # C14: 16 heavy atoms, 108 orbitals
        ("CCCCCCCCCCCCOC(C)=O", "CCCCCCCCCCCCCC(=O)O", "CC(C)(C)C1CC(O)CC(C(C)(C)C)C1O"),
    ),
    typical="CC(C)CCOC(C)=O",
    batch_sizes=(1, 2, 4, 8, 16),
    rows=128,
    chunk=16,
    grid_level=1,
)

#: the same in small, to see that it runs: methanol, and ethanol with its isomer
TOY: Final = Series(
    molecules=(("CO",), ("CCO", "COC")),
    typical="CO",
    batch_sizes=(1, 2),
    rows=4,
    chunk=2,
    grid_level=0,
)
