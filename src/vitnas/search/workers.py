"""Several processes of this machine that do the same work, and whoever looks after them."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable
from multiprocessing import connection
from multiprocessing.context import SpawnProcess
from types import FrameType
from typing import TypeAlias

from vitnas.errors import InputError

logger = logging.getLogger(__name__)

DEATHS = 3  # so many in a row, without any progress in between, end the work
LOOK, LEAVE = 0.2, 10.0  # seconds between two looks, and until who is asked to end is killed

_Worker: TypeAlias = tuple[int, SpawnProcess, "connection.Connection[object, object]"]


def run_workers(work: Callable[[int], None], count: int, watch: Callable[[], bool]) -> None:
    """Call `work(place)` in so many processes, places from 0; return when all have ended.

    `work` must be picklable. `watch` is called several times a second and tells whether there was
    progress. A worker that is killed is replaced. An error of one ends all, and so does an
    interruption, and the end of this process.

    Raises:
        InputError: a worker raised it, or one after another died.
        RuntimeError: a worker raised something else.
    """
    workers = [_start(work, place) for place in range(count)]
    deaths, finished = 0, False
    try:
        while workers:
            connection.wait([process.sentinel for _, process, _ in workers], timeout=LOOK)
            deaths = 0 if watch() else deaths
            for worker in [one for one in workers if one[1].exitcode is not None]:
                workers.remove(worker)
                place, process, errors = worker
                killed = _check(process, errors)
                finished = finished or not killed
                if killed and not finished:
                    deaths += 1
                    _tell(place, killed, deaths)
                    workers.append(_start(work, place))
        watch()
    finally:
        for _, process, _ in workers:
            process.terminate()
        for _, process, _ in workers:
            process.join(LEAVE)
            process.kill()
            process.join()


def _start(work: Callable[[int], None], place: int) -> _Worker:
    context = multiprocessing.get_context("spawn")
    errors, told = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(work, place, told))
    process.start()
    told.close()
    return place, process, errors


def _check(process: SpawnProcess, errors: connection.Connection[object, object]) -> str:
    """Return the signal that ended a worker, nothing if it ended by itself; raise its error."""
    code = process.exitcode or 0
    if code < 0:
        return signal.Signals(-code).name
    if code > 0:
        told = str(errors.recv()) if errors.poll() else f"a worker ended with exit code {code}"
        raise InputError(told) if code == 2 else RuntimeError(told)
    return ""


def _tell(place: int, killed: str, deaths: int) -> None:
    if deaths > DEATHS:
        raise InputError(
            f"{deaths} workers were killed one after another, the last by {killed}, without a "
            "result in between; there may be too little memory for so many workers"
        )
    logger.warning("worker %d was killed by %s; another one takes its place", place, killed)


def _run(
    work: Callable[[int], None], place: int, errors: connection.Connection[object, object]
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the first process decides
    signal.signal(signal.SIGTERM, _leave)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    logging.getLogger("vitnas").setLevel(logging.WARNING)  # the rest would be said by each
    try:
        work(place)
    except InputError as error:
        errors.send(str(error))
        sys.exit(2)
    except Exception as error:
        errors.send(f"worker {place}: {error!r}")
        raise


def _leave(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
