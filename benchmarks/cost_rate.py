"""Architectures per second, on one thread: drawing, counting, judging; the official counters."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any

import torch

from common import Work, alternate, arguments, ratios, table
from official import TINY, official
from vitnas import cost
from vitnas.arch import Arch
from vitnas.interop import cream
from vitnas.search.limits import Limit, Window
from vitnas.space import Space
from vitnas.spaces import space

OURS, THEIRS = 4000, 40  # architectures a round; the official counters are that much slower


def over(archs: Iterator[Any], count: int, function: Callable[[Any], object]) -> Work:
    """Return the work of calling a function on the next architectures, none of them twice."""

    def work() -> None:
        for arch in islice(archs, count):
            function(arch)

    return work


def distinct(searched: Space, count: int) -> list[Arch]:
    """Return different architectures."""
    rng, found = random.Random(0), set[Arch]()
    while len(found) < count:
        found.add(searched.sample(rng))
    return list(found)


def counters(model: Any) -> dict[str, Callable[[dict[str, Any]], float]]:
    """Return what the official search calls for a candidate."""

    def complexity(config: dict[str, Any]) -> float:
        model.set_sample_config(config)
        flops: float = model.get_complexity(model.patch_embed_super.num_patches)
        return flops

    return {"params": model.get_sampled_params_numel, "macs": complexity}


def agreement(model: Any, archs: Sequence[Arch]) -> tuple[str, str]:
    """Return how far the official counts are from ours, in the convention that each means."""
    theirs = counters(model)
    configs = [cream.foreign(arch) for arch in archs]
    pairs = zip(archs, configs, strict=True)
    wrong = sum(cost.params(a) != theirs["params"](c) for a, c in pairs)
    pairs = zip(archs, configs, strict=True)
    away = max(abs(cost.convention("cream", a) / theirs["macs"](c) - 1) for a, c in pairs)
    return f"{wrong} of {len(archs)} differ", f"{away:.0e} relative, convention cream"


def main() -> None:
    """Print rates, and how often the official counters fit into ours."""
    args = arguments(__doc__ or "").parse_args()
    torch.set_num_threads(args.threads)
    searched = space("autoformer-tiny")
    rounds = args.repeats + 2
    archs = distinct(searched, OURS * rounds)
    rng = random.Random(1)
    costs = {"params": cost.params, "macs": cost.macs}
    window = Window((Limit("params", 5e6, 6e6), Limit("macs", maximum=1.4e9)), costs)
    ours: dict[str, Callable[[Any], object]] = {
        "params": cost.params,
        "macs": cost.macs,
        "macs, factorised": partial(cost.macs, attention="factorised"),
        "limits on both": window,
        "is in the space": searched.__contains__,
        "sample": lambda _: searched.sample(rng),
        "mutate": lambda arch: searched.mutate(arch, rng),
    }
    works = {name: over(iter(archs), OURS, function) for name, function in ours.items()}
    close = ("", "")
    if args.cream:
        torch.manual_seed(0)
        model = official(args.cream, TINY)
        configs = [cream.foreign(arch) for arch in archs[: THEIRS * rounds]]
        theirs = counters(model)
        works |= {f"official {n}": over(iter(configs), THEIRS, f) for n, f in theirs.items()}
        close = agreement(model, archs[:THEIRS])
    seconds = alternate(works, args.repeats)
    each = {
        name: [s / (THEIRS if name.startswith("official") else OURS) for s in found]
        for name, found in seconds.items()
    }
    exact = dict(zip(("params", "macs"), close, strict=True))
    rows = [("work", "archs/s, median", "range", "official / ours", "official counts")]
    for name, found in each.items():
        rates = [1 / s for s in found]
        slow = each.get(f"official {name}")
        rows.append(
            (
                name,
                f"{statistics.median(rates):,.0f}",
                f"{min(rates):,.0f} to {max(rates):,.0f}",
                ratios(slow, found),
                exact[name] if slow else "-",
            )
        )
    table(f"Counting, space {searched.name}, {OURS} different architectures a round", rows)


if __name__ == "__main__":
    main()
