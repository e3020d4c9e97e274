"""A toy search, and the same search ended by a fault: interrupted.py FOLDER STRATEGY FAULT COUNT.

Faults: `evaluation` kills the process in its COUNT-th evaluation, `sync` in its COUNT-th write to
the ledger, `torn` in that write after a part of the line; `full` lets no file grow beyond COUNT
bytes, as a full disk does.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vitnas.arch import Arch
from vitnas.search.ledger import Record
from vitnas.search.limits import Costs, Limit
from vitnas.search.study import search
from vitnas.testing.searchers import SMALL, cost, score

TRIALS = 30
COSTS: Costs = {"params": cost, "macs": lambda arch: 10 * cost(arch)}
OPTIONS = {
    "random": {},
    "evolution": {"population": 8, "parents": 3, "mutants": 3, "crossovers": 3, "generations": 3},
}


def evaluate(arch: Arch) -> dict[str, float]:
    """Return the toy score and a metric beside it."""
    return {"score": score(arch), "top5": score(arch) + 1}


def run(
    folder: Path,
    strategy: str = "evolution",
    evaluate: Callable[[Arch], Mapping[str, float]] = evaluate,
    **changes: Any,
) -> list[Record]:
    """Search with the toy score."""
    settings: dict[str, Any] = {
        "strategy": strategy,
        "options": OPTIONS.get(strategy, {}),
        "limits": [Limit("params", 1500, 3000)],
        "costs": COSTS,
        "trials": TRIALS,
        "seed": 5,
        **changes,
    }
    return search(SMALL, evaluate, folder=folder, **settings)


def main(folder: Path, strategy: str, fault: str, count: int) -> None:
    """Run the search until the fault."""
    events = 0

    def deadly_evaluate(arch: Arch) -> dict[str, float]:
        nonlocal events
        events += 1
        if events == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return evaluate(arch)

    def deadly_sync(fd: Any) -> None:
        nonlocal events
        events += 1
        if events == count:
            if fault == "torn":
                os.truncate(fd, os.fstat(fd).st_size - 7)
            os.kill(os.getpid(), signal.SIGKILL)

    if fault == "full":
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (count, count))
    elif fault != "evaluation":
        os.fsync = deadly_sync
    run(folder, strategy, deadly_evaluate if fault == "evaluation" else evaluate)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]))
