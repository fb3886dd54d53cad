"""A rule set: the rules in order, the first of them that a molecule breaks, and lists of molecules against it.

rules = load_rules("gdb11")
rules.first_violation(Chem.MolFromSmiles("OCO"))      # "hemiacetal"
rules.first_violation(Chem.MolFromSmiles("COCOC"))    # None

SMARTS are compiled into tests that are quick where they do not match: most molecules break no rule, and pass all tests.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from qmgen.errors import UsageError
from qmgen.molecules.enumeration.pruning import VALENCES
from qmgen.molecules.rules.table import Rule, RuleEntry, RuleTable, Stage, read_table
from qmgen.molecules.rules.tautomers import representative
from qmgen.molecules.rules.topology import TESTS, aromatic_form
from qmgen.molecules.smiles import quiet_chem, syntax_problem, without_labels
from qmgen.molecules.types import one_line


def any_of(path: Path, name: str, patterns: tuple[str, ...]) -> Callable[[Any], bool]:
    """One test for several SMARTS. Raises ``UsageError`` for one that RDKit cannot read."""
    tests = []
    for text in patterns:
        full, loose = _matches(path, name, text), without_exceptions(text)
        tests.append(full if loose == text else both(_matches(path, name, loose), full))
    if len(tests) == 1:
        return tests[0]
    return lambda mol: any(test(mol) for test in tests)


def screen(patterns: list[str]) -> Callable[[Any], bool]:
    """Whether any of many SMARTS matches, in one call: half the time of asking them one by one."""
    from rdkit.Chem import FilterCatalog

    catalog = FilterCatalog.FilterCatalog()
    for text in patterns:
        catalog.AddEntry(FilterCatalog.FilterCatalogEntry(text, FilterCatalog.SmartsMatcher(text, text, 1)))
    return lambda mol: bool(catalog.HasMatch(mol))


def both(one: Callable[[Any], bool], other: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """Whether both tests are true."""
    return lambda mol: one(mol) and other(mol)


def without_exceptions(smarts: str) -> str:
    """The pattern without its ``;!$(…)``: it matches wherever the pattern does, and a no costs a tenth.

    RDKit looks for all matches of every recursive pattern before it looks at the first atom.
    """
    kept, at = "", 0
    while (exception := smarts.find(";!$(", at)) >= 0:
        kept += smarts[at:exception]
        at, depth = exception + 4, 1
        while depth and at < len(smarts):
            depth += {"(": 1, ")": -1}.get(smarts[at], 0)
            at += 1
        if at == len(smarts) or smarts[at] not in ";]":  # one of several alternatives: leave it
            return smarts
    kept += smarts[at:]
    return smarts if "!$(" in kept else kept  # what is left may have lost an exception to an exception


def _matches(path: Path, name: str, text: str) -> Callable[[Any], bool]:
    with quiet_chem() as chem:
        query = chem.MolFromSmarts(text)
    if query is None:
        raise UsageError(f"{path}: rule {name!r}: not a SMARTS that RDKit can read: {one_line(text)}")
    return lambda mol: mol.HasSubstructMatch(query)


#: the sets that ship: files of ``data/``
SHIPPED: Final = ("none", "gdb11")
#: rules after this many are screened together: most molecules that break one break an earlier one
_ASKED_ONE_BY_ONE: Final = 20
#: the only charges under a set with nitro groups: [O-][N+](=O) on an aromatic carbon
_CHARGE_BUT_NITRO: Final = ("[!+0;!$([N+](=O)[O-]);!$([O-][N+]=O)]", "[$([N+](=O)[O-]);!$([N+]c)]")


class RuleSet:
    """``rules`` in the order in which they are tried. ``prunes_as`` names the shipped set whose pruning is sound here.

    ``tautomers`` is "merge" or "keep"; ``nitro``: whether the set holds nitro groups on aromatic carbon.
    """

    def __init__(self, table: RuleTable, rules: list[Rule], prunes_as: str) -> None:
        self.name = table.name
        self.description = table.description
        self.elements = table.elements
        self.nitro = table.nitro
        self.tautomers = table.tautomers
        self.prunes_as = prunes_as
        self.rules = rules
        screened = [rule for rule in rules[_ASKED_ONE_BY_ONE:] if rule.smarts and not rule.also]
        self._screened = {rule.name for rule in screened}
        self._screen = screen([text for rule in screened for text in rule.smarts])
        order = list(Stage)
        self._later: dict[Stage | None, list[Rule]] = {
            stage: [rule for rule in rules if stage is None or order.index(rule.stage) > order.index(stage)]
            for stage in (None, *order)
        }

    def first_violation(self, mol: Any, after: Stage | None = None) -> str | None:
        """The name of the first rule that removes this sanitized RDKit molecule, which its counter counts, or None.

        ``after``: only the rules of later stages, where the molecule is known to pass the earlier ones.
        """
        broken = self._first(mol, after)
        if broken is None:
            return None
        broken.removed += 1
        return broken.name

    def accepts(self, mol: Any) -> bool:
        """Whether no rule removes this molecule; counts nothing."""
        return self._first(mol, None) is None

    def _first(self, mol: Any, after: Stage | None) -> Rule | None:
        form = aromatic_form(mol)
        passed: bool | None = None  # the result of the screen, once it is known
        for rule in self._later[after]:
            if rule.name in self._screened:
                if passed is None:
                    passed = not self._screen(form)
                if passed:
                    continue
            if rule.test(form):
                return rule
        return None

    def removed(self) -> dict[str, int]:
        """How many molecules each rule removed so far, rules in order."""
        return {rule.name: rule.removed for rule in self.rules}

    def breaks_valence(self, mol: Any) -> bool:
        """Whether a rule of the valence stage removes this molecule, so that no tautomer can be better."""
        return any(rule.test(mol) for rule in self.rules if rule.stage == Stage.VALENCE)

    def __iter__(self) -> Iterator[Rule]:
        return iter(self.rules)

    def __len__(self) -> int:
        return len(self.rules)


def load_rules(name_or_path: str | Path) -> RuleSet:
    """The shipped set of that name, or the one that a TOML file describes (see ``table``).

    Raises ``UsageError`` with one line for anything wrong in the file.
    """
    text = str(name_or_path)
    if text in SHIPPED:
        path = _shipped(text)
    else:
        path = Path(text)
        if path.suffix != ".toml":
            raise UsageError(f"no rule set {text!r}; give one of {' '.join(SHIPPED)} or a .toml file")
    table, prunes_as = read_table(path), text if text in SHIPPED else "none"
    if table.base:
        if table.base not in SHIPPED:
            raise UsageError(f"{path}: no base {one_line(repr(table.base))}; give one of {' '.join(SHIPPED)}")
        base, prunes_as = read_table(_shipped(table.base)), table.base
        table = replace(table, nitro=table.nitro or base.nitro, rules=(*base.rules, *table.rules))
    rules = [*_valence_rules(table), *(_rule(path, entry) for entry in table.rules)]
    if twice := [name for name, count in Counter(rule.name for rule in rules).items() if count > 1]:
        raise UsageError(f"{path}: there is a rule {twice[0]!r} already; give another name")
    return RuleSet(table, rules, prunes_as)


def _shipped(name: str) -> Path:
    return Path(__file__).parent / "data" / f"{name}.toml"


def _rule(path: Path, entry: RuleEntry) -> Rule:
    if entry.test:
        if entry.test not in TESTS:
            raise UsageError(
                f"{path}: rule {entry.name!r}: no test {one_line(repr(entry.test))}; tests are {' '.join(TESTS)}"
            )
        return Rule(entry.name, entry.stage, entry.why, entry.source, TESTS[entry.test])
    test = any_of(path, entry.name, entry.smarts)
    if entry.also:
        test = both(test, any_of(path, entry.name, entry.also))
    return Rule(entry.name, entry.stage, entry.why, entry.source, test, entry.smarts, entry.also)


def _valence_rules(table: RuleTable) -> list[Rule]:
    """The rules of every set: the elements, one molecule, no charges (but nitro groups), all electrons paired."""
    from rdkit import Chem

    numbers = {symbol: Chem.GetPeriodicTable().GetAtomicNumber(symbol) for symbol in table.elements}
    source = Path(table.name)

    def several(mol: Any) -> bool:
        return mol.GetNumAtoms() == 0 or len(Chem.GetMolFrags(mol)) > 1

    def rule(name: str, why: str, *smarts: str) -> Rule:
        return Rule(name, Stage.VALENCE, why, "valence", any_of(source, name, smarts), smarts)

    others = "".join(f";!#{number}" for number in numbers.values())
    valences = ",".join(f"$([#{number};+0;!v{VALENCES[symbol]}])" for symbol, number in numbers.items())
    beside = ", but for nitro groups on an aromatic carbon" if table.nitro else ""
    return [
        rule("elements", f"other elements than {' '.join(table.elements)}", f"[*{others}]"),
        Rule("several_molecules", Stage.VALENCE, "nothing, or more than one molecule", "valence", several),
        rule("charge", f"charged atoms{beside}", *(_CHARGE_BUT_NITRO if table.nitro else ("[!+0]",))),
        rule("valence", "radicals: not C 4, N 3, O 2, F 1", f"[{valences}]"),
    ]


#: what stands in place of a rule's name
OK: Final = "ok"
UNREADABLE: Final = "unreadable"
#: larger molecules are judged as written: a peptide has a form for each subset of its amides
LARGEST_WITH_TAUTOMERS: Final = 20


def check_lines(lines: Iterable[str], rules: RuleSet, tautomers: str = "") -> Iterator[tuple[str, str]]:
    """For each line, its SMILES (the first word) and ``ok``, the first rule that removes it, or ``unreadable``.

    Blank lines are left out. ``tautomers`` is "merge" or "keep" (default: the rule set's own). Under "merge" a molecule
    is ``ok`` if one of its tautomers is, since that one stands for it; otherwise the rule is the one that removes the
    form as written. Molecules of more than ``LARGEST_WITH_TAUTOMERS`` atoms are judged as written.
    """
    merge = (tautomers or rules.tautomers) == "merge"
    for line in lines:
        if words := line.split():
            yield words[0], _verdict(words[0], rules, merge)


def _verdict(smiles: str, rules: RuleSet, merge: bool) -> str:
    mol = read_molecule(smiles)
    if mol is None:
        return UNREADABLE
    if rules.accepts(mol):
        return OK
    merge = merge and mol.GetNumAtoms() <= LARGEST_WITH_TAUTOMERS
    if merge and not rules.breaks_valence(mol) and representative(mol, rules.accepts) is not None:
        return OK
    return rules.first_violation(mol) or OK  # counted only here, where it counts


def read_molecule(smiles: str) -> Any | None:
    """The molecule of a SMILES without its labels and its stereochemistry, which no rule looks at; None if none."""
    if not smiles.isascii() or syntax_problem(smiles):
        return None
    with quiet_chem() as chem:
        mol = chem.MolFromSmiles(without_labels(smiles))
        if mol is None or mol.GetNumAtoms() == 0:
            return None
        chem.RemoveStereochemistry(mol)
        return mol
