"""Charges and multiplicities that comments state: what is understood, and that nothing else is dropped."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from qmgen.molecules.comment import parse_comment
from qmgen.molecules.stated_charge import stated_charge
from qmgen.molecules.types import EntryRefused, Failure, Molecule, Reason

#: ten electrons in the neutral molecule
WATER = np.array([8, 1, 1])
ATOMS = "O 0 0 0.117\nH 0 0.757 -0.469\nH 0 -0.757 -0.469\n"
#: text by the charge and multiplicity (None: not stated) that it states for water
UNDERSTOOD = {
    (0, None): [
        *(
            "",
            "water",
            "charge=0",
            "charge=0.0",
            "Charge: 0",
            "q=0",
            "neutral",
            "REF_charge=0 energy=-76.4",
            "run-1",
            "7",
        ),
        *(
            "frame 1 2",
            "1 2 3",
            "-76.4 1",
            "step 12",
            "UHF/6-31+G*",
            "spinosad",
            "application of a companion",
            "6-31+G",
        ),
        *('mulliken_charges="-0.8 0.4 0.4"', "partial charges follow", 'name="charge transfer"', "spin_polarized=F"),
        *("Properties=species:S:1:pos:R:3:charge:R:1", "charge-transfer complex charge=0", 'smiles="C[N+](=O)[O-]"'),
        *("charge_units=e", "i = 1, time = 0.5, E = -76.4", "uncharged", "nuclear_charges=[8,1,1]"),
    ],
    (0, 1): [
        *("0 1", " 0  1 ", "[0, 1]", "0 1 water", "charge=0 spin=1", "charge=0 spin=0", "spin=0.0", "multiplicity=1"),
        *("mult=1 spin=0", "charge=0, multiplicity=1", "Charge = 0 Multiplicity = 1", "charge/mult = 0 1", "2S+1=1"),
        *("spin_multiplicity=1", "uhf=0", "unpaired_electrons=0", "magmom=0.001", "singlet", "closed shell", "2S=0"),
        *('{"charge": 0, "spin": 1}', "{'charge': 0, 'spin': 1}", 'info="{\\"charge\\": 0, \\"mult\\": 1}"', "spin: 1"),
        *("charge=0 spin=1 data_id=x source=orca/charge_1", "charge and multiplicity 0 1", "spin contaminated mult 1"),
    ],
    (1, None): [
        *(
            "charge=1",
            "charge = +1",
            "q=1",
            "Q: 1",
            "Charge: 1",
            "net charge +1",
            "total_charge=1",
            "molecularCharge=1",
        ),
        *(
            "charge=1+",
            'charge="1"',
            "charge=[1]",
            "charge=1.0",
            '{"charge": 1}',
            '{"qm": {"total_charge": 1}}',
            "CHARGE 1",
        ),
        *(
            'comment="charge 1"',
            'info="_JSON {\\"charge\\": 1}"',
            'name="x charge=1"',
            'smiles="[NH4+]"',
            "smiles=[NH4+]",
        ),
        *(
            'charges="0.6 0.2 0.2"',
            'note="unclosed charge=1',
            "x,charge=1",
            "energy=-1;charge=1",
            "initial_charges=[1,0,0]",
        ),
    ],
    (-2, 1): ["-2 1", "-2 1 water", "dianion -2 1", "charge=-2 spin=1", "charge=2- singlet", "charge: -2, mult: 1"],
    (1, 2): [
        "1 2",
        "charge=1 mult=2",
        "charge=1,multiplicity=2",
        "charge=1 spin=2",
        "q=1 doublet",
        "Charge = 1 Multiplicity = 2",
    ],
    (0, 3): [
        *("charge=0 spin=3", "charge=0 spin=2", "multiplicity=3", "mult: 3", "spinMultiplicity=3", "triplet", "0 3"),
        *("uhf=2", "n_unpaired=2", "magmom=2.0", "mult=3 spin=1", "neutral triplet water", "state=triplet"),
        *('{"charge": 0, "spin": 3}', 'description="a triplet state"'),
    ],
}
REFUSED = [
    *(
        "charge=half",
        "charge=",
        "charge=None",
        "charge=0.5",
        "charge=1_0",
        "charge=١",
        "charge=−1",
        "charge=TRUE",
        "q=abc",
    ),
    *(
        "charge is 1",
        "charged",
        "doubly charged",
        "a charge",
        "charges from DFT",
        "charge|1",
        "charge: 0/1",
        "charge=0/1",
    ),
    *("charge=0 charge=1", "charge=1 total_charge=0", "mult=1 spin=2", "0 1 charge=1", "multiplicity=1 triplet"),
    *("mult=2", "mult=0", "spin=-1", "spin=0.5", "spin=1/2", "charge=1 mult=1", "1 1", "-1 1 acetate", "0 0", "12 345"),
    *("charge=" + "9" * 5000, "charge=1e400", "1 " + "9" * 5000, "9" * 5000 + " 1", "spin=" + "1" * 5000, "-1", "+1"),
    *("radical", "radical cation", "dication", "anion", "open-shell", "spin", "SO4^2-", "SO4 2-", "Ca2+", "[NH4]+"),
    *(
        "charge_model=CM5",
        "spin_polarized=T",
        '{"charge": [0, 1]}',
        '{"charge": null, "multiplicity": "two"}',
        "magmom=0.5",
    ),
    *("magmoms=[1.0,-1.0,0.0]", "charge_state=high", "charge, multiplicity = 0, 1", "[" * 5000 + " charge=x"),
]


@pytest.mark.parametrize(("state", "text"), [(state, text) for state, texts in UNDERSTOOD.items() for text in texts])
def test_statements_that_are_understood(state, text):
    assert stated_charge(WATER, parse_comment(text)) == state


def plain(text: str) -> str:
    """A text without blanks, quotes, and what holds values together."""
    return re.sub(r"""[\s"':=\[\]{}]""", "", text)


