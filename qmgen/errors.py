"""Errors meant for the person at the shell: one line that says what is wrong and what to do.

Anything else that escapes is a bug, and shows a traceback.
"""

from __future__ import annotations

import traceback


class QmgenError(Exception):
    """Work failed for a reason the user can act on (exit code 1). Each argument is a line of its own."""

    exit_code = 1

    def __str__(self) -> str:
        return "\n".join(map(str, self.args))

    @property
    def lines(self) -> list[str]:
        """What is printed: a line for each argument, whatever the texts hold that they quote."""
        return [one_line(str(argument)) for argument in self.args] or [type(self).__name__]


class UsageError(QmgenError):
    """A wrong command, option, configuration or input (exit code 2)."""

    exit_code = 2


class Interrupted(QmgenError):
    """Stopped by a signal or a time limit; the same command continues (exit code 75)."""

    exit_code = 75


class AlreadyRunning(QmgenError):
    """Another process is doing the very same: nothing is wrong, and nothing is left to do (exit code 0)."""

    exit_code = 0


class BeingWritten(UsageError):
    """Another process is writing the same file (exit code 2)."""


def one_line(text: str) -> str:
    """``text`` with all that is not printable escaped as in Python (a line end as ``\\n``): names of files and texts
    that a message quotes neither break it into several lines nor steer the terminal."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def first_line(error: BaseException) -> str:
    """The first line of what ``error`` says that is not empty; its kind where it says nothing."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def to_process(error: Exception) -> tuple[int | None, str, str]:
    """What another process needs to raise ``error`` by ``from_process``; called where ``error`` is handled."""
    if isinstance(error, QmgenError):
        return error.exit_code, "\n".join(error.lines), ""
    return None, f"{type(error).__name__}: {error}", traceback.format_exc()


def from_process(where: str, exit_code: int | None, message: str, trace: str) -> Exception:
    """The exception that ended another process, as one to be raised here: meant for the user where it has an
    ``exit_code`` (``message`` then holds its ``lines``, one below the other), else a bug, with its ``trace``back from
    ``where`` it was."""
    if exit_code is None:
        error = RuntimeError(f"in {where}: {message}")
        error.add_note(trace)
        return error
    kinds = {kind.exit_code: kind for kind in (QmgenError, UsageError, Interrupted)}
    return kinds.get(exit_code, QmgenError)(*message.split("\n"))
