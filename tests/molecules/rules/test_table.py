"""Rule sets written by users: TOML in, one clear line for whatever is wrong."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest

from qmgen.errors import UsageError
from qmgen.molecules.rules.ruleset import SHIPPED, RuleSet, check_lines, load_rules, without_exceptions

ROOT = Path(__file__).resolve().parents[3]
MINE = """
name = "mine"
base = "gdb11"
elements = ["C", "N", "O"]
[define]
small = "r3,r4"
ring = "[{small}]"
[[rule]]
name = "no_small_rings"
smarts = "{ring}"
why = "too hard to make"
[[rule]]
name = "no_amino_acids"
smarts = ["[NH2]", "[NH1]"]
also = "C(=O)[OH]"
"""


def load(tmp_path: Path, text: str) -> RuleSet:
    path = tmp_path / "mine.toml"
    path.write_text(text, "utf-8")
    return load_rules(path)


def test_a_set_of_ones_own_on_top_of_a_shipped_one(tmp_path: Path):
    rules = load(tmp_path, MINE)
    verdicts = dict(check_lines(["C1CC1C", "OCO", "NCC(=O)O", "NCCO", "CCF", "CCO x"], rules))
    assert verdicts == {
        "C1CC1C": "no_small_rings",
        "OCO": "hemiacetal",
        "NCC(=O)O": "no_amino_acids",
        "NCCO": "ok",
        "CCF": "elements",
        "CCO": "ok",
    }
    assert {rule.name: rule.removed for rule in rules if rule.removed} == {
        "no_small_rings": 1,
        "hemiacetal": 1,
        "no_amino_acids": 1,
        "elements": 1,
    }
    assert rules.prunes_as == "gdb11" and rules.tautomers == "keep"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[[rule]]\nname = "a"\nsmarts = "C("', "rule 'a': not a SMARTS that RDKit can read: C("),
        ('[[rule]]\nname = "a"\nsmarts = "[N"', "not a SMARTS"),
        ('[[rule]]\nname = "a"\nsmarts = "C"\ncolour = 1', "rule 'a' has an unknown key 'colour'"),
        ('[[rules]]\nname = "a"', "unknown key 'rules'"),
        ('[[rule]]\nsmarts = "C"', "rule 1 has no name"),
        ('[[rule]]\nname = "a"\nsmarts = "C"\n[[rule]]\nname = "a"\nsmarts = "N"', "two rules are named 'a'"),
        ('base = "gdb11"\n[[rule]]\nname = "enol"\nsmarts = "C"', "a rule 'enol' already"),
        ('[[rule]]\nname = "charge"\nsmarts = "C"', "a rule 'charge' already"),
        ('[[rule]]\nname = "a b"\nsmarts = "C"', "must be lower-case"),
        ('[[rule]]\nname = "a"', "must have either smarts or test"),
        ('[[rule]]\nname = "a"\nsmarts = []', "must have either smarts or test"),
        ('[[rule]]\nname = "a"\nsmarts = 1', "smarts must be a text"),
        ('[[rule]]\nname = "a"\ntest = "magic"', "no test 'magic'"),
        ('[[rule]]\nname = "a"\nsmarts = "{b}"', "uses {b}, which [define] does not have"),
        ('[define]\nb = "{c}"\nc = "{b}"\n[[rule]]\nname = "a"\nsmarts = "{b}"', "go in a circle"),
        ('[[rule]]\nname = "a"\nsmarts = "C"\nstage = "late"', "stage is 'late'"),
        ('elements = ["C", "S"]', "no valence rule for element 'S'"),
        ('tautomers = "both"', "give merge or keep"),
        ('base = "gdb13"', "no base 'gdb13'"),
        ('base = "a\\nb"', "no base 'a"),
        ("name = ", "is not TOML"),
        ("a = " + "[" * 100_000 + "]" * 100_000, "nested too deeply"),
        ("a = " + "{a = " * 40_000 + "1" + "}" * 40_000, "nested too deeply"),
        (".".join("a" * 100_000) + " = 1", "more than 100 dots"),
        ("[" + " . ".join("a" * 50_000) + "]", "more than 100 dots"),
        ("a = " + "1" * 10_000, "is not TOML"),
        ("# " + "x" * 300_000, "more than 262144 bytes"),
        ('[[rule]]\nname = "a"\nsmarts = "' + "C" * 10_001 + '"', "a pattern of more than 10000 characters"),
        ('[[rule]]\nname = "a"\nsmarts = "N"\ntest = "' + "x" * 5000 + '"', "either smarts or test"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path: Path, text: str, says: str):
    with pytest.raises(UsageError) as caught:
        load(tmp_path, text)
    assert says in str(caught.value) and str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def nested(count: int, base: str, times: int = 2) -> str:
    """Definitions d0 to ``count``, each of which names the one before ``times`` times, and a rule of the last."""
    define = [f'd{k} = "{f"{{d{k - 1}}}" * times}"' for k in range(1, count + 1)]
    return "\n".join(["[define]", f'd0 = "{base}"', *define, "[[rule]]", 'name = "a"', f'smarts = "{{d{count}}}"'])


@pytest.mark.parametrize("count", [14, 20, 30, 49])
@pytest.mark.parametrize("times", [2, 40])
def test_nested_definitions_are_measured_before_they_are_filled_in(tmp_path: Path, count: int, times: int) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(UsageError, match="more than 10000 characters once definitions are filled in"):
            load(tmp_path, nested(count, "C", times))
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("count", [50, 60, 3000])
def test_definitions_are_nested_up_to_fifty_deep(tmp_path: Path, count: int) -> None:
    assert len(load(tmp_path, nested(49, "C", 1))) == 5
    with pytest.raises(UsageError, match="nested more than 50 deep"):
        load(tmp_path, nested(count, "C", 1))
    steps = "".join(f'[[rule]]\nname = "r{k}"\nsmarts = "{{d{k}}}"\n' for k in range(count + 1))
    with pytest.raises(UsageError, match="nested more than 50 deep"):  # though each rule adds but one
        load(tmp_path, nested(count, "C", 1).partition("[[rule]]")[0] + steps)


def test_definitions_are_filled_in_as_they_stand(tmp_path: Path) -> None:
    text = """[define]
        n = "[N;{no_acyl}]"
        no_acyl = "!$(NC={o})"
        o = "O"
        [[rule]]
        name = "two"
        smarts = "{n}~[r{3-5}]{n}{o}"
        """
    assert [rule.smarts for rule in load(tmp_path, text)][-1] == ("[N;!$(NC=O)]~[r{3-5}][N;!$(NC=O)]O",)
    assert load(tmp_path, nested(45, "", 2).replace('"{d45}"', '"C{d45}"')).rules[-1].smarts == (
        "C",
    )  # 2**45 empty texts


def test_all_patterns_together_are_bounded(tmp_path: Path) -> None:
    rules = "".join(f'[[rule]]\nname = "r{k}"\nsmarts = "{"{a}" * 1000}"\n' for k in range(60))
    with pytest.raises(UsageError, match=r"rule 'r25': .* more than 200000 characters in all"):
        load(tmp_path, f'[define]\na = "CC(=O)NC"\n{rules}')


@pytest.mark.parametrize(
    ("pattern", "loose"),
    [
        ("[N;!$(N-C=[O,N])]C=[C;!$(CC=O);!$(CC#N)]", "[N]C=[C]"),
        ("[!+0;!$([N+](=O)[O-])]", "[!+0]"),
        ("[N,O;!$(NC),$(NO)]", "[N,O;!$(NC),$(NO)]"),
        ("[!$([N;!$(NC)])]", "[!$([N;!$(NC)])]"),
        ("[NX3]C=C", "[NX3]C=C"),
    ],
)
def test_loose_patterns_match_wherever_the_full_ones_do(pattern: str, loose: str):
    assert without_exceptions(pattern) == loose


def test_large_molecules_are_judged_as_written_and_soon():
    peptide = "NC(C)C(=O)" + "NC(C)C(=O)" * 12 + "OO"
    assert list(check_lines([peptide], load_rules("gdb11"))) == [(peptide, "peroxide")]


def test_importing_the_rules_does_not_import_rdkit():
    modules = "pruning ruleset table tautomers topology"
    program = "".join(f"import qmgen.molecules.rules.{module};" for module in modules.split())
    program += "import sys; print('rdkit' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "False"


def test_unknown_names_and_missing_files(tmp_path: Path):
    with pytest.raises(UsageError, match="no rule set 'gdb12'; give one of none gdb11 or a"):
        load_rules("gdb12")
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        load_rules(tmp_path / "none.toml")


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_rule_says_what_and_whence(name: str):
    rules = load_rules(name)
    assert rules.description and len({rule.name for rule in rules}) == len(rules)
    assert all(rule.why and rule.source for rule in rules)


def test_valence_is_all_that_none_asks():
    lines = [
        "FOF",
        "C1=C=C1",
        "N=[N+]=[N-]",
        "[CH3]",
        "C.C",
        "CS",
        "C[N+](=O)[O-]",
        "what",
        "C(",
        "[H][H]",
        "[13CH4]",
        "é",
        "",
    ]
    verdicts = dict(check_lines(lines, load_rules("none")))
    assert verdicts == {
        "FOF": "ok",
        "C1=C=C1": "ok",
        "N=[N+]=[N-]": "charge",
        "[CH3]": "valence",
        "C.C": "several_molecules",
        "CS": "elements",
        "C[N+](=O)[O-]": "charge",
        "what": "unreadable",
        "C(": "unreadable",
        "[H][H]": "elements",
        "[13CH4]": "ok",
        "é": "unreadable",
    }


def test_nitro_groups_only_on_aromatic_carbon():
    verdicts = dict(
        check_lines(["[O-][N+](=O)c1ccco1", "O=[N+]([O-])C=C", "C[N+]([O-])=O", "CC(=O)[O-]"], load_rules("gdb11"))
    )
    assert list(verdicts.values()) == ["ok", "charge", "charge", "charge"]
