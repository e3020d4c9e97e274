"""`vitnas quickstart`."""

from __future__ import annotations

import platform
import time
from pathlib import Path

from vitnas.cli.log import say, terminal, title
from vitnas.cli.usage import Number, PositionalFolder
from vitnas.errors import InputError

RECIPE, LIMIT = "digits", "50k"


def quickstart(
    run: PositionalFolder = Path("quickstart"),
    *,
    seed: Number = 0,
    trials: Number = 100,
) -> Path:
    """Do the whole journey on scikit-learn's 8 x 8 digits: two to four minutes on two cores.

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
    from vitnas.run import CONFIG

    if trials < 1:
        raise InputError(f"trials is {trials}; it must be at least 1")
    start, resumed = time.perf_counter(), (run / CONFIG).exists()
    seeded = (f"seed={seed}",)
    title("1/5 Train a supernet on the digits' train split")
    train(RECIPE, run, device="cpu", overrides=seeded)
    title(f"2/5 Search: the best subnet of at most {LIMIT} parameters, on the search split")
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
    title("3/5 Extract and fine-tune the smallest, the searched and the largest subnet")
    for name in ("smallest", "best", "largest"):
        folder = run / "models" / _NAMES[name]
        inherited = extract(run, arch=name, search="evolution", output=folder)
        tuned = inherited.with_name(f"{inherited.name}-finetuned")
        finetune(inherited, tuned, recipe="digits-finetune", device="cpu", overrides=seeded)
    title("4/5 Evaluate once on the test split, which nothing was selected on")
    for name in _NAMES.values():
        for folder in (run / "models" / name, run / "models" / f"{name}-finetuned"):
            evaluate(folder, device="cpu")
    title("5/5 Report")
    machine = f"{platform.machine()}, {platform.system()}, Python {platform.python_version()}"
    took = f"{time.perf_counter() - start:.0f} s {'since it was resumed' if resumed else 'in all'}"
    page = report_run(run, {"machine": machine, "time": took})
    _compare(run)
    say(f"report written to {page}, {took}")
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


def _compare(run: Path) -> None:
    from vitnas.report.contents import read_contents
    from vitnas.report.nets import nets
    from vitnas.report.tables import comparison_table

    terminal().print(comparison_table([net.row for net in nets(read_contents(run))]))
