"""From the settings of an enumeration to what the engine and the rules need."""

from __future__ import annotations

import hashlib
import json
import random
from typing import Any

from qmgen import __version__
from qmgen.config.generate import EnumerateConfig
from qmgen.errors import UsageError
from qmgen.molecules.enumeration.items import WHOLE, Part, Query
from qmgen.molecules.rules.pruning import pruning_of
from qmgen.molecules.rules.ruleset import RuleSet, load_rules
from qmgen.molecules.rules.table import Stage
from qmgen.molecules.selection import Selection


def selection(config: EnumerateConfig) -> Selection:
    """What ``config`` asks for. Raises ``UsageError`` for rules, elements, a formula or a part that do not exist."""
    rules = load_rules(config.rules)
    part = part_of(config)
    queries = _queries(config, rules)
    # a set that only begins with a shipped one may have rules on graphs that its pruning does not know
    judged = Stage.GRAPH if config.rules == rules.prunes_as else Stage.VALENCE
    return Selection(queries, rules, merges(config, rules), part, judged)


def merges(config: EnumerateConfig, rules: RuleSet) -> bool:
    """Whether one tautomer stands for all: as asked, else as the rule set has it."""
    return (config.tautomers or rules.tautomers) == "merge"


def _queries(config: EnumerateConfig, rules: RuleSet) -> tuple[Query, ...]:
    bounds: dict[str, Any] = {
        "min_hydrogens": config.min_hydrogens,
        "max_hydrogens": config.max_hydrogens,
        "max_bond_order": config.max_bond_order,
        "max_rings": config.max_rings,
        "pruning": pruning_of(rules),
    }
    if config.formula is not None:
        queries = [Query.of_formula(config.formula, **bounds)]
    else:
        queries = [Query(size, tuple(config.elements), **bounds) for size in config.sizes()]
    wanted = set(queries[0].elements)
    if missing := sorted(wanted - set(rules.elements)):
        raise UsageError(f"the rules {rules.name} know no {missing[0]}: choose among {','.join(rules.elements)}")
    return tuple(queries)


def part_of(config: EnumerateConfig) -> Part:
    """The share that ``--part`` or ``--sample-parts`` asks for; the latter is drawn at random by ``--seed``."""
    if config.part is not None:
        return Part.parse(config.part)
    if config.sample_parts is None:
        return WHOLE
    try:
        asked = Part.parse(config.sample_parts)
    except UsageError:
        raise UsageError(
            f"{config.sample_parts!r} says not how many parts to draw: give K/N, for example 3/1000 for three of a "
            "thousand"
        ) from None
    (wanted,) = asked.numbers
    return Part(tuple(sorted(random.Random(config.seed).sample(range(1, asked.of + 1), wanted))), asked.of)


def fingerprint(config: EnumerateConfig) -> str:
    """A hash of all that decides what is written: settings, the text of the rules, and the program's version."""
    rules = [(rule.name, rule.stage, rule.smarts) for rule in load_rules(config.rules)]
    text = json.dumps([config.of_set(), rules, __version__], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
