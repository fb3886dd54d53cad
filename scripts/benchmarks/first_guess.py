"""What a learned first guess saves: the same molecules labeled from atoms, from the core and from a network, in turns
in one process."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, Final

import numpy as np

from qmgen.errors import UsageError
from qmgen.labeling import Guess, LabelCosts, Settings, label
from qmgen.labeling.types import LEARNED_CYCLES
from qmgen.machine import provenance
from qmgen.molecules.types import Conformer, Failure

#: what first attempts begin from
SIDES: Final = ("atoms", "core", "network")
PLAIN: Final = SIDES[:2]
#: Hartree: by no more may a label from the network differ from the one from atoms
LIMIT: Final = 1e-8


def measure(
    conformers: Sequence[Conformer],
    settings: Settings,
    guess: Guess,
    repeats: int,
    tell: Callable[[str], None] = lambda what: None,
) -> dict[str, Any]:
    """Plain values: provenance, ``settings``, ``molecules`` that all sides label, ``left_out`` that any does not,
    ``sides`` (see ``_side``) and ``saved`` (see ``_saved``). Each side labels all once before it is timed.

    Raises ``UsageError`` where no molecule gets a label on all sides.
    """
    passes: dict[str, list[_Pass]] = {side: [] for side in SIDES}
    for turn in range(repeats + 1):
        first = turn % len(SIDES)  # none is always the one that comes after the same other
        for side in (*SIDES[first:], *SIDES[:first]):
            tell(f"{side}: {f'turn {turn} of {repeats}' if turn else 'compiling'}")
            passes[side].append(_Pass(conformers, settings, side, guess))
    common = set.intersection(*(set(one[-1].labels) for one in passes.values()))
    if not common:
        raise UsageError("no molecule gets a label from every guess: there is nothing to compare")
    sides = {side: _side(passes[side][1:], passes["atoms"][-1], common) for side in SIDES}
    return {
        **provenance(),
        "settings": asdict(settings),
        "repeats": repeats,
        "extra_cycles": LEARNED_CYCLES,
        "molecules": len(common),
        "left_out": len(conformers) - len(common),
        "heavy_atoms": [f(int(np.sum(c.numbers > 1)) for c in conformers) for f in (min, max)],
        "sides": sides,
        "saved": _saved(passes, sides),
    }


class _Pass:
    """All molecules labeled once: ``labels`` (energy, cycles) by molecule and conformer, ``seconds`` in all, and the
    ``tally``."""

    def __init__(self, conformers: Sequence[Conformer], settings: Settings, side: str, guess: Guess) -> None:
        self.tally = LabelCosts()
        self.labels: dict[tuple[int, int], tuple[float, int]] = {}
        plain = side if side in PLAIN else PLAIN[0]
        asked = Settings(**{**asdict(settings), "guess": plain})
        begin = time.perf_counter()
        for result in label(conformers, asked, guess=guess if side == "network" else None, tally=self.tally):
            if not isinstance(result, Failure):
                one, found = result
                self.labels[one.molecule_id, one.conformer_id] = found.energy, found.cycles
        self.seconds = time.perf_counter() - begin

    @property
    def scf(self) -> float:
        """Seconds of the self-consistent field, and of the network that begins it."""
        return self.tally.seconds["field"] + self.tally.seconds["guess"]


def _side(passes: list[_Pass], atoms: _Pass, common: set[tuple[int, int]]) -> dict[str, Any]:
    """Of the molecules ``common`` the mean ``cycles`` and the largest ``difference`` of an energy from that from atoms,
    Hartree; of all, seconds of a pass (medians): ``label`` whole, ``field`` the first attempts' SCF, ``guess`` the
    network; and how many began ``without`` an answer of it."""
    last = passes[-1]
    return {
        "cycles": statistics.mean(last.labels[key][1] for key in common),
        "difference": max(abs(last.labels[key][0] - atoms.labels[key][0]) for key in common),
        "label": statistics.median(one.seconds for one in passes),
        "field": statistics.median(one.tally.seconds["field"] for one in passes),
        "guess": statistics.median(one.tally.seconds["guess"] for one in passes),
        "without": last.tally.fallbacks,
    }


def _saved(passes: dict[str, list[_Pass]], sides: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Against the plain guess of fewest cycles (``against``): the share of ``cycles`` saved, and how many times the
    network's time, its own included, goes into that of the plain one: of the ``scf``, and of the ``label`` whole."""
    best = min(PLAIN, key=lambda side: sides[side]["cycles"])
    turns = list(zip(passes[best][1:], passes["network"][1:], strict=True))
    return {
        "against": best,
        "cycles": 1.0 - sides["network"]["cycles"] / sides[best]["cycles"],
        "scf": _spread([plain.scf / ours.scf for plain, ours in turns]),
        "label": _spread([plain.seconds / ours.seconds for plain, ours in turns]),
    }


def _spread(ratios: list[float]) -> dict[str, float]:
    return {"median": statistics.median(ratios), "lowest": min(ratios), "highest": max(ratios)}


def table(result: dict[str, Any]) -> str:
    """The result for people; seconds are of one pass over all molecules."""
    lines = [
        f"{result['molecules']} molecules of {result['heavy_atoms'][0]} to {result['heavy_atoms'][1]} heavy atoms, "
        f"{result['settings']['xc']}/{result['settings']['basis']}, grid level {result['settings']['grid_level']}; "
        f"{result['repeats']} turns" + (f"; {result['left_out']} left out" if result["left_out"] else ""),
        "",
        "| first guess | cycles | SCF, s | network, s | labels in all, s | largest \\|dE\\|, Ha |",
        "|---|---|---|---|---|---|",
    ]
    for name, side in result["sides"].items():
        network = f"{side['guess']:.2f}" if name == "network" else ""
        difference = "" if name == "atoms" else f"{side['difference']:.1e}"
        lines.append(
            f"| {name} | {side['cycles']:.2f} | {side['field']:.2f} | {network} | {side['label']:.2f} | {difference} |"
        )
    saved = result["saved"]
    without = result["sides"]["network"]["without"]
    cycles = f"{abs(saved['cycles']):.1%} {'fewer' if saved['cycles'] >= 0 else 'more'} cycles"
    lines += [
        "",
        f"The network's cycles include {result['extra_cycles']} for the Fock matrix that it sees."
        + (f" It had no density for {without} molecule(s), which began from atoms." if without else ""),
        f"Against {saved['against']}: {cycles}; SCF with the network's time "
        f"{_times(saved['scf'])} as fast, labels in all {_times(saved['label'])}.",
    ]
    return "\n".join(lines)


def _times(found: dict[str, float]) -> str:
    return f"{found['median']:.2f} ({found['lowest']:.2f} to {found['highest']:.2f}) times"
