"""A toy search, and the same search ended by a fault: interrupted.py FOLDER STRATEGY FAULT COUNT.

Faults: `evaluation` kills the process in its COUNT-th evaluation, `sync` in its COUNT-th sync of
the ledger, `torn` in that sync with a part of the last line missing; `full` lets no file grow
beyond COUNT bytes, as a full disk does.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vitnas.arch import Arch
from vitnas.search.ledger import Record
from vitnas.search.limits import Costs, Limit
from vitnas.search.racing import Evaluate, Hopeless, Result
from vitnas.search.study import search
from vitnas.testing.searchers import SMALL, cost, score

TRIALS = 30
TOGETHER = 3
BATCHES = 10
COSTS: Costs = {"params": cost, "macs": lambda arch: 10 * cost(arch)}
OPTIONS = {
    "random": {},
    "evolution": {"population": 8, "parents": 3, "mutants": 3, "crossovers": 3, "generations": 3},
    "regularized": {"population": 8, "sample": 3, "concurrency": 4},
    "local": {"initial": 4},
    "nsga2": {"population": 8, "generations": 4},
    "tpe": {"startup": 8, "concurrency": 4},
}
RACED = ("random", "evolution", "tpe")  # to the others every score matters


def evaluate(arch: Arch) -> dict[str, float]:
    """Return the toy score and a metric beside it."""
    return {"score": score(arch), "top5": score(arch) + 1}


def race(archs: Sequence[Arch], hopeless: Hopeless | None) -> list[Result]:
    """Let the bound fall to the score in 10 batches, and stop an arch that is hopeless."""
    return [_race(arch, hopeless) for arch in archs]


def _race(arch: Arch, hopeless: Hopeless | None) -> Result:
    for batch in range(1, BATCHES):
        at_most = score(arch) + (BATCHES - batch)
        if hopeless and hopeless(arch, at_most):
            return {"at_most": at_most, "images": batch}
    return evaluate(arch)


def noting(groups: list[Sequence[Arch]]) -> Evaluate:
    """Return `race` that notes which architectures it is given together."""

    def noted(archs: Sequence[Arch], hopeless: Hopeless | None) -> list[Result]:
        groups.append(archs)
        return race(archs, hopeless)

    return noted


def untouched(*_: object) -> list[Result]:
    """Evaluate, where nothing may be."""
    raise AssertionError("evaluated")


def costs(arch: Arch) -> dict[str, float]:
    """Return all costs of an architecture."""
    return {name: cost(arch) for name, cost in COSTS.items()}


def run(
    folder: Path, strategy: str = "evolution", evaluate: Evaluate = race, **changes: Any
) -> list[Record]:
    """Search with the toy score."""
    settings: dict[str, Any] = {
        "strategy": strategy,
        "options": OPTIONS.get(strategy, {}),
        "limits": [Limit("params", 1500, 3000)],
        "costs": COSTS,
        "trials": TRIALS,
        "seed": 5,
        "together": TOGETHER,
        **changes,
    }
    return search(SMALL, evaluate, folder=folder, **settings)


def main(folder: Path, strategy: str, fault: str, count: int) -> None:
    """Run the search until the fault."""
    events = 0

    def deadly_race(archs: Sequence[Arch], hopeless: Hopeless | None) -> list[Result]:
        nonlocal events
        events += len(archs)
        if events >= count:
            os.kill(os.getpid(), signal.SIGKILL)
        return race(archs, hopeless)

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
    run(folder, strategy, deadly_race if fault == "evaluation" else race)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]))
