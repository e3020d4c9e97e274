"""`vitnas search`."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitnas.cli.log import say, table
from vitnas.cli.usage import (
    MaybeName,
    MaybeNumber,
    MaybeQuantity,
    MaybeRoot,
    Name,
    Number,
    Settings,
)
from vitnas.errors import InputError

if TYPE_CHECKING:
    from vitnas.search.ledger import Record
    from vitnas.search.limits import Limit
    from vitnas.space import Space


def search(
    run: Path,
    *,
    strategy: Name = "evolution",
    trials: MaybeNumber = None,
    max_params: MaybeQuantity = None,
    min_params: MaybeQuantity = None,
    max_macs: MaybeQuantity = None,
    min_macs: MaybeQuantity = None,
    name: MaybeName = None,
    data: MaybeName = None,
    root: MaybeRoot = None,
    images: MaybeNumber = None,
    batch_size: Number = 256,
    seed: Number = 0,
    device: Name = "auto",
    options: Settings = (),
) -> list[Record]:
    """Search a trained supernet; the same command continues a search that was stopped or killed.

    Subnets are ranked by top-1 on the search split, which training held out; test is not touched.

    Args:
        run: the folder of a run, or of a supernet.
        strategy: evolution (AutoFormer's) or random.
        trials: evaluate this many subnets; by default what the strategy plans.
        max_params: at most this many parameters, such as 6M.
        min_params: at least this many parameters.
        max_macs: at most this many multiply-adds an image, such as 1.3G.
        min_macs: at least this many multiply-adds an image.
        name: of this search inside the run; by default the strategy.
        data: a data set, where the supernet does not say which.
        root: where the data lies, for those that need it.
        images: rank on this many images of the search split, drawn per class; by default all.
        batch_size: images evaluated together.
        seed: of the search.
        device: auto, cpu, cuda, cuda:1 or mps.
        options: a setting of the strategy, such as population=20 or generations=5.
    """
    # Torch takes seconds to load, so names and numbers are looked at before.
    from vitnas import run as layout
    from vitnas.search.limits import check_possible
    from vitnas.search.searcher import read_options
    from vitnas.train.reading import parse_override

    given = read_options(strategy, dict(map(parse_override, options)))
    limits = _limits(max_params, min_params, max_macs, min_macs)
    if name is not None and (name in ("", ".", "..") or Path(name).name != name):
        raise InputError(f"name is {name!r}; it must be a plain name, as of a file")
    source = layout.supernet_folder(run)

    from vitnas.cli.progress import SearchProgress
    from vitnas.cost import macs, params
    from vitnas.data.cache import eval_cache
    from vitnas.evaluate import evaluate_subnets
    from vitnas.folder import load, read_config
    from vitnas.search.study import search as run_search
    from vitnas.supernet import Supernet
    from vitnas.train.devices import resolve_device

    target = resolve_device(device)
    record = read_config(source)
    net = load(source)
    if not isinstance(net, Supernet) or net.space is None:
        raise InputError(
            f"{source} is no supernet with a search space; `vitnas convert --space` gives one to a "
            "foreign supernet"
        )
    config = net.config.to_dict()
    costs = {"params": partial(params, **config), "macs": partial(macs, **config)}
    check_possible(net.space, limits, costs)  # before images are decoded, which can take minutes
    opened = layout.open_model_data(record, data, root)
    layout.check_classes(record, opened)
    split = eval_cache(opened.search, layout.model_input(record, opened), folder=run / "cache")
    if images is not None:
        split = split.subset(images, seed)

    def score(arch: Any) -> dict[str, float]:
        (found,) = evaluate_subnets(net, [arch], split, batch_size=batch_size, device=target)
        return {"score": found.top1, "top5": found.top5, "loss": found.loss}

    with SearchProgress(trials) as shown:
        records = run_search(
            net.space,
            score,
            strategy=strategy,
            options=given,
            limits=limits,
            costs=costs,
            trials=trials,
            seed=seed,
            folder=run / layout.SEARCHES / (name or strategy),
            evaluated_on=f"search split of {opened.name}, {len(split)} images, weights "
            f"{layout.fingerprint(source)}",
            on_trial=shown,
        )
    title = f"{name or strategy}: {len(records)} subnets, top-1 on {len(split)} search images"
    _show(records, net.space, title)
    return records


def best(records: list[Record]) -> Record:
    """Return the highest score; of equals the lower loss on the same images, then the earlier.

    A small search split has few distinct accuracies, so equals are common.
    """
    return min(records, key=_order)


def _order(record: Record) -> tuple[float, float, int]:
    return -record.score, record.metrics.get("loss", 0.0), record.number


def _limits(
    max_params: str | None, min_params: str | None, max_macs: str | None, min_macs: str | None
) -> tuple[Limit, ...]:
    from vitnas.search.limits import Limit, parse_quantity

    def read(text: str | None) -> float | None:
        return None if text is None else parse_quantity(text)

    given = {"params": (min_params, max_params), "macs": (min_macs, max_macs)}
    return tuple(
        Limit(metric, read(low), read(high))
        for metric, (low, high) in given.items()
        if low is not None or high is not None
    )


def _show(records: list[Record], space: Space, title: str) -> None:
    """Print the best subnets, and the very best with all its genes."""
    from vitnas.report.figures.style import quantity
    from vitnas.search.summary import summary

    if not records:
        say(f"{title}; there is none")
        return
    top = sorted(records, key=_order)[:5]
    rows = [
        [
            str(record.number),
            f"{record.score:.2f}",
            f"{record.metrics['loss']:.4f}",
            f"{record.metrics['params']:,.0f}",
            quantity(record.metrics["macs"]),
            *(f"{value:.4g}" for value in summary(space, record.arch).values()),
        ]
        for record in top
    ]
    genes = [re.sub("^(mean|total)_", r"\1\n", name) for name in summary(space, top[0].arch)]
    table(title, ["trial", "top-1", "loss", "params", "MACs", *genes], rows, left=0)
    say(f"best: {top[0].arch.to_json()}")
