"""The kill test: a run is started again and again and killed every time; its corpus must be that of an undisturbed one.

``Torment`` takes a list of shots, starts the command, and fires them one after another at its parent and its workers;
what dies is started again. When a corpus is complete before the shots are spent, it is compared and another begun.
A process is killed in a stage of one's choice by freezing it, looking where it stands, and only then killing it.
Processes of qmgen show their stage as their name (``pipeline.stage_name``). A name that is read may be out of date when
the signal arrives; that of a process that has stopped is not. ``crash_test`` is the long form: real chemistry, three
scenarios, each against the same undisturbed corpus.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from qmgen.errors import QmgenError
from qmgen.machine import versions
from qmgen.pipeline.messages import shown_stage

WORKER: Final = "worker"
PARENT: Final = "parent"
#: what they show, in order; a parent that shows nothing yet is still loading
STAGES: Final = {
    PARENT: ("load", "read", "check", "run", "merge"),
    WORKER: ("start", "idle", "embed", "label", "write", "commit"),
}


@dataclass(frozen=True)
class Kill:
    """One that happened: who was killed, in which stage, and whether that stage had been aimed at."""

    role: str
    stage: str
    aimed: bool


def workers_of(parent: int) -> list[int]:
    """The worker processes of a parent; [] when it is gone."""
    try:
        text = Path(f"/proc/{parent}/task/{parent}/children").read_text()
    except OSError:
        return []
    return [int(pid) for pid in text.split()]


def stage_of(role: str, pid: int) -> str | None:
    """The stage in which ``pid`` is now; None for one that is gone or has not said yet."""
    if role == WORKER or not Path("/proc", str(pid)).exists():
        return shown_stage(pid)
    return shown_stage(pid) or "load"


def shoot(role: str, pid: int, stage: str | None, corpus: Path, aimed: bool = True) -> Kill | None:
    """Kill ``pid`` if, once frozen, it stands in ``stage`` (in whichever where that is None); else let it go on.

    A worker counts as writing only when a file of its stands in ``corpus/.tmp``.
    """
    try:
        os.kill(pid, signal.SIGSTOP)
        found = stage_of(role, pid) if _frozen(pid) else None
        hit = found is not None and stage in (None, found)
        if hit and found == "write":
            hit = stage is None or any(corpus.glob(f".tmp/*-{pid}-*/*"))
        os.kill(pid, signal.SIGKILL if hit else signal.SIGCONT)
    except ProcessLookupError:
        return None
    return Kill(role, str(found), aimed) if hit else None


def _frozen(pid: int) -> bool:
    """Whether all threads of ``pid`` have stopped, waiting for it a little: one in a disk's hands stops late."""
    for _ in range(200):
        try:
            states = {
                stat.read_text().rsplit(")", 1)[1].split()[0] for stat in Path(f"/proc/{pid}/task").glob("*/stat")
            }
        except OSError:
            return False
        if states and states <= {"T", "t"}:
            return True
        if "Z" in states or "X" in states:
            return False
        time.sleep(0.001)
    return False


#: (rank, world size) of the processes that run side by side
World = tuple[tuple[int, int], ...]
#: ``command(corpus, rank, world_size)``: the words of the very command
Command = Callable[[Path, int, int], Sequence[str]]
#: stages in which a shard is being written
WRITING: Final = ("write", "commit")
_LOOK_EVERY: Final = 0.0005  # seconds: a commit takes about a millisecond


@dataclass(frozen=True)
class Shot:
    """To be fired: at the ``stage`` of a ``role``, or at a random moment where ``stage`` is None."""

    role: str
    stage: str | None


