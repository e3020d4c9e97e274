"""A ledger under the load of many workers, which only wait while they "evaluate".

Each worker is a process of this machine that does `vitnas.search.study.search` with random
proposals, the whole of it: it looks what others have recorded and hold, claims, waits for as long
as its trials would take, records them, beats meanwhile, and reads what all others record. Time is
not scaled, so workers here offer what as many machines with real evaluations would. But they share
the cores of one machine, with the server: what of them the workers take is printed, and where that
is all of them, workers on machines of their own would do more.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import math
import multiprocessing
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any, NamedTuple

from optuna.storages import RDBStorage

import vitnas
from vitnas.arch import Arch
from vitnas.search.study import search
from vitnas.testing.servers import grpc_proxy, postgres

SPACE = vitnas.space("autoformer-tiny")
COSTS = {"params": lambda arch: 6e6, "macs": lambda arch: 1.3e9}
KINDS = ("journal", "postgresql", "proxy-sqlite", "proxy-postgresql")
# read before processes are forked, so that it is in memory once
PRELOADED = ("psycopg", "sqlalchemy.dialects.postgresql.psycopg", "optuna.storages._grpc.client")
OPENED = 300.0  # seconds within which all have opened the ledger


class Place(NamedTuple):
    """Where workers meet: an address, None for the journal, and the servers' first processes."""

    address: str | None
    pids: tuple[int, ...] = ()


@contextlib.contextmanager
def ledger(kind: str, folder: Path) -> Iterator[Place]:
    """Start what is needed."""
    with contextlib.ExitStack() as stack:
        if kind == "journal":
            yield Place(None)
            return
        if kind == "proxy-sqlite":
            proxy = stack.enter_context(grpc_proxy(f"sqlite:///{folder / 'ledger.db'}"))
            yield Place(proxy.address, (proxy.pid,))
            return
        server = stack.enter_context(postgres())
        if kind == "postgresql":
            yield Place(server.address, (server.pid,))
            return
        database = server.address.replace("postgresql", "postgresql+psycopg", 1)
        proxy = stack.enter_context(grpc_proxy(database))
        yield Place(proxy.address, (proxy.pid, server.pid))


@dataclass
class Load:
    """What workers did: their trials, and the seconds from one evaluation to the next."""

    trials: int = 0
    wall: float = 0.0
    evaluating: float = 0.0
    gaps: list[float] = field(default_factory=list)
    cpu: float = 0.0  # of the workers
    served: float = 0.0  # of the servers' CPU


class Worker:
    """One of them; its `evaluate` waits, counts, and ends the search when the time is over."""

    def __init__(self, seconds: float, duration: float, place: int, ready: Barrier) -> None:
        self._seconds, self._duration, self._place, self._ready = seconds, duration, place, ready
        self._start = self._left = self._cpu = math.nan
        self._load, self._group = Load(), 0

    def run(self, address: str | None, folder: Path, together: int) -> Load:
        """Search until the time is over."""
        with contextlib.suppress(SystemExit):
            search(
                SPACE,
                self._evaluate,
                strategy="random",
                costs=COSTS,
                trials=10**9,
                folder=folder,
                together=together,
                racing=False,
                ledger=address,
                join=True,
            )
        return self._load

    def _evaluate(self, archs: Sequence[Arch], hopeless: object) -> list[dict[str, float]]:
        now, share = time.perf_counter(), 1.0
        if self._group:
            self._load.gaps.append(now - self._left)
            self._load.trials += self._group
        else:
            self._ready.wait(OPENED)
            now = self._start = time.perf_counter()
            self._cpu = time.process_time()
            share = (self._place * 0.618) % 1  # not all in step
        end = self._start + self._duration
        waited = min(self._seconds * len(archs) * share, max(end - now, 0.0))
        time.sleep(waited)
        self._left, self._group = time.perf_counter(), len(archs)
        self._load.evaluating += self._left - now
        if self._left >= end:
            self._load.wall = self._left - self._start
            self._load.cpu = time.process_time() - self._cpu
            raise SystemExit
        return [{"score": 0.5, "loss": 1.0}] * len(archs)


