"""Lines that cannot be tokenised: all are counted, the first are shown, and which they are is said as far as a person
would read it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

#: lines that are shown with what is wrong with them
SHOWN: Final = 10
#: ranges of line numbers that are listed, of all files together
RANGES: Final = 40


@dataclass
class Unreadable:
    """Of ``lines`` with a text in all files, ``count`` cannot be tokenised. ``hint`` is what to do about them."""

    hint: str
    lines: int = 0
    count: int = 0
    reasons: list[str] = field(default_factory=list)
    _ranges: list[tuple[Path, list[int]]] = field(default_factory=list)
    _listed: int = 0

    def add(self, file: Path, line: int, reason: str) -> None:
        """The text on ``line`` (from 1) of ``file`` cannot be tokenised."""
        self.count += 1
        if len(self.reasons) < SHOWN:
            self.reasons.append(f"{file}:{line}: {reason}")
        last = self._ranges[-1] if self._ranges else None
        if last is not None and last[0] == file and last[1][1] + 1 == line and self._listed == self.count - 1:
            last[1][1] = line
        elif len(self._ranges) < RANGES:
            self._ranges.append((file, [line, line]))
        else:
            return
        self._listed = self.count

    def places(self) -> str:
        """``a.smi:3, 7-9, b.smi:1``, and how many more there are."""
        words, before = [], None
        for file, (first, last) in self._ranges:
            words.append(f"{'' if file == before else f'{file}:'}{first}{'' if first == last else f'-{last}'}")
            before = file
        more = self.count - self._listed
        return ", ".join(words) + (f" and {more} more" if more else "")

    def report(self) -> list[str]:
        """What to tell a person who wants them all to be readable: one line for one, else a line for each of the first,
        and their numbers."""
        if self.count == 1:
            return [f"{self.reasons[0]}: {self.hint}"]
        return [
            f"{self.count} of {self.lines} lines cannot be tokenised: {self.hint}",
            *self.reasons,
            *([f"all of them: {self.places()}"] if self.count > len(self.reasons) else []),
        ]
