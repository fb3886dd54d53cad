"""One single-threaded PySCF process per core, fed one molecule at a time.

Processes are spawned, never forked, and see ``OMP_NUM_THREADS=1`` before they import numpy. The parent's own
environment is as it was once the pool is closed.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import TypeVar

from qmgen.errors import QmgenError
from qmgen.machine import granted_cpus
from qmgen.runtime import ONE_THREAD, environment

Task = TypeVar("Task")
Result = TypeVar("Result")


@contextmanager
def single_threaded_pool(jobs: int | None = None) -> Iterator[ProcessPoolExecutor]:
    """A pool of ``jobs`` processes (one per core by default) with one thread each.

    Tasks not yet begun are dropped when the block is left by an exception.
    """
    with environment(ONE_THREAD):
        executor = ProcessPoolExecutor(jobs or granted_cpus(), multiprocessing.get_context("spawn"), _begin)
        try:
            yield executor
        except BaseException:
            executor.shutdown(wait=False, cancel_futures=True)
            raise
        finally:
            executor.shutdown()


def unordered(
    executor: ProcessPoolExecutor, work: Callable[[Task], Result], tasks: Iterable[Task], ahead: int = 64
) -> Iterator[Result]:
    """Results as they come; at most ``ahead`` tasks are handed over at a time.

    Raises what ``work`` raised, and ``QmgenError`` when a process died (out of memory, most likely).
    """
    waiting: set[Future[Result]] = set()
    source = iter(tasks)
    exhausted = False
    try:
        while waiting or not exhausted:
            while not exhausted and len(waiting) < ahead:
                try:
                    waiting.add(executor.submit(work, next(source)))
                except StopIteration:
                    exhausted = True
            if waiting:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
    except BrokenProcessPool as error:
        raise QmgenError(
            "a PySCF process was killed, most likely for memory: try again with fewer processes (jobs)"
        ) from error


def _begin() -> None:
    """In each process, once: PySCF imported and held to one thread; Ctrl-C is the parent's to handle."""
    os.environ["JAX_PLATFORMS"] = "cpu"  # for our density: many processes cannot share an accelerator's memory
    from pyscf import lib

    signal.signal(signal.SIGINT, signal.SIG_IGN)

    lib.num_threads(1)
