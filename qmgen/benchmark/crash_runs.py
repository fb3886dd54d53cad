"""The long form of the kill test: real chemistry, three scenarios, each against the same undisturbed corpus."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from qmgen.benchmark.crash import Result, Torment, World, contents, environment_of, shots, table
from qmgen.benchmark.crash_aim import PARENT, WORKER
from qmgen.errors import QmgenError
from qmgen.machine import versions

MOLECULES: Final = (  # two dozen, of a dozen shapes: few programs to compile
    "O", "C", "N", "F", "C=O", "N#N", "C#N", "CO", "CC", "C=C", "C#C", "CN", "CF", "NN", "OO", "NO", "FF", "N=N",
    "N=O", "OF", "NF", "C=N", "[C-]#[O+]", "O=C=O",
)  # fmt: skip
CONFORMERS: Final = 24
CONFIG: Final = """molecules = ["tiny.smi"]
out = "undisturbed"
conformers = {conformers}
grid_level = 0
units = {units}
workers = 2
validation_fraction = 0.2
test_fraction = 0.2
"""


@dataclass(frozen=True)
class Scenario:
    """Which ranks run side by side in one life after another, how many kills at each stage, and how many at random."""

    name: str
    worlds: tuple[World, ...]
    each: Mapping[tuple[str, str], int]
    at_random: int


ONE: Final[World] = ((0, 1),)
TWO: Final[World] = ((0, 2), (1, 2))
THREE: Final[World] = ((0, 3), (1, 3), (2, 3))
EVERY_STAGE: Final = {
    (PARENT, "load"): 1, (PARENT, "read"): 1, (PARENT, "check"): 1, (PARENT, "run"): 2, (PARENT, "merge"): 1,
    (WORKER, "start"): 2, (WORKER, "idle"): 2, (WORKER, "embed"): 5, (WORKER, "label"): 6, (WORKER, "write"): 11,
    (WORKER, "commit"): 11,
}  # fmt: skip
FEW: Final = {
    (PARENT, "run"): 1,
    (PARENT, "merge"): 1,
    (WORKER, "label"): 1,
    (WORKER, "write"): 2,
    (WORKER, "commit"): 2,
}
SCENARIOS: Final = (
    Scenario("alone", (ONE,), EVERY_STAGE, 10),
    Scenario("two ranks", (TWO, (*ONE, (1, 2)), TWO), FEW, 4),
    Scenario("world sizes", (ONE, THREE, TWO, ONE), FEW, 4),
)


def crash_test(
    place: Path,
    seed: int = 0,
    seconds: float = 540.0,
    tell: Callable[[str], None] = lambda line: None,
    scenarios: Sequence[Scenario] = SCENARIOS,
) -> tuple[list[Result], dict[str, Any]]:
    """Run the scenarios in the empty directory ``place``: their results, and all of it as plain JSON values.

    ``seconds`` bound the shooting of all of them together. Raises ``QmgenError`` where an undisturbed run fails.
    """
    place.mkdir(parents=True, exist_ok=True)
    if any(place.iterdir()):
        raise QmgenError(f"{place} is not empty: give a new directory")
    (place / "tiny.smi").write_text("".join(f"{smiles}\n" for smiles in MOLECULES))
    config = place / "crash.toml"
    config.write_text(CONFIG.format(conformers=CONFORMERS, units=len(MOLECULES)))
    environment = environment_of({"PYTHONPATH": os.pathsep.join(filter(None, sys.path))})

    def command(corpus: Path, rank: int, world_size: int) -> list[str]:
        words = ["generate", str(config), "--out", str(corpus), "--quiet"]
        return [sys.executable, "-m", "qmgen", *words, "--rank", str(rank), "--world-size", str(world_size)]

    undisturbed, begin = place / "undisturbed", time.monotonic()
    done = subprocess.run(command(undisturbed, 0, 1), env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise QmgenError(f"the undisturbed run failed ({done.returncode}): {done.stderr.strip()[-500:]}")
    known = contents(undisturbed)
    tell(f"undisturbed: {len(known)} files in {time.monotonic() - begin:.0f} s")
    results: list[Result] = []
    fired = sum(sum(scenario.each.values()) + scenario.at_random for scenario in scenarios)
    for number, scenario in enumerate(scenarios):
        share = (sum(scenario.each.values()) + scenario.at_random) / fired
        torment = Torment(
            command, environment, known, scenario.worlds, seconds * share, span=8.0, seed=seed + number, tell=tell
        )
        to_fire = shots(scenario.each, scenario.at_random, seed + number)
        results.append(torment.run(scenario.name, place / scenario.name.replace(" ", "-"), to_fire))
        tell(table(results))
    return results, {
        "shards": len(MOLECULES),
        "seed": seed,
        "versions": dict(versions()),
        "scenarios": [result.to_dict() for result in results],
    }


def verdict(results: Sequence[Result]) -> list[str]:
    """What the kill test asks for and did not get; [] when all is well."""
    found = [f"{result.scenario}: {difference}" for result in results for difference in result.differences]
    for first in (result for result in results if result.scenario == SCENARIOS[0].name):
        if len(first.kills) < 50:
            found.append(f"{first.scenario}: {len(first.kills)} kills instead of at least 50")
        if first.writing < 10:
            found.append(f"{first.scenario}: {first.writing} kills while a shard was being written, of at least 10")
        found += [f"{first.scenario}: never killed in {stage}" for stage, count in first.by_stage.items() if not count]
    return found


def as_json(about: Mapping[str, Any]) -> str:
    return json.dumps(about, indent=1) + "\n"