@dataclass
class Result:
    """What became of a scenario: the kills, how often the command was started, the corpora that were compared and how
    they differ from the undisturbed one (nothing where all is well), and exits that nobody had asked for."""

    scenario: str
    kills: list[Kill] = field(default_factory=list)
    starts: int = 0
    corpora: int = 0
    missed: int = 0
    differences: list[str] = field(default_factory=list)
    odd_exits: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def writing(self) -> int:
        """Kills while a shard was being written."""
        return sum(kill.role == WORKER and kill.stage in WRITING for kill in self.kills)

    @property
    def by_stage(self) -> dict[str, int]:
        """``worker write: 7``, every stage there is, in order."""
        counted = Counter((kill.role, kill.stage) for kill in self.kills)
        return {f"{role} {stage}": counted[role, stage] for role, stages in STAGES.items() for stage in stages}

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "scenario": self.scenario,
            "kills": len(self.kills),
            "aimed": sum(kill.aimed for kill in self.kills),
            "while_writing": self.writing,
            "by_stage": self.by_stage,
            "starts": self.starts,
            "corpora": self.corpora,
            "missed": self.missed,
            "identical": not self.differences,
            "differences": self.differences,
            "odd_exits": self.odd_exits,
            "seconds": round(self.seconds, 1),
        }


def shots(each: Mapping[tuple[str, str], int], at_random: int, seed: int) -> list[Shot]:
    """So many shots at every stage, and ``at_random`` more at random moments, in a random order; those at ``merge``,
    which only a complete corpus sees, come last."""
    chance = random.Random(seed)
    aimed = [Shot(role, stage) for (role, stage), count in each.items() for _ in range(count)]
    mixed = [shot for shot in aimed if shot.stage != "merge"]
    mixed += [Shot(chance.choice((PARENT, WORKER, WORKER)), None) for _ in range(at_random)]
    chance.shuffle(mixed)
    return mixed + [shot for shot in aimed if shot.stage == "merge"]


def contents(corpus: Path) -> dict[str, str]:
    """Names and SHA-256 of what must not depend on how a run went."""
    paths = [*corpus.glob("data/*"), *corpus.glob("failures/*"), corpus / "SHA256SUMS"]
    return {str(path.relative_to(corpus)): sha256(path.read_bytes()).hexdigest() for path in sorted(paths)}


