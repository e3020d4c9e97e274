"""Does training from both sides (BCNet) rank and find subnets better than from the left alone?

ViTAS's family on Fashion-MNIST, all widths in tenths of the largest. Per seed: supernets trained in
three ways from the same weights; some nets drawn from the space, scored by each supernet and
trained alone; the net that an evolution below a limit of MACs finds with each supernet, retrained.

`left` slices from the left, `bcnet` from both sides in complementary pairs. A step of `bcnet` runs
two subnets, so at equal steps it costs about twice as much; `left-double` has twice the steps for
that. The width that is drawn is uniform in all three.

Chosen before any result: space, sizes, seeds, the limit (the median of what is drawn). The learning
rate is the best of three for two nets alone with seed 100, which is not reported.
Supernets rank on the search split; accuracies of nets trained alone are those on the test split.
Each way of each seed, and each training of a net, is a unit with a file of its own; finished units
are not repeated.
"""

from __future__ import annotations

import random
import statistics
import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bcnet_tables import report
from evaluation import some
from space_evolution import RECIPE as BASE
from vitnas import cost, files
from vitnas.arch import Arch
from vitnas.candidates import evaluation
from vitnas.data.cache import eval_cache
from vitnas.data.sources import open_data
from vitnas.data.transforms import default_input
from vitnas.evaluate import evaluate, evaluate_subnets
from vitnas.search.answer import best
from vitnas.search.limits import Limit
from vitnas.search.study import search
from vitnas.space import Choice, Space
from vitnas.supernet import Supernet, build
from vitnas.train.bcnet import channel_counts
from vitnas.train.loop import train
from vitnas.train.prepare import recipe_sampler
from vitnas.train.recipe import Sampling

PX, GROUPS, DEPTH = 28, 10, 3
SPACE = Space(
    "vitas",
    (
        Choice("depth", (DEPTH,)),
        Choice("num_heads", (2, 4), "block"),
        Choice("attn_dim", tuple(range(8, 81, 8)), "block"),
        Choice("mlp_dim", tuple(range(16, 161, 16)), "block"),
        Choice("embed_dim", tuple(range(8, 81, 8))),
        Choice("patch_size", (7,)),
    ),
)
MODEL: dict[str, Any] = {"num_classes": 10, "img_size": PX, "in_chans": 1}
COSTS = cost.counters(**MODEL)
AXES = {
    "embed": "",
    **{f"{axis}.{i}": f"blocks.{i}" for axis in ("attn", "hidden") for i in range(DEPTH)},
}
BATCH = 64
RECIPE = replace(
    BASE,
    img_size=PX,
    batch_size=BATCH,
    sampling=None,
    optim=replace(BASE.optim, base_lr=4e-2),
)


@dataclass(frozen=True)
class Way:
    """How a supernet is trained."""

    sharing: str
    sampling: Sampling
    times: int = 1
    """Steps, in multiples."""


WAYS = {
    "left": Way("prefix", Sampling("uniform")),
    "bcnet": Way("bilateral", Sampling("bcnet")),
    "left-double": Way("prefix", Sampling("uniform"), times=2),
}


@dataclass(frozen=True)
class Size:
    """How much is done for a seed."""

    epochs: int
    alone_epochs: int
    nets: int
    repeats: int
    """Trainings of a net that a search found."""
    train_images: int
    search_images: int
    population: int
    generations: int


FULL = Size(
    epochs=6,
    alone_epochs=3,
    nets=12,
    repeats=2,
    train_images=12_800,
    search_images=2000,
    population=24,
    generations=3,
)
QUICK = Size(
    epochs=1,
    alone_epochs=1,
    nets=3,
    repeats=1,
    train_images=1280,
    search_images=200,
    population=8,
    generations=1,
)


@dataclass(frozen=True)
class Unit:
    """What a way of training came to.

    `counts`: trainings of a channel, by axis and unit, then the mean of each group of channels.
    `scores`: percent, of the drawn nets. Seconds of the CPU are null where an earlier process did a
    part of the work.
    """

    steps: int
    counts: dict[str, list[float]]
    scores: list[float]
    arch: dict[str, Any]
    score: float
    macs: float
    training: float | None
    search: float | None


