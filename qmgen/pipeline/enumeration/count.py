"""How many there are, as a table by heavy atoms and formula."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from qmgen.molecules.selection import FormulaCount


@dataclass
class Counts:
    """Multigraphs and molecules by (heavy atoms, formula)."""

    by_formula: dict[tuple[int, str], list[int]]

    def add(self, one: FormulaCount) -> None:
        total = self.by_formula.setdefault((one.heavy_atoms, one.formula), [0, 0])
        total[0] += one.multigraphs
        total[1] += one.molecules

    def rows(self) -> list[dict[str, Any]]:
        """One a formula, by heavy atoms, then by the formula's text."""
        return [
            {"heavy_atoms": size, "formula": formula, "multigraphs": multigraphs, "molecules": molecules}
            for (size, formula), (multigraphs, molecules) in sorted(self.by_formula.items())
        ]

    def sizes(self) -> list[dict[str, Any]]:
        """One a number of heavy atoms."""
        found: dict[int, list[int]] = {}
        for (size, _), counts in sorted(self.by_formula.items()):
            total = found.setdefault(size, [0, 0])
            total[0] += counts[0]
            total[1] += counts[1]
        return [{"heavy_atoms": size, "multigraphs": a, "molecules": b} for size, (a, b) in found.items()]

    def totals(self) -> dict[str, int]:
        return {
            name: sum(counts[k] for counts in self.by_formula.values())
            for k, name in enumerate(("multigraphs", "molecules"))
        }


def table(counts: Counts) -> str:
    """The table as text: every formula, a line for each number of heavy atoms, and the sum."""
    lines = [("heavy atoms", "formula", "multigraphs", "molecules")]
    for size in counts.sizes():
        number = size["heavy_atoms"]
        lines += [
            (str(number), row["formula"], str(row["multigraphs"]), str(row["molecules"]))
            for row in counts.rows()
            if row["heavy_atoms"] == number
        ]
        lines.append((str(number), "all", str(size["multigraphs"]), str(size["molecules"])))
    total = counts.totals()
    if len(counts.sizes()) != 1:
        lines.append(("all", "all", str(total["multigraphs"]), str(total["molecules"])))
    widths = [max(len(line[k]) for line in lines) for k in range(4)]
    return "\n".join(f"{a:>{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}  {d:>{widths[3]}}" for a, b, c, d in lines)
