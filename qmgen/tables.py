"""Tables of text: for a terminal, and as Markdown. A table is a list of rows of cells, the head first."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def aligned(rows: Sequence[Sequence[str]], left: Collection[int] = (0,)) -> str:
    """Columns padded to equal width, two blanks apart: those numbered in ``left`` (-1 is the last) to the left, all
    others to the right. No blanks at the end of a line, and no line break at the end."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    to_left = {number % len(widths) for number in left}
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column in to_left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def markdown(rows: Sequence[Sequence[str]], left: Collection[int] = (0,)) -> str:
    """The same as Markdown, not padded."""
    head, *body = rows
    to_left = {number % len(head) for number in left}
    rule = ["---" if column in to_left else "---:" for column in range(len(head))]
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, rule, *body])
