"""How J and K are made: what the files say of it, and what the configuration hash covers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from qmgen.config import GenerateConfig
from qmgen.dft.basis import load_basis
from qmgen.dft.fitting import load_fitting_set
from qmgen.labeling.level import resolved_level
from qmgen.labeling.types import Settings
from qmgen.pipeline.job import canonical, settings_of
from qmgen.pipeline.level import described
from qmgen.pipeline.stages import Stages

Config = Callable[..., GenerateConfig]


#: settings, and what the level of theory and the configuration hash say of J and K
CHOICES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"jk": "exact"}, {}),  # as it was when there was no choice
    ({"basis": "6-31G", "cartesian": True}, {}),
    ({"basis": "3-21g", "jk": "auto"}, {}),
    ({"basis": "def2-SVP"}, {"jk": "df", "auxbasis": "def2-universal-jkfit"}),
    ({"basis": "def2-svp", "auxbasis": "def2-tzvp-jkfit"}, {"jk": "df", "auxbasis": "def2-universal-jkfit"}),
    ({"basis": "def2-svp", "jk": "exact"}, {"jk": "exact"}),
    ({"basis": "6-31g(d)", "cartesian": True}, {"jk": "df", "auxbasis": "cc-pvdz-jkfit", "cartesian": True}),
    ({"basis": "6-31g", "jk": "df"}, {"jk": "df", "auxbasis": "cc-pvdz-jkfit"}),
    ({"basis": "pcseg-1"}, {"jk": "df", "auxbasis": "even-tempered"}),
]


@pytest.mark.parametrize(("settings", "said"), CHOICES)
def test_what_was_decided_of_j_and_k_stands_in_metadata_and_hash(
    config: Config, stages: Stages, settings: dict[str, Any], said: dict[str, Any]
) -> None:
    theory = theory_of(settings_of(config(**settings)))
    found = {name: theory[name] for name in ("jk", "auxbasis", "cartesian") if name in theory}
    assert found == said
    fitted = said.get("jk") == "df"
    assert ("auxbasis_checksum" in theory) == fitted
    asked, _, _ = canonical(config(**settings), stages.replace(theory=theory_of))
    assert {
        name: value for name, value in asked.row_fields().items() if name in ("jk", "auxbasis", "cartesian")
    } == said
    # what stands there is the same level again
    assert resolved_level(settings_of(asked)) == resolved_level(settings_of(config(**settings)))


def test_generated_fitting_functions_are_in_the_metadata(config: Config) -> None:
    theory = theory_of(settings_of(config(basis="6-31g*")))
    made = theory["auxbasis_even_tempered"]
    assert set(made) == {"He", "Li", "Be", "Na", "Mg", "K", "Ca"} and theory["auxbasis_ratio"] == 2.0
    l, number, smallest = made["Li"][0]
    again = load_fitting_set(None, load_basis("6-31g*")).shells(3)
    exponents = [float(shell.exponents[0]) for shell in again if shell.angular_momenta == (l,)]
    assert exponents == [smallest * 2.0**power for power in reversed(range(number))]


def theory_of(settings: Settings) -> dict[str, Any]:
    return described(resolved_level(settings), settings)
