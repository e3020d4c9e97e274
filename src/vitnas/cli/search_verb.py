"""`vitnas search`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vitnas.cli.log import say, table
from vitnas.cli.measuring import read_measure, search_costs
from vitnas.cli.scoring import by_accuracy, by_proxy, check_names, find_predictor, tell_agreement
from vitnas.cli.searching import load_supernet, read_limits, training_prior, with_objectives
from vitnas.cli.usage import (
    Least,
    MaybeName,
    MaybeNumber,
    MaybeQuantity,
    MaybeRoot,
    Measures,
    Most,
    Name,
    Names,
    Number,
    NumberOrAuto,
    Settings,
)
from vitnas.errors import InputError
from vitnas.search.ledger import TOP1

if TYPE_CHECKING:
    from vitnas.search import ledger
    from vitnas.search.ledger import Record


def search(
    run: Path,
    *,
    strategy: Name = "evolution",
    trials: MaybeNumber = None,
    max_params: MaybeQuantity = None,
    min_params: MaybeQuantity = None,
    max_macs: MaybeQuantity = None,
    min_macs: MaybeQuantity = None,
    max_latency: MaybeQuantity = None,
    min_latency: MaybeQuantity = None,
    max_memory: MaybeQuantity = None,
    min_memory: MaybeQuantity = None,
    most: Most = (),
    least: Least = (),
    objective: Names = (),
    measure: Measures = (),
    tied: Literal["on", "off"] = "off",
    name: MaybeName = None,
    data: MaybeName = None,
    root: MaybeRoot = None,
    images: MaybeNumber = None,
    batch_size: NumberOrAuto = "auto",
    racing: Literal["on", "off"] = "on",
    scorer: Name = TOP1,
    predictor: MaybeName = None,
    oversample: MaybeNumber = None,
    seed: Number = 0,
    device: Name = "auto",
    options: Settings = (),
) -> list[Record]:
    """Search a trained supernet; the same command continues a search that was stopped or killed.

    Subnets are ranked by top-1 on the search split, which training held out; test is not touched.
    docs/strategies.md says what each strategy is for.

    Args:
        run: the folder of a run, or of a supernet.
        strategy: evolution (AutoFormer's), nsga2 (ViTAS's, a whole front), slimming (AutoSlim's, a
            subnet for each budget), mmrazor, regularized (NNI's), local, tpe, gp, grid or random.
        trials: evaluate this many subnets; by default what the strategy plans.
        max_params: at most this many parameters, such as 6M.
        min_params: at least this many parameters.
        max_macs: at most this many multiply-adds an image, such as 1.3G.
        min_macs: at least this many multiply-adds an image.
        max_latency: at most this long for a batch, such as 5ms; measured here, by kind of block.
        min_latency: at least this long for a batch.
        max_memory: at most this much for activations at inference, such as 100MB.
        min_memory: at least this much for activations.
        most: at most this much of any metric: params, macs, latency, memory, or a count of an
            original, such as cream=1.4G.
        least: at least this much of any metric.
        objective: a metric to minimize beside the score, with a strategy that can (nsga2).
        measure: what latency and memory are for, such as batch_size=8, threads=1, dtype=bfloat16,
            backend=compile (or onnxruntime) or device=cpu; by default one image in float32 on
            --device, run by torch without a compiler.
        tied: on searches only subnets whose layers are all equal, or all of a stage.
        name: of this search inside the run; by default the strategy.
        data: a data set, where the supernet does not say which.
        root: where the data lies, for those that need it.
        images: rank on this many images of the search split, drawn per class; by default all.
        batch_size: images evaluated together; auto measures once which is fastest here.
        racing: stop an evaluation once its subnet can be none of the best and on no front of
            accuracy against costs, which changes neither; off evaluates every subnet to the end.
        scorer: top-1, or a zero-cost proxy, synflow or dss: of untrained subnets, without images,
            no accuracy.
        predictor: gbrt or gp, which learn from the scores so far, or a proxy: of several proposals
            the one with the best prediction is evaluated.
        oversample: among how many proposals the predictor chooses; by default 4.
        seed: of the search.
        device: auto, cpu, cuda, cuda:1 or mps.
        options: a setting of the strategy, such as population=20, initial=prior (start from what
            training has learned about architectures) or targets=[1.3G,1G] of slimming.
    """
    # Torch takes seconds to load, so names and numbers are looked at before.
    from vitnas import run as layout
    from vitnas.search.searcher import read_options
    from vitnas.train.reading import parse_override

    chosen = with_objectives(strategy, dict(map(parse_override, options)), objective)
    given = read_options(strategy, chosen)
    check_names(scorer, predictor, oversample)
    flags = {
        "params": (min_params, max_params),
        "macs": (min_macs, max_macs),
        "latency": (min_latency, max_latency),
        "memory": (min_memory, max_memory),
    }
    limits, measures = read_limits(flags, least, most), read_measure(measure)
    if name is not None and (name in ("", ".", "..") or Path(name).name != name):
        raise InputError(f"name is {name!r}; it must be a plain name, as of a file")
    source = layout.supernet_folder(run)

    from vitnas.cli.progress import SearchProgress
    from vitnas.devices import resolve_device
    from vitnas.search import ledger
    from vitnas.search.answer import answers
    from vitnas.search.limits import Window
    from vitnas.search.searcher import make_searcher
    from vitnas.search.study import search as run_search

    target = str(resolve_device(device))
    net, space = load_supernet(source)
    space = space.with_tied() if tied == "on" else space
    name = name or _default_name(strategy, tied == "on", scorer, predictor)
    folder = run / layout.SEARCHES / name
    costs, measured = search_costs(
        run, folder, space, net.config.to_dict(), limits, given, device, measures
    )
    window = Window(limits, costs)
    if given.get("initial") == "prior":
        given["prior"] = training_prior(run, net, space, window)
    make_searcher(strategy, space, window, seed, given)  # refuses options that don't fit
    if scorer == TOP1:
        scoring = by_accuracy(
            run,
            source,
            net,
            data=data,
            root=root,
            images=images,
            batch_size=batch_size,
            device=target,
            seed=seed,
            racing=racing == "on",
        )
    else:
        scoring = by_proxy(scorer, net.config.to_dict(), seed)
    with SearchProgress(trials) as shown:

        def on_trial(record: Record) -> None:
            measured.keep(folder)
            shown(record)

        records = run_search(
            space,
            scoring.evaluate,
            strategy=strategy,
            options=given,
            limits=limits,
            costs=costs,
            trials=trials,
            seed=seed,
            folder=folder,
            racing=racing == "on",
            evaluated_on=scoring.told,
            scorer=scorer,
            predictor=find_predictor(predictor, space, net.config.to_dict(), seed),
            oversample=4 if oversample is None else oversample,
            on_trial=on_trial,
        )
    title = f"{name}: {len(records)} subnets, {scoring.what}"
    settings = ledger.Settings(space, limits, strategy, given, seed, scoring.told, scorer)
    _show(records, answers(settings, records, costs), settings, costs, title)
    if predictor is not None:
        tell_agreement(predictor, records)
    for line in measured.told():
        say(line)
    return records


def _default_name(strategy: str, tied: bool, scorer: str, predictor: str | None) -> str:
    parts = [strategy, *(["tied"] if tied else []), *([] if scorer == TOP1 else [scorer])]
    return "-".join([*parts, *(["with", predictor] if predictor else [])])


def _show(
    records: list[Record],
    top: list[Record],
    settings: ledger.Settings,
    costs: Iterable[str],
    title: str,
) -> None:
    """Print what was found, and its first with all its genes."""
    from vitnas.report.figures.style import quantity
    from vitnas.search.limits import unit
    from vitnas.search.summary import summary

    if not top:
        say(f"{title}; there is none")
        return
    stopped = sum(record.state == "stopped" for record in records)
    space, measured = settings.space, settings.scorer == TOP1
    others = {
        name: unit(name, max(record.metrics[name] for record in top))
        for name in costs
        if name not in ("params", "macs")
    }
    rows = [
        [
            str(record.number),
            *(
                [f"{record.score:.2f}", f"{record.metrics['loss']:.4f}"]
                if measured
                else [f"{record.score:.6g}"]
            ),
            f"{record.metrics['params']:,.0f}",
            quantity(record.metrics["macs"]),
            *(
                f"{record.metrics[name] / size:.4g}" if symbol else quantity(record.metrics[name])
                for name, (symbol, size) in others.items()
            ),
            *(f"{value:.4g}" for value in summary(space, record.arch).values()),
        ]
        for record in top
    ]
    genes = [re.sub("^(mean|total)_", r"\1\n", name) for name in summary(space, top[0].arch)]
    scores = [settings.scorer, *(["loss"] if measured else [])]
    named = [f"{name}\n{symbol}".strip() for name, (symbol, _) in others.items()]
    table(title, ["trial", *scores, "params", "MACs", *named, *genes], rows, left=0)
    if stopped:
        say(f"{stopped} subnets were stopped early: they can't be among these, nor on a front")
    say(f"best: {top[0].arch.to_json()}")
