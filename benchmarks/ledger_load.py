"""A ledger under the load of many workers: simulated ones that only wait while they "evaluate".

Each is a thread with a connection of its own that does what a worker does between evaluations: it
looks what others have done and hold, claims, waits for as long as its group would take, records
every trial of it, and beats meanwhile. All of them together run in one process, so at high rates
that process is a limit too; the share of one core that it takes is printed.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from optuna.trial import FrozenTrial

import vitnas
from vitnas.search.ledger import Ledger, Settings
from vitnas.search.remote import RemoteLedger
from vitnas.testing.servers import grpc_proxy, postgres

SPACE = vitnas.space("autoformer-tiny")
SETTINGS = Settings(SPACE, (), "random", {}, 0)
COSTS = {"params": 6e6, "macs": 1.3e9}


class Remote(RemoteLedger):
    """One whose run keeps no copy: that is the work of one process a machine."""

    def _keep(self, trials: list[FrozenTrial]) -> None:
        pass


@contextlib.contextmanager
def storages(kinds: list[str], folder: Path) -> Iterator[dict[str, str | None]]:
    """Start what is needed and yield the addresses."""
    with contextlib.ExitStack() as stack:
        found: dict[str, str | None] = {}
        if "journal" in kinds:
            found["journal"] = None
        if "postgresql" in kinds:
            found["postgresql"] = stack.enter_context(postgres()).address
        if "grpc" in kinds:
            found["grpc"] = stack.enter_context(grpc_proxy(folder))
        yield found


@dataclass
class Load:
    """What came of it."""

    trials: int = 0
    busy: float = 0.0  # seconds that workers spent on the ledger
    slowest: float = 0.0  # of all groups
    lock: threading.Lock = field(default_factory=threading.Lock)


def simulate(
    address: str | None, folder: Path, workers: int, group: int, seconds: float, duration: float
) -> tuple[Load, float, float]:
    """Return what so many workers did in `duration` seconds, the seconds, and the CPU's seconds."""
    load, indices = Load(), iter(range(10**9))
    end_of_start = threading.Barrier(workers + 1)
    stop = threading.Event()

    def work(number: int) -> None:
        made = Ledger(folder, SETTINGS, join=True) if address is None else None
        with made or Remote(folder, SETTINGS, address or "") as ledger:
            end_of_start.wait(timeout=60)
            stop.wait(seconds * group * number / workers)  # not all in step
            while not stop.is_set():
                start = time.perf_counter()
                with load.lock:
                    mine = [next(indices) for _ in range(group)]
                ledger.claims.look(mine)
                ledger.claims.take(mine)
                ledger.news()
                spent = time.perf_counter() - start
                stop.wait(seconds * group)
                start = time.perf_counter()
                with ledger.together():
                    for index in mine:
                        ledger.record(
                            SPACE.sample(index),
                            index=index,
                            origin="random",
                            parents=(),
                            generation=0,
                            costs=COSTS,
                            result={"score": 0.5, "loss": 1.0},
                            seconds=seconds,
                        )
                ledger.claims.release()
                spent += time.perf_counter() - start
                with load.lock:
                    load.trials += group
                    load.busy += spent
                    load.slowest = max(load.slowest, spent)

    threads = [threading.Thread(target=work, args=(n,), daemon=True) for n in range(workers)]
    for thread in threads:
        thread.start()
    end_of_start.wait(timeout=60)
    start, cpu = time.perf_counter(), time.process_time()
    stop.wait(duration)
    stop.set()
    for thread in threads:
        thread.join()
    return load, time.perf_counter() - start, time.process_time() - cpu


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description="A ledger under the load of many workers.")
    parser.add_argument("--kinds", nargs="+", default=["postgresql", "grpc"])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 10, 40])
    parser.add_argument("--trial", type=float, default=4.0, help="seconds of an evaluation")
    parser.add_argument("--group", type=int, default=1, help="trials evaluated together")
    parser.add_argument("--duration", type=float, default=12.0)
    given = parser.parse_args()
    columns = "workers", "offered/s", "done/s", "ledger ms/trial", "slowest s", "CPU of clients"
    print("storage", *columns, sep=" | ")
    with tempfile.TemporaryDirectory() as place, storages(given.kinds, Path(place)) as found:
        for kind, address in found.items():
            for workers in given.workers:
                folder = Path(place) / kind / str(workers)
                load, wall, cpu = simulate(
                    address, folder, workers, given.group, given.trial, given.duration
                )
                print(
                    kind,
                    workers,
                    f"{workers / given.trial:.1f}" if given.trial else "-",
                    f"{load.trials / wall:.1f}",
                    f"{1e3 * load.busy / max(load.trials, 1):.1f}",
                    f"{load.slowest:.2f}",
                    f"{cpu / wall:.0%}",
                    sep=" | ",
                    flush=True,
                )


if __name__ == "__main__":
    main()