@pytest.mark.parametrize("text", REFUSED)
def test_statements_that_are_refused_quote_the_text(text):
    with pytest.raises(EntryRefused) as refused:
        stated_charge(WATER, parse_comment(text))
    assert refused.value.reason is Reason.UNREADABLE
    assert len(str(refused.value)) <= 200 and "\n" not in str(refused.value)
    quotes = re.findall('"(.*?)…?"(?=[ ,]|$)', str(refused.value).replace(" (sum", '" (sum'))
    assert quotes and all(plain(quote) in plain(text) for quote in quotes)


@pytest.mark.parametrize(
    ("state", "text"),
    [
        *(((0, 3), text) for text in ("mul=3", "chg 0 mul 3", "M=3", "multi=3", "S=1", "| q = 0 | S = 1 |", "s2=2.00")),
        *(((0, 3), text) for text in ("<S^2>=2.00", "<S**2> = 2.01", "<S^2>: 2.0", "electronic_state=T1", "state=3B1")),
        *(((0, 3), text) for text in ("T1 state", "3B1 ground state", "Sz=1")),
        *(((0, 1), text) for text in ("S0 state of water", "1A1 state")),
        *(((0, 1), text) for text in ("mul=1", "S=0", "| q = 0 | S = 0 |", "S2=0.0", "electronic_state=S0")),
        ((2, None), "InChI=1S/H2O/q+2"),
        ((1, None), "InChI=1S/H2O/h1H2/p+1"),
        ((-1, None), '{"inchi": "InChI=1S/H2O/q+1/p-2"}'),
        ((1, None), "SMILES: [NH4+]"),
        ((1, None), "q = 1 | Stoichiometry = H2O(1+)"),
        ((2, None), "charge=2 n_electrons=8"),
        ((0, None), "charge=0 n_electrons=8"),  # without the core
        ((0, None), "num_electrons=10"),
    ],
)
def test_short_names_layers_and_states(state, text):
    assert stated_charge(WATER, parse_comment(text)) == state


@pytest.mark.parametrize(
    "text",
    ["open_shell=True", "radical=1", "ion=1", "is_cation=1", "diradical=yes", "n_electrons=8", "num_electrons=9"]
    + ["charge=1 n_electrons=10", "(+1)", "water (-2)", "H2O +2", "H2O.+", "H2O\u2022+", "H2O^{2+}", "H2O\u00b2\u207a"]
    + [
        "H2O\u207b",
        "formula=H2O+",
        "Stoichiometry = H2O(1+)",
        "OH- in water",
        "<S^2>=1.1",
        "ionized",
        "Number of electrons: 8",
        '{"is_radical": true}',
    ]
    + ['charges="0.5 0 0"', 'charges="-1.4 0.0 0.0"'],
)
def test_ions_and_open_shells_without_a_number_are_refused(text):
    with pytest.raises(EntryRefused, match="state charge=N multiplicity=M"):
        stated_charge(WATER, parse_comment(text))


@pytest.mark.parametrize(
    ("moments", "text"), [("1 1 0", "mag:R:1"), ("0 0 2", "initial_magmoms:R:1"), ("1.0 0.5 0.5", "mags:R:1")]
)
def test_moments_of_atoms_under_any_name(read, moments, text):
    lines = [f"{line} {value}" for line, value in zip(ATOMS.splitlines(), moments.split(), strict=True)]
    (entry,) = read("a.xyz", "\n".join(["3", f"Properties=species:S:1:pos:R:3:{text}", *lines]))
    assert isinstance(entry, Failure) and "mag" in entry.detail


