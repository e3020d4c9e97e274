"""What scores the subnets of `vitnas search`, and what guesses which proposals are promising."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vitnas.cli.log import say
from vitnas.cli.searching import search_split
from vitnas.errors import InputError, unknown

if TYPE_CHECKING:
    from vitnas.data.cache import EvalSet
    from vitnas.search.ledger import Record
    from vitnas.search.predictor import Predictor
    from vitnas.search.racing import Evaluate
    from vitnas.space import Space
    from vitnas.supernet import Supernet


@dataclass(frozen=True)
class Scoring:
    """How a search scores: the evaluation, a line for the ledger, and what the score is."""

    evaluate: Evaluate
    told: str
    what: str


def check_names(scorer: str, predictor: str | None, oversample: int | None) -> None:
    """Check what a command was told, before anything slow is loaded.

    Raises:
        InputError: an unknown name, or two that don't go together.
    """
    from vitnas.search.ledger import TOP1
    from vitnas.search.predictor import LEARNED, PROXIES

    if scorer not in (TOP1, *PROXIES):
        raise unknown("scorer", scorer, (TOP1, *PROXIES))
    if predictor is not None and predictor not in (*LEARNED, *PROXIES):
        raise unknown("predictor", predictor, (*LEARNED, *PROXIES))
    if predictor == scorer:
        raise InputError(f"predictor {predictor} is the scorer itself; it has nothing to predict")
    if predictor is None and oversample is not None:
        raise InputError("--oversample says among how many a predictor chooses; give --predictor")
    if oversample is not None and oversample < 2:
        raise InputError(f"oversample is {oversample}, it must be at least 2 to choose among")


def by_accuracy(
    run: Path,
    supernet: Path,
    net: Supernet,
    *,
    data: str | None,
    root: str | None,
    skip_broken: bool,
    images: int | None,
    batch_size: int | Literal["auto"],
    device: str,
    seed: int,
    racing: bool,
) -> Scoring:
    """Score by top-1 on the search split; with `racing` it is made fit for that."""
    from vitnas import run as layout
    from vitnas.data.sources import without_broken
    from vitnas.folder import read_config

    record = read_config(supernet)
    opened = layout.open_model_data(record, data, root)
    if skip_broken:
        opened = without_broken(opened, "search")
    layout.check_classes(record, opened)
    input = layout.model_input(record, opened)
    split, told = search_split(run, supernet, opened, input, images, seed)
    evaluate = _evaluation(run, net, split, batch_size, device, seed if racing else None)
    return Scoring(evaluate, told, f"top-1 on {len(split)} search images")


def by_proxy(name: str, options: Mapping[str, Any], seed: int) -> Scoring:
    """Score by a zero-cost proxy of untrained models with these options."""
    from vitnas.proxies import of_arch
    from vitnas.search.racing import one_by_one

    score = of_arch(name, seed, **options)
    told = f"zero-cost proxy {name}, untrained weights of seed {seed}, no images"
    evaluate = one_by_one(lambda arch: {"score": score(arch)})
    return Scoring(evaluate, told, f"the zero-cost proxy {name}, no accuracy")


def find_predictor(
    name: str | None, space: Space, options: Mapping[str, Any], seed: int
) -> Predictor | None:
    """Return a predictor by name; `options` are those of the models that a proxy is computed on."""
    from vitnas.search.predictor import PROXIES, Proxy, learned

    if name is None:
        return None
    if name in PROXIES:
        from vitnas.proxies import of_arch

        return Proxy(name, of_arch(name, seed, **options))
    return learned(name, space)


def tell_agreement(predictor: str, records: Sequence[Record]) -> None:
    """Say how well a predictor ordered what was scored after it."""
    from vitnas.search.predictor import LEARNED, LEAST, agreement

    few = "too few subnets were predicted to say how well it does"
    if predictor in LEARNED:
        few += f"; it learns from {LEAST} scores before it predicts"
    told = agreement(records) or few
    say(f"predictor {predictor}: {told}")


def _best_batch_size(run: Path, net: Supernet, split: EvalSet, device: str) -> int:
    """Return the fastest batch size, and keep it: another one may round otherwise."""
    import torch

    from vitnas import files
    from vitnas.batch_size import best_batch_size

    cuda = device.startswith("cuda")
    name = torch.cuda.get_device_name(device) if cuda else f"{torch.get_num_threads()} threads"
    key, path = f"{device}, {name}, {len(split)} images", run / "cache" / "batch-size.json"
    found = files.read_json(path) if path.exists() else {}
    if not isinstance(found, dict) or not all(type(n) is int and n > 0 for n in found.values()):
        raise InputError(f"{path} holds no batch sizes; delete it, and they are measured again")
    if key not in found:
        found[key] = best_batch_size(net, split.to(device), device=device, seconds=0.2)
        files.write_json(path, found)
    return int(found[key])


def _evaluation(
    run: Path,
    net: Supernet,
    split: EvalSet,
    batch_size: int | Literal["auto"],
    device: str,
    racing_seed: int | None,
) -> Evaluate:
    """Return what evaluates subnets for the search; with a seed it is made fit for racing."""
    from vitnas.candidates import evaluation, racing_order

    @cache  # at the first evaluation: a search that is refused or finished needs none
    def prepared() -> Evaluate:
        size = _best_batch_size(run, net, split, device) if batch_size == "auto" else batch_size
        images = split.to(device)
        if racing_seed is not None:
            images = racing_order(net, images, racing_seed, batch_size=size, device=device)
        return evaluation(net, images, batch_size=size, device=device)

    return lambda archs, hopeless: prepared()(archs, hopeless)
