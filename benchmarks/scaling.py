"""What a second worker brings.

Real searches of AutoFormer-T's space in one and in two processes on one journal, whose evaluation
keeps one core busy for a given time in place of a network's. So the speed-up is that of the scheme,
with the waiting at the end of generations, on cores that share nothing. The rate is that between
the first and the last record. What a trial costs in each ledger: `ledger_load.py`.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import vitnas
from vitnas.arch import Arch
from vitnas.search.journal import open_journal
from vitnas.search.racing import one_by_one
from vitnas.search.study import search
from vitnas.search.workers import run_workers


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="What a second worker brings.")
    parser.add_argument("--trials", type=int, default=600)
    parser.add_argument("--busy", type=float, default=0.05, help="seconds of an evaluation")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        print("strategy | workers | trials/s | speed-up")
        for strategy in ("evolution", "random"):
            first = 0.0
            for workers in (1, 2):
                folder = Path(place) / f"{strategy}{workers}"
                work = partial(take_part, folder, strategy, given.trials, given.busy)
                run_workers(work, workers, lambda: False)
                rate = rate_of(folder)
                first = first or rate
                print(f"{strategy} | {workers} | {rate:.2f} | {rate / first:.2f}", flush=True)


def take_part(folder: Path, strategy: str, trials: int, busy: float, place: int) -> None:
    """Search as one of the workers."""

    def evaluate(arch: Arch) -> Mapping[str, float]:
        end = time.process_time() + busy
        while time.process_time() < end:
            pass
        return {"score": float(sum(arch.num_heads))}

    search(
        vitnas.space("autoformer-tiny"),
        one_by_one(evaluate),
        strategy=strategy,
        costs={},
        trials=trials,
        folder=folder,
        racing=False,
        join=True,
    )


def rate_of(folder: Path) -> float:
    """Return trials a second, after those that were recorded together with the first."""
    storage = open_journal(folder / "study.journal", write=False)
    trials = storage.get_all_trials(0)
    ends = [trial.datetime_complete.timestamp() for trial in trials if trial.datetime_complete]
    first = min(ends)
    return sum(end > first + 0.2 for end in ends) / (max(ends) - first)


if __name__ == "__main__":
    main()
