"""Figures of a language model's scales. (in the making)"""

from pathlib import Path


def draw_run(out: Path) -> list[Path]:
    return []
