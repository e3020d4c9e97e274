"""What searching a supernet and evolving a space share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vitnas.errors import InputError

if TYPE_CHECKING:
    from vitnas.data.cache import EvalSet
    from vitnas.data.sources import Data
    from vitnas.data.transforms import Input
    from vitnas.search.limits import Limit, Window
    from vitnas.space import Space
    from vitnas.supernet import Supernet


def read_limits(
    max_params: str | None, min_params: str | None, max_macs: str | None, min_macs: str | None
) -> tuple[Limit, ...]:
    """Return the limits that the flags of a command give.

    Raises:
        InputError: a flag is no quantity, or they contradict each other.
    """
    from vitnas.search.limits import Limit, parse_quantity

    def read(text: str | None) -> float | None:
        return None if text is None else parse_quantity(text)

    given = {"params": (min_params, max_params), "macs": (min_macs, max_macs)}
    return tuple(
        Limit(metric, read(low), read(high))
        for metric, (low, high) in given.items()
        if low is not None or high is not None
    )


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
