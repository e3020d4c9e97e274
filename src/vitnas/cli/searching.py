"""What searching a supernet and evolving a space share."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitnas.errors import InputError

if TYPE_CHECKING:
    from vitnas.data.cache import EvalSet
    from vitnas.data.sources import Data
    from vitnas.data.transforms import Input
    from vitnas.search.limits import Limit, Window
    from vitnas.space import Space
    from vitnas.supernet import Supernet


def read_limits(
    flags: Mapping[str, tuple[str | None, str | None]],
    least: Sequence[str] = (),
    most: Sequence[str] = (),
) -> tuple[Limit, ...]:
    """Return the limits that a command gives: flags of their own, `--min` and `--max NAME=VALUE`.

    Raises:
        InputError: a metric is unknown, a value is no quantity or given twice, or two contradict
            each other.
    """
    from vitnas.cost.metrics import check_metrics
    from vitnas.search.limits import Limit, parse_quantity

    ends = {name: list(pair) for name, pair in flags.items()}
    for end, (flag, given) in enumerate((("--min", least), ("--max", most))):
        for text in given:
            name, equals, value = text.partition("=")
            if not equals:
                raise InputError(f"{flag} {text!r} must look like NAME=VALUE, e.g. params=6M")
            check_metrics([name])
            pair = ends.setdefault(name, [None, None])
            if pair[end] is not None:
                raise InputError(f"{flag} of {name} is given twice")
            pair[end] = value

    def read(text: str | None, metric: str) -> float | None:
        return None if text is None else parse_quantity(text, metric)

    return tuple(
        Limit(metric, read(low, metric), read(high, metric))
        for metric, (low, high) in ends.items()
        if low is not None or high is not None
    )


def with_objectives(
    strategy: str, options: Mapping[str, Any], objectives: Sequence[str]
) -> dict[str, Any]:
    """Return the options of a strategy, with the metrics that it is to minimize beside the score.

    Raises:
        InputError: the strategy knows the score only, or a metric is unknown.
    """
    from vitnas.cost.metrics import check_metrics
    from vitnas.search.searcher import STRATEGIES, find_strategy

    def takes(name: str) -> bool:
        return "minimize" in {field.name for field in dataclasses.fields(STRATEGIES[name].options)}

    find_strategy(strategy)
    check_metrics(objectives)
    if not objectives:
        return dict(options)
    if not takes(strategy):
        able = ", ".join(filter(takes, STRATEGIES))
        raise InputError(
            f"--objective {objectives[0]}: strategy {strategy} has one objective, the score; "
            f"strategies with more: {able}"
        )
    if "minimize" in options:
        raise InputError("the objectives are given twice: --objective and --set minimize")
    return {**options, "minimize": tuple(objectives)}


def load_supernet(folder: Path) -> tuple[Supernet, Space]:
    """Load a supernet that can be searched, and its space.

    Raises:
        InputError: the folder holds another model, or a supernet without a space.
    """
    from vitnas.folder import load
    from vitnas.supernet import Supernet

    net = load(folder)
    if not isinstance(net, Supernet) or net.space is None:
        raise InputError(
            f"{folder} is no supernet with a search space; `vitnas convert --space` gives one to a "
            "foreign supernet"
        )
    return net, net.space


def search_split(
    run: Path, supernet: Path, data: Data, input: Input, images: int | None, seed: int
) -> tuple[EvalSet, str]:
    """Return the decoded search split, and a line that says what scores on it belong to."""
    from vitnas.data.cache import eval_cache
    from vitnas.run import fingerprint

    split = eval_cache(data.search, input, folder=run / "cache")
    if images is not None:
        split = split.subset(images, seed)
    weights = fingerprint(supernet)
    return split, f"search split of {data.name}, {len(split)} images, weights {weights}"


def training_prior(
    run: Path, net: Supernet, space: Space, window: Window
) -> dict[str, list[float]]:
    """Return the distribution of genes that the training of a run leads to, as an option.

    Raises:
        InputError: the run has no training, or one whose losses say nothing about architectures.
    """
    from vitnas.run import CONFIG
    from vitnas.search import prior
    from vitnas.train.history import trained_losses
    from vitnas.train.reading import load_recipe

    if not (run / CONFIG).is_file():
        raise InputError(
            f"initial=prior needs the losses of a training; {run} has no {CONFIG}, so it was not "
            "trained here"
        )
    recipe = load_recipe(run / CONFIG)
    losses = trained_losses(run / "metrics.jsonl", recipe, net, prior.KEPT)
    return prior.fit(space, losses, window).to_dict()
