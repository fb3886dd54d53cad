"""Commands that write, on a corpus whose own files state what nobody would: done, or refused in one line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from qmgen.config import GenerateConfig
from qmgen.config.base import literal
from qmgen.config.generate import RetryConfig
from qmgen.corpus.identity import config_hash
from qmgen.corpus.seal import sealed
from qmgen.errors import QmgenError
from qmgen.pipeline.retry import retry
from qmgen.pipeline.run import generate
from qmgen.pipeline.stages import Stages
from qmgen.progress import RunProgress

Config = Callable[..., GenerateConfig]
#: ``...`` stands for no such member
ODD: Final = (..., None, True, -1, 10**12, 10**400, 0.5, "x", "a\nb", [], [None], {"units": 10**12})


@pytest.fixture
def corpus(config: Config, stages: Stages, lines: RunProgress) -> Path:
    """One of two units with a failure that a retry would try again."""
    out = Path(generate(config(["CC_0", "diverge_1", "CCC_2"], units=2), lines, stages).directory)
    return out


@pytest.fixture
def survives(config: Config, stages: Stages, lines: RunProgress, corpus: Path) -> Callable[[str], None]:
    """``survives(what)``: a retry that is only asked about, the same command again, and one that would add to it."""

    def check(what: str) -> None:
        settings = config(["CC_0", "diverge_1", "CCC_2"], units=2)
        more = settings.model_copy(update={"conformers": 2, "extend": True, "limit": None})
        for name, act in (
            ("retry", lambda: retry(RetryConfig(directory=corpus), lines, stages, dry_run=True)),
            ("generate", lambda: generate(settings, lines, stages)),
            ("extend", lambda: generate(more.model_copy(update={"units": None, "xc": "b3lpy"}), lines, stages)),
        ):
            try:
                act()
            except QmgenError as error:
                assert error.exit_code in (1, 2) and len(error.lines) == 1, (name, what)
            except Exception as error:
                raise AssertionError(f"{name} with {what}") from error

    return check


def with_odd(table: dict[str, Any], odd: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    for key in table:
        yield key, {name: value for name, value in table.items() if name != key} | ({} if odd is ... else {key: odd})


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: "absent" if odd is ... else repr(odd)[:12])
def test_recipes_whose_hash_is_right_and_whose_values_are_not(
    corpus: Path, survives: Callable[[str], None], odd: Any
) -> None:
    path = corpus / "manifest.json"
    manifest = json.loads(path.read_text())
    for key, recipe in with_odd(manifest["recipe"], odd):
        if key in ("conformers", "source", "max_cycles", "guess", "batch_size", "embed_time_limit", "xc", "seed"):
            path.write_bytes(sealed({**manifest, "recipe": recipe, "config_hash": config_hash(recipe)}))
            survives(f"recipe.{key} = {odd!r}")


@pytest.mark.parametrize("odd", [None, True, -1, 10**12, 0.5, "x", "a\nb", [], [[]], [3]], ids=repr)
def test_settings_of_any_type_in_a_stored_config(corpus: Path, survives: Callable[[str], None], odd: Any) -> None:
    path = corpus / "config.toml"
    whole = path.read_text().splitlines()
    for at in range(0, len(whole), 4):
        key = whole[at].partition(" = ")[0]
        if key.isidentifier() and odd is not None:
            path.write_text("\n".join([*whole[:at], f"{key} = {literal(odd)}", *whole[at + 1 :]]))
            survives(f"{key} = {odd!r}")
    path.write_text("\n".join(whole).replace("molecules = ", "molecules = 3 #"))
    survives("molecules = 3")