def test_the_failure_of_a_pair_before_a_title_quotes_it(read):
    (entry,) = read("a.xyz", f"3\n2 1 conformer of water\n{ATOMS}")
    assert isinstance(entry, Failure) and entry.reason is Reason.NET_CHARGE
    assert "+2" in entry.detail and '"2 1 conformer of water"' in entry.detail


@pytest.mark.parametrize("repeats", [10, 300, 100_000])
@pytest.mark.parametrize(
    "text",
    ["{}1", "key{}b", "link=http://x?{}&", 'name="{}"', 'note="{}"', "[{}"],
)
def test_pairs_within_pairs_are_read_to_a_bounded_depth(text, repeats):
    for comment in (text.format("a=" * repeats), text.format("=" * repeats), json.dumps({"a": "a=" * repeats})):
        assert stated_charge(WATER, parse_comment(comment)) == (0, None)
        assert stated_charge(WATER, {"note": comment}) == (0, None)
    assert stated_charge(WATER, parse_comment("a=" * repeats + "charge=1")) == (1, None)


@pytest.mark.parametrize("text", ["water_cation", "radical cation", "charge=half", "multiplicity=two"])
def test_the_advice_asks_for_the_values_that_the_source_means(text):
    with pytest.raises(EntryRefused, match="state charge=N multiplicity=M"):
        stated_charge(WATER, parse_comment(text))


@pytest.mark.parametrize(
    ("numbers", "text", "multiplicity"),
    [
        ([8, 8], "charge=0 spin=1", 1),  # 2S + 1 = 1
        ([8, 8], "charge=0 spin=2", 3),  # 2S = 2
        ([8, 8], "charge=0 spin=3", 3),  # 2S + 1 = 3
        ([8, 1], "charge=0 spin=1", 2),  # 2S = 1
        ([8, 1], "charge=0 spin=2", 2),  # 2S + 1 = 2
        ([8, 1], "charge=0 spin=0.5", 2),  # S = 1/2
        ([8, 1], "charge=-1 spin=0", 1),
        ([7, 1, 1, 1, 1], "charge=1 spin=1", 1),
        ([1], "charge=1", None),
    ],
)
def test_spin_is_read_with_the_number_of_electrons(numbers, text, multiplicity):
    assert stated_charge(np.array(numbers), parse_comment(text)).multiplicity == multiplicity


def reasons(state: tuple[int, int | None]) -> Reason | None:
    if state[0]:
        return Reason.NET_CHARGE
    return Reason.ODD_ELECTRONS if state[1] not in (None, 1) else None


@pytest.mark.parametrize(
    ("state", "text"), [(state, text) for state, texts in UNDERSTOOD.items() for text in texts[:6]]
)
def test_only_closed_shells_without_a_charge_are_read(read, state, text):
    (entry,) = read("a.xyz", f"3\n{text}\n{ATOMS}")
    assert getattr(entry, "reason", None) is reasons(state)
    assert isinstance(entry, Failure) or entry.charge == 0


@pytest.mark.parametrize("text", REFUSED[::4])
def test_a_refused_statement_is_a_failure_of_its_frame(read, text):
    bad, good = read("a.xyz", f"3\n{text}\n{ATOMS}3\n0 1\n{ATOMS}")
    assert isinstance(bad, Failure) and bad.reason is Reason.UNREADABLE and isinstance(good, Molecule)


@pytest.mark.parametrize(("comment", "reason"), [("radical", Reason.ODD_ELECTRONS), ("a cation", Reason.UNREADABLE)])
def test_words_for_an_odd_number_of_electrons(read, comment, reason):
    (entry,) = read("a.xyz", f"2\n{comment}\nO 0 0 0\nH 0 0 0.97\n")
    assert isinstance(entry, Failure) and entry.reason is reason


@pytest.mark.parametrize(
    ("column", "values", "reason"),
    [
        ("charge:R:1", (-0.8, 0.4, 0.4), None),
        ("initial_charges:R:1", (1, 0, 0), Reason.NET_CHARGE),
        ("mulliken_charges:R:1", (0.2, 0.4, 0.4), Reason.NET_CHARGE),
        ("charge_group:I:1", (1, 1, 1), None),
        ("nuclear_charges:I:1", (8, 1, 1), None),
        ("magmoms:R:1", (0.0, 0.001, 0.0), None),
        ("initial_magmoms:R:1", (1, -1, 0), Reason.UNREADABLE),
    ],
)
def test_columns_of_charges_and_moments_of_the_atoms(read, column, values, reason):
    lines = [f"{line} {value}" for line, value in zip(ATOMS.splitlines(), values, strict=True)]
    (entry,) = read("a.xyz", "\n".join(["3", f"Properties=species:S:1:pos:R:3:{column}", *lines]))
    assert getattr(entry, "reason", None) is reason
