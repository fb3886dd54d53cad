"""``qmgen train``: networks that learn from a corpus, from the energy itself, and language models over SMILES."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qmgen.cli.console import print_json, say
from qmgen.cli.options import AsJson, Quiet, group

if TYPE_CHECKING:
    from qmgen.config import TrainEnergyConfig, TrainLabelsConfig, TrainLmConfig, TrainSchnetConfig


def schnet(settings: TrainSchnetConfig, as_json: AsJson = False, quiet: Quiet = False) -> int:
    """Train SchNet on the labels of a corpus.

    If the command is stopped, the same command continues.
    """
    return _train("schnet", settings, as_json, quiet)


def energy(settings: TrainEnergyConfig, as_json: AsJson = False, quiet: Quiet = False) -> int:
    """Train a network that predicts the Hamiltonian, with the DFT energy of its prediction as the loss.

    The training needs geometries only, no labels. If the command is stopped, the same command continues.
    """
    return _train("energy", settings, as_json, quiet)


def labels(settings: TrainLabelsConfig, as_json: AsJson = False, quiet: Quiet = False) -> int:
    """Train the same network on converged Hamiltonians.

    The Hamiltonians are computed first. If the command is stopped, the same command continues.
    """
    return _train("labels", settings, as_json, quiet)


def lm(settings: TrainLmConfig, as_json: AsJson = False, quiet: Quiet = False) -> int:
    """Train a language model over SMILES (GPT or Llama) in 32 bit, 16 bit, or FP8 with dynamic scaling.

    If the command is stopped, the same command continues.
    """
    if settings.plan:
        return _plan(settings, as_json)

    return _train("lm", settings, as_json, quiet)


def _train(name: str, settings: Any, as_json: bool, quiet: bool) -> int:
    from qmgen.learning.kinds import KINDS

    kind = KINDS[name]
    result = kind.train(settings, quiet)
    figures = _figures(name, settings.out, result)
    if as_json:
        print_json(result)
    elif not quiet:
        say(kind.summary(result))
        for figure in figures:
            say(f"figure: {figure}")
        lines = kind.next_commands(settings).splitlines()
        say("\n".join(["\ntry next", *(f"  {line}" for line in lines)]))
    return 0


def _figures(name: str, out: Path, result: Any) -> list[Path]:
    """The figures of a finished training; of SchNet where all trainings of the command are finished."""
    from qmgen.report import energy, scales, scaling

    if name == "lm":
        return scales.draw_run(out)
    if name != "schnet":
        return [energy.draw_run(out)]
    if result.report is None:
        return []
    return [
        scaling.draw_run(out),
        *([scaling.draw_transfer_run(out)] if result.report["transfer"] is not None else []),
    ]


def _plan(settings: TrainLmConfig, as_json: bool) -> int:
    from qmgen.learning.lm import memory
    from qmgen.learning.lm.model import published
    from qmgen.learning.lm.texts import our_vocabulary

    shape = published(settings.preset, settings.arch)
    there = [file for file in map(Path, settings.data or []) if file.exists()]  # a plan may come before the molecules
    needs = memory.plan(settings, shape, settings.preset, our_vocabulary(there, settings.skip_unreadable))
    if as_json:
        print_json(needs)
    else:
        print(memory.plan_text(needs))
    return 0


train = group({"schnet": schnet, "energy": energy, "labels": labels, "lm": lm}, "Train a network.")
