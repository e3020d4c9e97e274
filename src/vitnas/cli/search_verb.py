"""`vitnas search`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from vitnas.cli.log import table

if TYPE_CHECKING:
    from vitnas.arch import Value
    from vitnas.search.ledger import Record
    from vitnas.search.limits import Limit
    from vitnas.space import Space


def search(
    run: Path,
    *,
    strategy: str = "evolution",
    trials: int | None = None,
    max_params: str | None = None,
    min_params: str | None = None,
    max_macs: str | None = None,
    min_macs: str | None = None,
    name: str | None = None,
    data: str | None = None,
    root: str | None = None,
    images: int | None = None,
    batch_size: int = 256,
    seed: int = 0,
    device: str = "auto",
    options: Annotated[tuple[str, ...], tyro.conf.arg(name="set", metavar="FIELD=VALUE")] = (),
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
        options: settings of the strategy, such as population=20 or generations=5.
    """
    from vitnas import run as layout
    from vitnas.cli.progress import SearchProgress
    from vitnas.cost import macs, params
    from vitnas.data.cache import eval_cache
    from vitnas.evaluate import evaluate_subnets
    from vitnas.folder import load, read_config
    from vitnas.search.study import search as run_search
    from vitnas.supernet import Supernet
    from vitnas.train.devices import resolve_device
    from vitnas.train.reading import parse_override

    source = layout.supernet_folder(run)
    record = read_config(source)
    net = load(source)
    if not isinstance(net, Supernet) or net.space is None:
        from vitnas.errors import InputError

        raise InputError(f"{source} is no supernet with a search space")
    opened = layout.open_model_data(record, data, root)
    layout.check_classes(record, opened)
    split = eval_cache(opened.search, layout.model_input(record, opened), folder=run / "cache")
    if images is not None:
        split = split.subset(images, seed)
    target = resolve_device(device)

    def score(arch: Any) -> dict[str, float]:
        (found,) = evaluate_subnets(net, [arch], split, batch_size=batch_size, device=target)
        return {"score": found.top1, "top5": found.top5, "loss": found.loss}

    config = net.config.to_dict()
    with SearchProgress(trials) as shown:
        records = run_search(
            net.space,
            score,
            strategy=strategy,
            options=dict(map(parse_override, options)),
            limits=_limits(max_params, min_params, max_macs, min_macs),
            costs={"params": partial(params, **config), "macs": partial(macs, **config)},
            trials=trials,
            seed=seed,
            folder=run / layout.SEARCHES / (name or strategy),
            evaluated_on=f"search split of {opened.name}, {len(split)} images, weights "
            f"{layout.fingerprint(source)}",
            on_trial=shown,
        )
    title = f"{strategy} search, {len(records)} subnets, top-1 on {len(split)} search images"
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
    searched = [choice.name for choice in space.choices if choice.varies or len(choice.values) > 1]
    top = sorted(records, key=_order)[:5]
    rows = [
        [
            str(record.number),
            f"{record.score:.2f}",
            f"{record.metrics['loss']:.4f}",
            f"{record.metrics['params']:,.0f}",
            f"{record.metrics['macs'] / 1e6:,.1f} M",
            " ".join(f"{gene}={_values(record.arch[gene])}" for gene in searched),
        ]
        for record in top
    ]
    table(title, ["trial", "top-1", "loss", "params", "MACs", "architecture"], rows)


def _values(value: Value) -> str:
    return ",".join(map(_values, value)) if isinstance(value, tuple) else str(value)
