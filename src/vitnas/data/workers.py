"""The worker processes of a loader: who ends them, and what is said if one is killed."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from torch.utils.data import DataLoader

from vitnas.errors import InputError

STOPS = (signal.SIGINT, signal.SIGTERM)
LOOK = 1.0  # seconds between two looks whether the main process is still there
LATE = 5.0  # seconds until torch certainly knows of a death

_log = logging.getLogger(__name__)


def leave_stopping_to_main(worker: int) -> None:
    """Begin a worker, as the loader's `worker_init_fn`.

    Ctrl-C, `timeout`, SLURM and systemd send their signals to workers too, but when a run stops is
    for the main process to say. A worker ends when that asks it to, or is gone.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    sys.excepthook = _tell
    threading.Thread(target=_end_with_main, daemon=True).start()


def _tell(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Tell of an error, except that the main process left while it was handed a batch."""
    if not issubclass(kind, (ConnectionError, EOFError)):
        sys.__excepthook__(kind, error, trace)


def _end_with_main() -> None:
    main, above = multiprocessing.parent_process(), os.getppid()
    assert main is not None
    # Of a killed process the siblings of a worker may hold the end of the pipe that is looked at.
    while main.is_alive() and os.getppid() == above:
        if _who_asks() == main.pid:
            break
    os._exit(0)


def _who_asks() -> int | None:
    """Wait for a signal for a while; return the process that sent one."""
    if not hasattr(signal, "sigtimedwait"):  # macOS
        time.sleep(LOOK)
        return None
    asked = signal.sigtimedwait(STOPS, LOOK)
    return None if asked is None else asked.si_pid


class Loader(DataLoader[Any]):
    """A loader that leaves to `tell_of_workers` what is said of their number."""

    def check_worker_number_rationality(self) -> None:
        """Don't warn, as torch does of each loader, without saying what to set."""


def tell_of_workers(workers: int) -> None:
    """Say that there are more processes than cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if cores and workers > cores:
        said = "%d processes load images on %d cores; fewer may be faster (--set workers=%d)"
        _log.info(said, workers, cores, cores)


@contextmanager
def dead_workers_told() -> Iterator[None]:
    """Turn the death of a worker, which torch raises at any moment, into an error of one line."""
    try:
        with _patient():
            yield
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):
            raise
        raise InputError(
            "a process that loads images was killed, often for want of memory; repeat the same "
            "command to go on from the last checkpoint, with fewer workers or a smaller cache_gb"
        ) from error


@contextmanager
def _patient() -> Iterator[None]:
    """Let torch's error come first: a dead worker's connection breaks before torch hears of it."""
    try:
        yield
    except (ConnectionError, EOFError):
        time.sleep(LATE)
        raise