class Bench:
    """What the units of a seed share."""

    def __init__(self, seed: int, size: Size, folder: Path) -> None:
        self.seed, self.size, self.folder = seed, size, folder
        data = open_data("fashion-mnist", search_fraction=RECIPE.search_fraction, seed=seed)
        self.data = replace(data, train=some(data.train, size.train_images))
        input = default_input(data, PX)
        self.held_out = eval_cache(data.search, input).subset(size.search_images, seed)
        self.test = eval_cache(data.test, input)
        rng = random.Random(f"nets {seed}")
        self.nets = [SPACE.sample(rng) for _ in range(size.nets)]

    def train(self, model: nn.Module, folder: Path, epochs: int, **changes: Any) -> None:
        """Train a model; on the same machine the same seed repeats it."""
        recipe = replace(RECIPE, **{"seed": self.seed, "epochs": epochs, **changes})
        if not train(model, recipe, self.data, folder, device="cpu").finished:
            raise KeyboardInterrupt

    def way(self, name: str) -> None:
        """Train a supernet in a way, score the drawn nets, and search."""
        path, way = self.folder / f"{name}.json", WAYS[name]
        if path.is_file():
            return
        folder = self.folder / name
        whole = not folder.exists()
        torch.manual_seed(self.seed)
        net = Supernet(SPACE, **MODEL, sharing=way.sharing)
        epochs = self.size.epochs * way.times
        with clock() as training:
            self.train(net, folder / "training", epochs, sampling=way.sampling)
        scores = evaluate_subnets(net, self.nets, self.held_out)
        with clock() as searching:
            found = self.search(net, folder / "search")
        steps = epochs * (self.size.train_images // BATCH)
        counts = self.counts(net, way.sampling, steps)
        unit = Unit(
            steps=steps,
            counts={axis: grouped(each) for axis, each in counts.items()},
            scores=[one.top1 for one in scores],
            arch=found[0].to_dict(),
            score=found[1],
            macs=COSTS["macs"](found[0]),
            training=training() if whole else None,
            search=searching() if whole else None,
        )
        files.write_json(path, asdict(unit))
        print(f"seed {self.seed}, {name}: found {unit.score:.2f} %", flush=True)

    def counts(self, net: Supernet, sampling: Sampling, steps: int) -> dict[str, tuple[int, ...]]:
        """Return how often the training ran each channel, by axis and unit."""
        recipe = replace(RECIPE, seed=self.seed, sampling=sampling)
        sampler = recipe_sampler(recipe, net, self.size.train_images // BATCH)
        assert sampler is not None
        archs = [arch for step in range(steps) for arch in sampler(step)]
        return {
            name: channel_counts(net, archs, name.partition(".")[0], path)
            for name, path in AXES.items()
        }

    def search(self, net: Supernet, folder: Path) -> tuple[Arch, float]:
        """Return the best subnet below the limit, and its score."""
        half = self.size.population // 2
        found = best(
            search(
                SPACE,
                evaluation(net, self.held_out),
                options={
                    "population": self.size.population,
                    "parents": max(2, self.size.population // 4),
                    "mutants": half,
                    "crossovers": half,
                    "generations": self.size.generations,
                },
                limits=[Limit("macs", maximum=limit())],
                costs=COSTS,
                seed=self.seed,
                folder=folder,
            )
        )
        assert found.score is not None
        return found.arch, found.score

    def alone(self, name: str, arch: Arch, seed: int) -> None:
        """Train a net by itself, and measure it on the test split."""
        path = self.folder / f"{name}.json"
        if path.is_file():
            return
        whole = not (self.folder / name).exists()
        torch.manual_seed(seed)
        model = build(arch, **MODEL)
        with clock() as training:
            self.train(model, self.folder / name, self.size.alone_epochs, seed=seed)
        top1 = evaluate(model, self.test).top1
        seconds = training() if whole else None
        files.write_json(path, {"top1": top1, "macs": COSTS["macs"](arch), "seconds": seconds})
        print(f"seed {self.seed}, {name}: {top1:.2f} %", flush=True)


@contextmanager
def clock() -> Iterator[Callable[[], float]]:
    """Give a function that returns the CPU seconds of what is done inside, once it is done."""
    start, spent = time.process_time(), list[float]()
    yield lambda: spent[0]
    spent.append(time.process_time() - start)


def grouped(counts: Sequence[int]) -> list[float]:
    """Return the mean over the channels of each group."""
    wide = len(counts) // GROUPS
    return [statistics.mean(counts[i * wide : (i + 1) * wide]) for i in range(GROUPS)]


@cache
def limit() -> float:
    """Return the most MACs that a search allows: the median of what is drawn."""
    return statistics.median(COSTS["macs"](SPACE.sample(i)) for i in range(201))


def run(seed: int, size: Size, folder: Path) -> None:
    """Do all units of a seed that are not done."""
    bench = Bench(seed, size, folder)
    for name in WAYS:
        bench.way(name)
    for index, arch in enumerate(bench.nets):
        bench.alone(f"net-{index}", arch, seed)
    for name in WAYS:
        arch = Arch.from_dict(files.read_json(folder / f"{name}.json")["arch"])
        for repeat in range(size.repeats):
            bench.alone(f"{name}-found-{repeat}", arch, 1000 * (repeat + 1) + seed)


def options() -> ArgumentParser:
    """Return the parser."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder; run again to continue")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=1, help="(default: 1)")
    parser.add_argument("--quick", action="store_true", help="a smoke run; its figures say nothing")
    return parser


def main() -> None:
    """Run what is missing and print the tables."""
    args = options().parse_args()
    torch.set_num_threads(args.threads)
    size = QUICK if args.quick else FULL
    for seed in args.seeds:
        run(seed, size, args.out / f"seed-{seed}")
    report(args.seeds, tuple(WAYS), limit(), args.out)


if __name__ == "__main__":
    main()
