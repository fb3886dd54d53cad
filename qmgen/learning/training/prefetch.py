"""The next batches while the device computes this one.

>>> moved = ((jax.device_put(batch), after) for batch, after in batches.epoch_batches(0))    # runs in the thread, too
>>> with Prefetch(moved) as ready:
...     for batch, after in ready: ...
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Final, Generic, TypeVar

Item = TypeVar("Item")

#: how long the thread waits for room before it looks whether it is still wanted
_LOOK_SECONDS: Final = 0.1


class _Failed:
    """What the thread ended with: an exception, or None at the end of the items."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class Prefetch(Generic[Item]):
    """The items of an iterator, made in a thread of its own, ``depth`` ahead. An exception comes out where its item
    would. ``close`` (or leaving a ``with`` block, or the last reference) ends the thread; it may be called at any time.
    """

    def __init__(self, iterator: Iterator[Item], depth: int = 2) -> None:
        if depth < 1:
            raise ValueError("at least one item must be made ahead")
        self._queue: queue.Queue[Any] = queue.Queue(depth)
        self._stop = threading.Event()
        self._ended = False
        # the thread holds the queue and the event, not this object: dropping it is enough to end the thread
        self._thread = threading.Thread(
            target=_fill, args=(iterator, self._queue, self._stop), name="qmgen-prefetch", daemon=True
        )
        self._thread.start()

    def __iter__(self) -> Iterator[Item]:
        return self

    def __next__(self) -> Item:
        while not self._ended and not self._stop.is_set():
            # with a limit, so that Ctrl-C is heard while waiting
            try:
                item = self._queue.get(timeout=_LOOK_SECONDS)
            except queue.Empty:
                continue
            if isinstance(item, _Failed):
                self._ended = True
                if item.error is not None:
                    raise item.error
                break
            return item  # type: ignore[no-any-return]
        raise StopIteration

    def close(self) -> None:
        """End the thread, once the item it is making is made."""
        self._stop.set()
        self._thread.join()

    def __enter__(self) -> Prefetch[Item]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        stop = getattr(self, "_stop", None)
        if stop is not None:
            stop.set()


def _fill(iterator: Iterator[Any], items: queue.Queue[Any], stop: threading.Event) -> None:
    error: BaseException | None = None
    try:
        for item in iterator:
            if not _put(items, item, stop):
                break
        close = getattr(iterator, "close", None)  # a generator that was left in the middle
        if close is not None:
            close()
    except BaseException as caught:
        error = caught
    _put(items, _Failed(error), stop)


def _put(items: queue.Queue[Any], item: Any, stop: threading.Event) -> bool:
    """Whether there was room before the consumer went away."""
    while not stop.is_set():
        try:
            items.put(item, timeout=_LOOK_SECONDS)
        except queue.Full:
            continue
        return True
    return False
