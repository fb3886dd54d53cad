"""The kill test: a run is started again and again and killed every time; its corpus must be that of an undisturbed one.

``torment`` takes a list of shots, starts the command, and fires them one after another at its parent and its workers;
what dies is started again. When a corpus is complete before the shots are spent, it is compared and another begun.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from qmgen.benchmark.crash_aim import PARENT, STAGES, WORKER, Kill, shoot, stage_of, workers_of
from qmgen.errors import QmgenError

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
