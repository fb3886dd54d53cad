"""Chemical symbols and atomic numbers, without RDKit: what the readers of bare geometries need."""

from __future__ import annotations

from typing import Final

_TABLE: Final = """
H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y Zr Nb Mo Tc
Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi
Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts Og
"""
#: symbols in order of atomic number: ``SYMBOLS[6]`` is "C"; ``SYMBOLS[0]`` stands for no element
SYMBOLS: Final[tuple[str, ...]] = ("?", *_TABLE.split())
_RADII: Final = """
31 28 128 96 84 76 71 66 57 58 166 141 121 111 107 105 102 106 203 176 170 160 152 139 139 132 126 124 132 122 122
120 119 120 120 116 220 195 190 175 164 154 147 146 142 139 145 144 142 139 139 138 139 140 244 215 207 204 203 201
199 198 198 196 194 192 192 189 190 187 187 175 170 162 151 144 141 136 136 132 145 146 148 140 150 150 260 220 215
206 200 196 190 187 180 169 190 190 190 190 190 190 190 190 190 190 190 190 190 190 190 190 136 143 162 175 165 157
"""
#: covalent radii in Angstrom by atomic number, the table of RDKit, which is that of B. Cordero et al., Dalton Trans.
#: 2832 (2008), completed beyond curium; ``COVALENT_RADII[0]`` stands for no element
COVALENT_RADII: Final[tuple[float, ...]] = (0.0, *(int(radius) / 100 for radius in _RADII.split()))
#: characters of the longest symbol or number
_LONGEST: Final = 3
_NUMBERS: Final = {symbol: number for number, symbol in enumerate(SYMBOLS) if number}


def symbol_of(number: int) -> str:
    """The symbol of an atomic number; the number itself in digits where no such element exists."""
    return SYMBOLS[number] if 0 < number < len(SYMBOLS) else str(number)


def number_of(text: str) -> int | None:
    """The atomic number of a symbol in any case ("C", "cl", "CL") or of a number in digits ("6"); None if neither."""
    if len(text) > _LONGEST or not text.isascii():  # int() refuses thousands of digits; "ſi" capitalised is "Si"
        return None
    if text.isdigit():
        number = int(text)
        return number if 0 < number < len(SYMBOLS) else None
    return _NUMBERS.get(text.capitalize())
