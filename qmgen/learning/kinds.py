"""The kinds of training, one record each: what commands need of a kind of network.

>>> kind = KINDS["schnet"]
>>> result = kind.train(settings, quiet=False)
>>> network_kind("runs/gap").evaluate(EvaluateConfig(run="runs/gap", data="gap9")).text

Nothing heavy is imported before a record is used.
"""

from __future__ import annotations

import shlex
import sys
from abc import ABC, abstractmethod
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, cast

from qmgen import files
from qmgen.documents import table_of
from qmgen.errors import UsageError

if TYPE_CHECKING:
    from qmgen.config import EvaluateConfig


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found: ``plain`` values, a ``text`` for people (empty where a file holds it all), ``notes``, a
    line each; ``report`` is what a figure is drawn of."""

    plain: dict[str, Any]
    text: str
    notes: list[str] = field(default_factory=list)
    report: Any = None


@dataclass(frozen=True)
class TrainingKind(ABC):
    """``name``: the word after ``qmgen train``. ``network``: the ``kind`` in the metadata of its model files.
    ``config``: the model of its settings in ``qmgen.config``. ``try_next``: what to type after a training, RUN and DATA
    standing for those of the training."""

    name: str
    network: str
    config: str
    try_next: str

    def settings(self) -> type:
        """The pydantic model of the settings."""
        from qmgen import config

        return cast(type, getattr(config, self.config))

    @abstractmethod
    def train(self, settings: Any, quiet: bool = False) -> Any:
        """Train, or continue, in ``settings.out``: the result as plain values or a dataclass."""

    @abstractmethod
    def summary(self, result: Any) -> str:
        """The result as a few lines for people."""

    @abstractmethod
    def stored(self) -> ModuleType:
        """The module that reads and writes its model files."""

    def load(self, path: Path) -> Any:
        """The stored network at ``path``. Raises ``UsageError`` where there is none."""
        return self.stored().load_model(path)

    def save(self, path: Path, network: Any) -> None:
        """Write a stored network, whole or not at all. Raises ``QmgenError`` where that cannot be done."""
        self.stored().save_model(path, network)

    def check(self, settings: EvaluateConfig) -> None:
        """Raises ``UsageError`` for settings of an evaluation that do not suit this kind."""
        settings.of_molecules()

    @abstractmethod
    def evaluate(self, settings: EvaluateConfig, quiet: bool = False) -> Evaluation:
        """Evaluate the network at ``settings.run``."""

    def next_commands(self, settings: Any) -> str:
        """What to type after a training with ``settings``, a line each."""
        words = {"RUN": shlex.quote(str(settings.out)), "DATA": shlex.quote(str(settings.data))}
        return "\n".join(" ".join(words.get(w, w) for w in line.split(" ")) for line in self.try_next.split("\n"))


class _Schnet(TrainingKind):
    def train(self, settings: Any, quiet: bool = False) -> Any:
        from qmgen.learning.scaling.run import run

        return run(settings, quiet)

    def summary(self, result: Any) -> str:
        return str(result.text())

    def stored(self) -> ModuleType:
        from qmgen.learning.schnet import model

        return model

    def check(self, settings: EvaluateConfig) -> None:
        super().check(settings)
        if settings.figure is not None and settings.molecules:
            raise UsageError("--figure needs labels to compare with: give --data DIR instead of --molecules")

    def evaluate(self, settings: EvaluateConfig, quiet: bool = False) -> Evaluation:
        from qmgen.learning.evaluate.run import run

        report = run(settings, quiet)
        return Evaluation(report.to_dict(), report.text(), report.notes, report)


class _Hamiltonian(TrainingKind):
    def train(self, settings: Any, quiet: bool = False) -> Any:
        from qmgen.learning.energy.train import run

        return run(settings, quiet)

    def summary(self, result: Any) -> str:
        from qmgen.learning.energy.train import result_text

        return result_text(result)

    def stored(self) -> ModuleType:
        from qmgen.learning.energy import stored

        return stored

    def evaluate(self, settings: EvaluateConfig, quiet: bool = False) -> Evaluation:
        from qmgen.learning.energy.evaluate import TARGETS, evaluate_hamiltonian, text
        from qmgen.learning.evaluate.run import Writer, teller

        with Writer(settings.out, TARGETS, {"model": str(settings.run)}) if settings.out else nullcontext() as writer:
            report = evaluate_hamiltonian(settings, writer.write if writer else None, None if quiet else teller())
        return Evaluation(report.to_dict(), text(report), [], report)


class _LanguageModel(TrainingKind):
    def train(self, settings: Any, quiet: bool = False) -> Any:
        from qmgen.learning.lm.train import run

        return run(settings, quiet)

    def summary(self, result: Any) -> str:
        from qmgen.learning.lm.train import result_text

        return result_text(result)

    def stored(self) -> ModuleType:
        from qmgen.learning.lm import stored

        return stored

    def check(self, settings: EvaluateConfig) -> None:
        for name in ("data", "out", "figure", "other_level"):
            if getattr(settings, name):
                flag = name.replace("_", "-")
                raise UsageError(f"--{flag} is for networks that predict; a language model takes --molecules FILE.smi")

    def evaluate(self, settings: EvaluateConfig, quiet: bool = False) -> Evaluation:
        from qmgen.learning.lm.evaluate import evaluate, text

        def tell(line: str) -> None:
            if not quiet:
                print(f"qmgen: {line}", file=sys.stderr, flush=True)

        report = evaluate(settings, tell)
        return Evaluation(report, text(report))


_OF_HAMILTONIAN: Final = "qmgen evaluate RUN --molecules FILE\nqmgen generate --guess RUN --molecules FILE"
KINDS: Final[dict[str, TrainingKind]] = {
    kind.name: kind
    for kind in (
        _Schnet("schnet", "schnet", "TrainSchnetConfig", "qmgen evaluate RUN --data DATA"),
        _Hamiltonian("energy", "hamiltonian", "TrainEnergyConfig", _OF_HAMILTONIAN),
        _Hamiltonian("labels", "hamiltonian", "TrainLabelsConfig", _OF_HAMILTONIAN),
        _LanguageModel("lm", "lm", "TrainLmConfig", "qmgen sample RUN -n 1000 --out new.smi\nqmgen quantize RUN"),
    )
}


def network_kind(run: Path | str) -> TrainingKind:
    """The kind of the network in a run, or of a model file, before anything of it is read but its metadata. Where these
    name none, as above the folders of several trainings, it is ``schnet``, whose reader says what is wrong.

    Raises ``UsageError`` where nothing is at that place.
    """
    stated = stated_kind(run)
    return next((kind for kind in KINDS.values() if kind.network == stated), KINDS["schnet"])


def stated_kind(run: Path | str) -> str:
    """What the model file of a run, or the file itself, says it is; empty where there is none or it says nothing.

    Raises ``UsageError`` where nothing is at that place.
    """
    from safetensors import SafetensorError, safe_open

    from qmgen.learning.training.checkpoint import KEY, MODEL

    path = Path(run)
    if not path.exists():
        raise UsageError(f"no trained network at {path}: give the --out of a `qmgen train`, or its model.safetensors")
    file = path / MODEL if path.is_dir() else path
    try:
        files.refuse_odd(file.stat(), file)  # a pipe would be waited for
        with safe_open(file, framework="numpy") as stream:
            return str(table_of((stream.metadata() or {}).get(KEY, "{}"), finite=False).get("kind", ""))
    except (OSError, SafetensorError, ValueError):
        return ""
