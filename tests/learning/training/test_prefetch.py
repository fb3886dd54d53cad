"""A thread ahead: the same items, exceptions where they belong, and no thread left."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from qmgen.learning.training.loop import Prefetch


def test_items_and_exceptions_in_order() -> None:
    def failing() -> Iterator[int]:
        yield from range(5)
        raise RuntimeError("spoiled")

    with Prefetch(iter(range(100))) as ready:
        assert list(ready) == list(range(100)) and list(ready) == []
    seen = []
    with pytest.raises(RuntimeError, match="spoiled"), Prefetch(failing()) as ready:
        for item in ready:
            seen.append(item)
    assert seen == list(range(5))


def test_closing_early_ends_the_thread_and_the_iterator() -> None:
    closed = threading.Event()

    def endless() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.set()

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt), Prefetch(endless()) as ready:
        next(ready)
        raise KeyboardInterrupt
    assert closed.is_set() and threading.active_count() == before
    assert list(ready) == []
    left = Prefetch(endless())
    thread = left._thread
    del left
    thread.join(10)
    assert not thread.is_alive()
