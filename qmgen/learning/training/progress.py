"""How far a training is, on standard error: one bar on a terminal, else a plain line now and then."""

from __future__ import annotations

import sys
import time
from typing import Protocol, TextIO

from qmgen.quantities import duration

LINE_EVERY = 30.0  # seconds


class Progress(Protocol):
    """What a training tells as it goes. ``rate`` is rows (or what ``unit`` says) per second; ``errors`` a text such as
    ``y 85.2 meV``."""

    def start(self, label: str, steps: int, done: int, unit: str = "row") -> None: ...

    def advance(self, step: int, loss: float, rate: float) -> None: ...

    def validated(self, step: int, errors: str, best: bool) -> None: ...

    def say(self, line: str) -> None: ...

    def close(self) -> None: ...


class Quiet:
    """Says nothing but what went wrong."""

    def start(self, label: str, steps: int, done: int, unit: str = "row") -> None:
        pass

    def advance(self, step: int, loss: float, rate: float) -> None:
        pass

    def validated(self, step: int, errors: str, best: bool) -> None:
        pass

    def say(self, line: str) -> None:
        print(f"qmgen: {line}", file=sys.stderr, flush=True)

    def close(self) -> None:
        pass


class Bar:
    """A tqdm bar with rate and time left, where standard error is a terminal."""

    def start(self, label: str, steps: int, done: int, unit: str = "row") -> None:
        from tqdm import tqdm

        self._bar = tqdm(total=steps, initial=done, unit="step", desc=label, smoothing=0.1, dynamic_ncols=True)
        self._errors, self._unit = "", unit

    def advance(self, step: int, loss: float, rate: float) -> None:
        self._bar.set_postfix_str(f"{self._errors}loss {loss:.4f}, {rate:.0f} {self._unit}s/s", refresh=False)
        self._bar.update(step - self._bar.n)

    def validated(self, step: int, errors: str, best: bool) -> None:
        self._errors = f"{errors}{'' if best else ' (not better)'}, "
        self._bar.refresh()

    def say(self, line: str) -> None:
        self._bar.write(f"qmgen: {line}", file=sys.stderr)

    def close(self) -> None:
        self._bar.close()


class Lines:
    """A line every half minute, for log files, and at the first validation."""

    def __init__(self, stream: TextIO | None = None, every: float = LINE_EVERY) -> None:
        self._stream = stream or sys.stderr
        self._every = every

    def start(self, label: str, steps: int, done: int, unit: str = "row") -> None:
        self._label, self._steps, self._first = label, steps, done
        self._errors, self._unit = "", unit
        self._begin = time.monotonic()
        self._last = float("-inf")

    def advance(self, step: int, loss: float, rate: float) -> None:
        now = time.monotonic()
        if now - self._last < self._every:
            return
        self._last = now
        left = (self._steps - step) * (now - self._begin) / max(step - self._first, 1)
        self.say(
            f"{self._label}: step {step} of {self._steps}, {self._errors}loss {loss:.4f}, {rate:.0f} {self._unit}s/s, "
            f"{duration(left)} left"
        )

    def validated(self, step: int, errors: str, best: bool) -> None:
        first, self._errors = not self._errors, f"{errors}{'' if best else ' (not better)'}, "
        if first:
            self.say(f"{self._label}: step {step} of {self._steps}, {errors}")

    def say(self, line: str) -> None:
        print(f"qmgen: {line}", file=self._stream, flush=True)

    def close(self) -> None:
        pass


def default_progress() -> Progress:
    """A bar on a terminal, lines elsewhere."""
    return Bar() if sys.stderr.isatty() else Lines()