@dataclass
class Torment:
    """``worlds[i % len(worlds)]`` runs in life ``i``. ``seconds`` bound the shooting; ``tell`` hears of every kill."""

    command: Command
    environment: Mapping[str, str]
    undisturbed: Mapping[str, str]
    worlds: Sequence[World] = (((0, 1),),)
    seconds: float = 600.0
    patience: float = 60.0
    #: random moments lie within so many seconds: a run starts in them, and does its first units
    span: float = 4.0
    seed: int = 0
    tell: Callable[[str], None] = lambda line: None
    _living: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def run(self, scenario: str, place: Path, to_fire: Iterable[Shot]) -> Result:
        """Fire, let the last run end undisturbed, compare. Raises ``QmgenError`` where even that run fails."""
        begin, chance, result = time.monotonic(), random.Random(self.seed), Result(scenario)
        corpus = place / f"corpus-{result.corpora}"
        left = list(to_fire)
        try:
            while left and time.monotonic() - begin < self.seconds:
                if not self._alive(result):
                    if self._whole(corpus) and left[0].stage != "merge":
                        self._compare(corpus, result)
                        corpus = place / f"corpus-{result.corpora}"
                    self._start(corpus, result)
                kill = self._fire(left[0], corpus, chance, result)
                if kill is not None:
                    left.pop(0)
                    result.kills.append(kill)
                    self.tell(f"{scenario}: {len(result.kills)} {kill.role} in {kill.stage}, {len(left)} left")
            result.missed = len(left)
        finally:
            self._end()
        time.sleep(1.5)  # workers of a killed parent notice within a second
        self._finish(corpus)
        self._compare(corpus, result)
        result.seconds = time.monotonic() - begin
        return result

    def _start(self, corpus: Path, result: Result) -> None:
        for rank, world_size in self.worlds[result.starts % len(self.worlds)]:
            words = list(self.command(corpus, rank, world_size))
            self._living.append(
                subprocess.Popen(
                    words,
                    env=dict(self.environment),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                )
            )
        result.starts += 1

    def _alive(self, result: Result) -> bool:
        for process in list(self._living):
            code = process.poll()
            if code is not None:
                self._living.remove(process)
                if code not in (0, -signal.SIGKILL):
                    result.odd_exits.append(f"exit code {code}")
        return bool(self._living)

    def _fire(self, shot: Shot, corpus: Path, chance: random.Random, result: Result) -> Kill | None:
        """One kill; None when all runs ended, or the stage was not seen for too long (then the runs are killed and
        started again, uncounted: a parent shows ``read`` only once)."""
        end = time.monotonic() + self.patience
        if shot.stage is None:
            time.sleep(chance.uniform(0.0, self.span))
        while time.monotonic() < end:
            if not self._alive(result):
                return None
            parents = [process.pid for process in self._living]
            targets = parents if shot.role == PARENT else [pid for parent in parents for pid in workers_of(parent)]
            chance.shuffle(targets)
            for pid in targets:
                if shot.stage is None or stage_of(shot.role, pid) == shot.stage:
                    kill = shoot(shot.role, pid, shot.stage, corpus, aimed=shot.stage is not None)
                    if kill is not None:
                        return kill
            if shot.role == PARENT and shot.stage in ("load", "read", "check") and self._past(shot.stage, parents):
                break  # it will not come back there in this life
            time.sleep(_LOOK_EVERY)
        self._end()
        return None

    @staticmethod
    def _past(stage: str, parents: list[int]) -> bool:
        order = STAGES[PARENT]
        now = [order.index(found) for pid in parents if (found := stage_of(PARENT, pid)) in order]
        return all(place > order.index(stage) for place in now)

    def _end(self) -> None:
        for process in self._living:
            with suppress(ProcessLookupError):
                process.kill()
            process.wait()
        self._living.clear()

    @staticmethod
    def _whole(corpus: Path) -> bool:
        return (corpus / "SHA256SUMS").exists() and (corpus / "manifest.json").exists()

    def _finish(self, corpus: Path) -> None:
        done = subprocess.run(
            list(self.command(corpus, 0, 1)), env=dict(self.environment), stdin=subprocess.DEVNULL,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise QmgenError(f"the undisturbed last run failed ({done.returncode}): {done.stderr.strip()[-500:]}")

    def _compare(self, corpus: Path, result: Result) -> None:
        found = contents(corpus)
        for name in sorted(found.keys() | self.undisturbed.keys()):
            if found.get(name) != self.undisturbed.get(name):
                state = "missing" if name not in found else "too much" if name not in self.undisturbed else "different"
                result.differences.append(f"{corpus.name}/{name}: {state}")
        if any(corpus.glob(".tmp/*-*-*/*")):
            result.differences.append(f"{corpus.name}/.tmp: left over")
        result.corpora += 1


def table(results: Sequence[Result]) -> str:
    """Kills by stage, a column a scenario."""
    width = max(len(result.scenario) for result in results) + 2
    lines = [f"{'killed in':<16}" + "".join(f"{result.scenario:>{width}}" for result in results)]
    for name in results[0].by_stage:
        lines.append(f"{name:<16}" + "".join(f"{result.by_stage[name]:>{width}}" for result in results))
    rows: list[tuple[str, Callable[[Result], object]]] = [
        ("kills", lambda r: len(r.kills)),
        ("at random", lambda r: sum(not kill.aimed for kill in r.kills)),
        ("while writing", lambda r: r.writing),
        ("starts", lambda r: r.starts),
        ("corpora", lambda r: r.corpora),
        ("odd exits", lambda r: len(r.odd_exits)),
        ("seconds", lambda r: round(r.seconds)),
        ("identical", lambda r: "no" if r.differences else "yes"),
    ]
    lines += [f"{name:<16}" + "".join(f"{value(result)!s:>{width}}" for result in results) for name, value in rows]
    return "\n".join(lines)


def environment_of(extra: Mapping[str, str]) -> dict[str, str]:
    """This process's environment with ``extra``, less the settings of a scheduler and of qmgen, save where its
    compiled programs are."""
    settings = (name for name in os.environ if name.startswith(("SLURM_", "QMGEN_")) and name != "QMGEN_CACHE")
    dropped = set(settings)
    return {**{name: value for name, value in os.environ.items() if name not in dropped}, **extra}


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
