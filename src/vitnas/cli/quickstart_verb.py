"""`vitnas quickstart`."""

from __future__ import annotations

import platform
import time
from pathlib import Path
from typing import Annotated

import tyro

from vitnas.cli.log import console

LIMIT = "50k"


def quickstart(
    run: Annotated[Path, tyro.conf.Positional] = Path("quickstart"),
    *,
    seed: int = 0,
    trials: int = 100,
) -> Path:
    """Do the whole journey on scikit-learn's 8 x 8 digits: about two minutes on two cores.

    Train a supernet; search it at random and by evolution for the best subnet of at most 50k
    parameters, on images that training held out; extract the smallest, the searched and the
    largest subnet; fine-tune each; evaluate all once on the test images; write a report.

    Args:
        run: the folder of the run; the same command continues where it was stopped.
        seed: of training and search.
        trials: subnets that each search evaluates.
    """
    from vitnas.cli import evaluate, extract, finetune, search, train
    from vitnas.report.run import report_run

    start = time.perf_counter()
    seeded = (f"seed={seed}",)
    _title("1/5 Train a supernet on the digits' train split")
    if not train("digits", run, device="cpu", overrides=seeded).finished:
        raise KeyboardInterrupt
    _title(f"2/5 Search: the best subnet of at most {LIMIT} parameters, on the search split")
    for strategy, options in (("random", ()), ("evolution", _evolution(trials))):
        search(
            run,
            strategy=strategy,
            trials=trials,
            max_params=LIMIT,
            seed=seed,
            device="cpu",
            options=options,
        )
    _title("3/5 Extract and fine-tune the smallest, the searched and the largest subnet")
    for name in ("smallest", "best", "largest"):
        inherited = extract(run, arch=name, output=run / "models" / _NAMES[name])
        tuned = inherited.with_name(f"{inherited.name}-finetuned")
        result = finetune(
            inherited, tuned, recipe="digits-finetune", device="cpu", overrides=seeded
        )
        if not result.finished:
            raise KeyboardInterrupt
    _title("4/5 Evaluate once on the test split, which nothing was selected on")
    for name in _NAMES.values():
        for folder in (run / "models" / name, run / "models" / f"{name}-finetuned"):
            evaluate(folder, device="cpu")
    _title("5/5 Report")
    seconds = time.perf_counter() - start
    machine = f"{platform.machine()}, {platform.system()}, Python {platform.python_version()}"
    page = report_run(run, {"machine": machine, "time": f"{seconds:.0f} s in all"})
    _compare(run)
    console().print(f"report: {page}   ({seconds:.0f} s in all)", highlight=False)
    return page


_NAMES = {"smallest": "smallest", "best": "searched", "largest": "largest"}


def _evolution(trials: int) -> tuple[str, ...]:
    """Return settings that fill the trials with about five generations."""
    size = max(trials // 5, 4)
    return (
        f"population={size}",
        f"parents={max(size // 4, 2)}",
        f"mutants={size // 2}",
        f"crossovers={size // 2}",
    )


def _title(text: str) -> None:
    console().rule(text, align="left")


def _compare(run: Path) -> None:
    from vitnas.report.contents import read_contents
    from vitnas.report.nets import nets
    from vitnas.report.tables import comparison_table

    console().print(comparison_table([net.row for net in nets(read_contents(run))]))
