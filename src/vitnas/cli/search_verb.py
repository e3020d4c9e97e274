"""`vitnas search`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

from tyro.conf import arg

from vitnas.cli.log import say, table
from vitnas.cli.scoring import tell_agreement
from vitnas.cli.search_setup import prepare
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
from vitnas.errors import check_fields
from vitnas.search.ledger import TOP1

if TYPE_CHECKING:
    from vitnas.search.ledger import Record
    from vitnas.search.ledger import Settings as SearchSettings

MaybeAddress: TypeAlias = Annotated[str | None, arg(metavar="ADDRESS", help_behavior_hint="")]


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
    skip_broken: Literal["no", "yes"] = "no",
    batch_size: NumberOrAuto = "auto",
    racing: Literal["on", "off"] = "on",
    scorer: Name = TOP1,
    predictor: MaybeName = None,
    oversample: MaybeNumber = None,
    seed: Number = 0,
    device: Name = "auto",
    workers: Number = 1,
    join: Literal["on", "off"] = "off",
    ledger: MaybeAddress = None,
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
        skip_broken: yes leaves out images of the search split that can't be read, and names them.
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
        workers: search with this many processes here, which divide the threads (or GPUs); they find
            what one finds.
        join: on helps a search that is under way here, with the same words otherwise.
        ledger: where workers on many machines meet: postgresql://USER@HOST/DATABASE or
            grpc://HOST:PORT. The same command on another machine joins.
        options: a setting of the strategy, such as population=20, initial=prior (start from what
            training has learned about architectures) or targets=[1.3G,1G] of slimming.
    """
    asked = SimpleNamespace(**locals())
    check_fields(asked, workers=(workers >= 1, "at least 1"))
    prepared = prepare(asked)

    from vitnas.cli.progress import SearchProgress
    from vitnas.cli.search_workers import search_together
    from vitnas.search.answer import answers

    settings, costs = prepared.settings, prepared.costs
    with SearchProgress(prepared.most_trials) as shown:
        if workers > 1:
            records = search_together(asked, prepared, shown)
        else:
            records = prepared.run(shown, join=join == "on")
    title = f"{prepared.name}: {len(records)} subnets, {prepared.scoring.what}"
    _show(records, answers(settings, records, costs), settings, costs, title)
    if predictor is not None:
        tell_agreement(predictor, records)
    for line in prepared.measured.told():
        say(line)
    return records


def _show(
    records: list[Record],
    top: list[Record],
    settings: SearchSettings,
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
