"""Signals that end a command: what a handler raises arrives, wherever the signal meets the program."""

from __future__ import annotations

import os
import signal
import time

import pytest

from qmgen.signals import exit_on_sigterm


class TerminatedInFinalizer:
    """A signal that arrives while Python runs a finalizer, in which exceptions are dropped."""

    def __del__(self) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)  # the handler runs here


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_sigterm_is_raised_again_where_python_dropped_it() -> None:
    before, cleared = signal.getsignal(signal.SIGTERM), []
    with pytest.raises(SystemExit) as error:
        try:
            with exit_on_sigterm():
                thing = TerminatedInFinalizer()
                del thing
                for _ in range(1000):  # ten seconds
                    time.sleep(0.01)
        finally:
            time.sleep(1.5)  # longer than until it is raised again: no clearing up is disturbed
            cleared.append(True)
    assert error.value.code == 143 and cleared
    assert signal.getsignal(signal.SIGTERM) is before


def test_without_a_signal_the_handler_before_is_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with exit_on_sigterm():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before