def simulate(
    place: Place, folder: Path, workers: int, together: int, seconds: float, duration: float
) -> Load:
    """Return what so many workers did within `duration` seconds."""
    context = multiprocessing.get_context("fork")
    ready = context.Barrier(workers + 1)
    pipes, processes = [], []
    for number in range(workers):
        mine, its = context.Pipe(duplex=False)
        one = Worker(seconds, duration, number, ready)
        words = (one, place.address, folder, together, its)
        processes.append(context.Process(target=_run, args=words, daemon=True))
        processes[-1].start()
        its.close()
        pipes.append(mine)
    ready.wait(OPENED)
    served = cpu_seconds(place.pids)
    loads: list[Load] = [pipe.recv() for pipe in pipes]
    served = cpu_seconds(place.pids) - served
    for process in processes:
        process.join()
    return Load(
        sum(load.trials for load in loads),
        statistics.mean(load.wall for load in loads),
        sum(load.evaluating for load in loads),
        [gap for load in loads for gap in load.gaps],
        sum(load.cpu for load in loads),
        served,
    )


def _run(one: Worker, address: str | None, folder: Path, together: int, told: Connection) -> None:
    told.send(one.run(address, folder, together))


def cpu_seconds(pids: Sequence[int]) -> float:
    """Return the CPU's seconds of these processes and all that they have started (Linux)."""
    parents, ticks = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            told = path.read_text().rpartition(")")[2].split()
            pid = int(path.parent.name)
            parents[pid], ticks[pid] = int(told[1]), sum(map(int, told[11:15]))
    found, more = set[int](), set(pids)
    while more:
        found |= more
        more = {pid for pid, parent in parents.items() if parent in more} - found
    return sum(ticks.get(pid, 0) for pid in found) / os.sysconf("SC_CLK_TCK")


def told(load: Load, workers: int, seconds: float) -> list[str]:
    """Return the columns of a table that a simulation fills."""
    gaps, trials = sorted(load.gaps) or [math.nan], max(load.trials, 1)
    return [
        f"{workers / seconds:.1f}" if seconds else "-",
        f"{load.trials / load.wall:.1f}",
        f"{load.evaluating / (workers * load.wall):.0%}",
        f"{statistics.median(gaps):.3f}",
        f"{gaps[int(0.95 * len(gaps))]:.3f}",
        f"{1e3 * load.served / trials:.1f}",
        f"{1e3 * load.cpu / trials:.1f}",
        f"{load.cpu / load.wall:.2f}",
    ]


COLUMNS = ("ledger", "workers", "together", "s a trial", "offered/s", "done/s", "evaluating")
MORE = ("s between, median", "95 %", "server ms/trial", "workers ms/trial", "workers' cores")


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description="A ledger under the load of many workers.")
    parser.add_argument("--kinds", nargs="+", default=KINDS[:2], choices=KINDS)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 10, 100])
    parser.add_argument("--together", type=int, nargs="+", default=[1])
    parser.add_argument("--trial", type=float, nargs="+", default=[10.0], help="its seconds")
    parser.add_argument("--duration", type=float, default=30.0, help="seconds of each row")
    given: Any = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))  # ends the servers too
    for name in PRELOADED:
        importlib.import_module(name)
    RDBStorage("sqlite://")  # reads the rest
    print(*COLUMNS, *MORE, sep=" | ")
    with tempfile.TemporaryDirectory() as here:
        rows = [(w, g, s) for w in given.workers for g in given.together for s in given.trial]
        for kind, (workers, together, seconds) in ((k, row) for k in given.kinds for row in rows):
            folder = Path(here) / f"{kind} {workers} {together} {seconds}"
            folder.mkdir()
            with ledger(kind, folder) as place:
                load = simulate(place, folder, workers, together, seconds, given.duration)
            columns = told(load, workers, seconds)
            print(kind, workers, together, seconds, *columns, sep=" | ", flush=True)


if __name__ == "__main__":
    main()
