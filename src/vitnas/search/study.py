"""Run a search: ask, evaluate, record, tell; and continue exactly after an interruption."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping
from numbers import Real
from pathlib import Path
from typing import Any

from vitnas.arch import Arch
from vitnas.errors import InputError
from vitnas.search.ledger import RESERVED, Ledger, Record, Settings
from vitnas.search.limits import Costs, Limit, Window, check_possible
from vitnas.search.searcher import Searcher, find_strategy, make_searcher, read_options
from vitnas.space import Space

logger = logging.getLogger(__name__)


def search(
    space: Space,
    evaluate: Callable[[Arch], Mapping[str, float]],
    *,
    strategy: str = "evolution",
    options: Mapping[str, Any] | None = None,
    limits: Iterable[Limit] = (),
    costs: Costs,
    trials: int | None = None,
    seed: int = 0,
    folder: str | Path,
    evaluated_on: str = "",
    on_trial: Callable[[Record], None] | None = None,
) -> list[Record]:
    """Search a space under limits and return the completed trials in the order proposed.

    `evaluate` returns at least `score`, of which higher is better; everything else it returns is
    recorded beside. `costs` are recorded for every architecture, limited or not. The search ends
    after `trials` completed evaluations, earlier ones of the same folder among them, or with the
    strategy's own schedule, or with the space, whichever comes first. `evaluated_on` names the
    weights and the split that the scores belong to. `on_trial` is called for every record, for
    those of an earlier run as well.

    The same call resumes a search that was interrupted or killed: the searcher is a deterministic
    function of the seed and the scores, so it is asked and told again what the ledger has, without
    an evaluation, and goes on from there. An evaluation that was under way is repeated. More
    `trials` continue a finished search.

    Raises:
        InputError: impossible limits, unknown names or options, a folder of another search, or a
            score that is missing or no finite number. Nothing is evaluated before all but the last
            are checked.
    """
    window = Window(tuple(limits), costs)
    settings = Settings(
        space, window.limits, strategy, read_options(strategy, options or {}), seed, evaluated_on
    )
    _check(settings, costs, trials)
    searcher = make_searcher(strategy, space, window, seed, settings.options)
    with Ledger(folder, settings) as ledger:
        known = {record.index: record for record in ledger.records() if record.state == "complete"}
        done: dict[Arch, Record] = {}
        while trials is None or len(done) < trials:
            arch = searcher.ask()
            if arch is None:
                logger.info("%s search is at its end after %d trials", strategy, len(done))
                break
            record = known.get(len(done)) or _evaluate(
                ledger, searcher, arch, evaluate, costs, done
            )
            if record.arch != arch:
                raise InputError(
                    f"trial {record.number} in {folder} is not what {strategy} search proposes "
                    "there: another version of vitnas wrote it; use another folder"
                )
            searcher.tell(arch, record.score, record.metrics)
            done[arch] = record
            if on_trial:
                on_trial(record)
    return list(done.values())


def _check(settings: Settings, costs: Costs, trials: int | None) -> None:
    if trials is not None and trials < 1:
        raise InputError(f"trials is {trials}; it must be at least 1")
    if trials is None and not find_strategy(settings.strategy).ends:
        raise InputError(
            f"{settings.strategy} search ends only with the space of "
            f"{settings.space.size():,} architectures: give a number of trials"
        )
    taken = sorted(RESERVED & set(costs))
    if taken:
        raise InputError(f"a cost can't be named {', '.join(taken)}: the ledger uses these names")
    check_possible(settings.space, settings.limits, costs)


def _evaluate(
    ledger: Ledger,
    searcher: Searcher,
    arch: Arch,
    evaluate: Callable[[Arch], Mapping[str, float]],
    costs: Costs,
    done: Mapping[Arch, Record],
) -> Record:
    lineage = searcher.lineage(arch)
    number = ledger.start(
        arch,
        index=len(done),
        costs={name: float(cost(arch)) for name, cost in costs.items()},
        origin=lineage.origin,
        parents=tuple(done[parent].number for parent in lineage.parents),
        generation=lineage.generation,
    )
    start = time.perf_counter()
    try:
        metrics = _checked(evaluate(arch), arch, costs)
    except BaseException as error:
        ledger.fail(number, repr(error))
        raise
    score = metrics.pop("score")
    return ledger.finish(number, score, metrics, time.perf_counter() - start)


def _checked(result: object, arch: Arch, costs: Costs) -> dict[str, float]:
    """Return the result as floats if it has a score and only finite numbers."""
    if not isinstance(result, Mapping) or "score" not in result:
        raise InputError(f"evaluate returned {result!r}, without a score, for {arch!r}")
    taken = sorted((RESERVED | set(costs)) & set(result) - {"score"})
    if taken:
        raise InputError(f"evaluate returned {', '.join(taken)}: the ledger uses these names")
    metrics: dict[str, float] = {}
    for name, value in result.items():
        if not isinstance(value, Real) or not math.isfinite(value):
            raise InputError(f"evaluate returned {name} {value!r}, no finite number, for {arch!r}")
        metrics[name] = float(value)
    return metrics
