"""``qmgen train``: networks that learn from a corpus, from the energy itself, and language models over SMILES."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from qmgen.cli.console import print_json, say
from qmgen.cli.options import AsJson, Quiet, group

if TYPE_CHECKING:
    from qmgen.config import TrainEnergyConfig, TrainLabelsConfig, TrainLmConfig, TrainSchnetConfig


def schnet(settings: TrainSchnetConfig, as_json: AsJson = False, quiet: Quiet = False) -> int:
    """Train SchNet on the labels of a corpus.

    If the command is stopped, the same command continues.
    """
    from qmgen.learning.scaling.run import run

    summary = run(settings, quiet=quiet)
    figures = []
    if summary.report is not None:
        from qmgen.report import scaling, transfer

        figures = [scaling.draw_run(settings.out)]
        if summary.report["transfer"] is not None:
            figures.append(transfer.draw_run(settings.out))
    if as_json:
        print_json(summary)
    elif not quiet:
        say(summary.text())
        for figure in figures:
            say(f"figure: {figure}")
        place = shlex.quote(str(settings.out))
        say(f"\ntry next\n  qmgen evaluate {place} --data {shlex.quote(str(settings.data))}")
    return 0


def energy(settings: TrainEnergyConfig, as_json: AsJson = False, quiet: Quiet = False) -> int:
    """Train a network that predicts the Hamiltonian, with the DFT energy of its prediction as the loss.

    The training needs geometries only, no labels. If the command is stopped, the same command continues.
    """
    return _train_hamiltonian(settings, as_json, quiet)


def labels(settings: TrainLabelsConfig, as_json: AsJson = False, quiet: Quiet = False) -> int:
    """Train the same network on converged Hamiltonians.

    The Hamiltonians are computed first. If the command is stopped, the same command continues.
    """
    return _train_hamiltonian(settings, as_json, quiet)


def _train_hamiltonian(settings: TrainEnergyConfig | TrainLabelsConfig, as_json: bool, quiet: bool) -> int:
    from qmgen.learning.energy.train import result_text, run

    result = run(settings, quiet=quiet)

    from qmgen.report.energy import draw_run

    figure = draw_run(settings.out)
    if as_json:
        print_json(result)
    elif not quiet:
        say(result_text(result))
        say(f"figure: {figure}")
        place = shlex.quote(str(settings.out))
        say(f"\ntry next\n  qmgen evaluate {place} --molecules FILE\n  qmgen generate --guess {place} --molecules FILE")
    return 0


def lm(settings: TrainLmConfig, as_json: AsJson = False, quiet: Quiet = False) -> int:
    """Train a language model over SMILES (GPT or Llama) in 32 bit, 16 bit, or FP8 with dynamic scaling.

    If the command is stopped, the same command continues.
    """
    if settings.plan:
        return _plan(settings, as_json)

    from qmgen.learning.lm.train import result_text, run

    result = run(settings, quiet=quiet)

    from qmgen.report.scales import draw_run

    assert settings.out is not None
    figures = draw_run(settings.out)
    if as_json:
        print_json(result)
    elif not quiet:
        say(result_text(result))
        for figure in figures:
            say(f"figure: {figure}")
        place = shlex.quote(str(settings.out))
        say(f"\ntry next\n  qmgen sample {place} -n 1000 --out new.smi\n  qmgen quantize {place}")
    return 0


def _plan(settings: TrainLmConfig, as_json: bool) -> int:
    from qmgen.learning.lm import memory
    from qmgen.learning.lm.shape import published
    from qmgen.learning.lm.texts import our_vocabulary

    shape = published(settings.preset, settings.arch)
    there = [file for file in map(Path, settings.data or []) if file.exists()]  # a plan may come before the molecules
    found = memory.plan(settings, shape, settings.preset, our_vocabulary(there, settings.skip_unreadable))
    if as_json:
        print_json(found)
    else:
        print(memory.plan_text(found))
    return 0


train = group({"schnet": schnet, "energy": energy, "labels": labels, "lm": lm}, "Train a network.")
