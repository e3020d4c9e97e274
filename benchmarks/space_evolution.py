"""Does the search of the search space find better spaces? Start, evolved spaces, random walk.

The complete loop of S3 on Fashion-MNIST at 32 px, with the product's own rounds. Every space gets a
fresh supernet, trained on equally many images, so that none profits from weights of another. The
E-T error of every space is that of the same number of subnets, in the same range of MACs, on the
same held-out images. The control walks as far as the evolution: as many dimensions a round, as many
steps each, chosen by chance.

The start space was made by a rule: lists that are alike in all stages, except for the widths, which
double from stage to stage as in Swin, in steps of half the middle value. MACs are from 75 to 100 %
of a budget that six in ten of its subnets meet, and parameters at most as many as three in four of
those have. The lower end is there because a space of larger subnets is no better space. Its size
and the constants come from two pilots with seed 100, which is not reported: a threshold of half the
paper's and a dead zone for each dimension by itself, as slopes are small here. With the defaults
one dimension moved.

A space of a seed is a unit with a file of its own; finished units are not repeated.
"""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from evaluation import some
from space_evolution_tables import report
from vitnas import cost, files
from vitnas.arch import Arch
from vitnas.candidates import evaluation
from vitnas.data.cache import eval_cache
from vitnas.data.sources import open_data
from vitnas.data.transforms import Augment, default_input
from vitnas.errors import InputError
from vitnas.search.ledger import read
from vitnas.search.limits import Costs, Limit
from vitnas.search.racing import Hopeless, Result
from vitnas.search.space_evolution import Trained, check_subnets, evolve_space
from vitnas.search.space_evolution_decision import shifted
from vitnas.search.space_evolution_dimensions import dimensions, values_of, with_values_of
from vitnas.search.space_evolution_round import Options, Quality, Round
from vitnas.space import Choice, Space
from vitnas.supernet import Supernet
from vitnas.train.loop import train
from vitnas.train.recipe import Optim, Sampling, TrainRecipe

PX = 32
START = Space(
    "s3",
    (
        Choice("depth", (1, 2, 3), "stage"),
        Choice("mlp_ratio", (1.0, 2.0, 3.0), "block"),
        Choice("num_heads", (2, 3, 4), "block"),
        Choice("window_size", ((2, 4), (2, 4), (2,)), "block"),
        Choice("embed_dim", ((8, 16, 24), (16, 32, 48), (32, 64, 96)), "stage"),
        Choice("head_dim", (8,)),
        Choice("patch_size", (4,)),
    ),
    stages=3,
)
LIMITS = (Limit("macs", 0.75e6, 1e6), Limit("params", maximum=105e3))
SIDES = {f"window_size.{stage + 1}": float(PX // 4 >> stage) for stage in range(3)}
RECIPE = TrainRecipe(
    data="fashion-mnist",
    img_size=PX,
    augment=Augment(
        crop_padding=2,
        color_jitter=None,
        auto_augment=None,
        re_prob=0.0,
        mixup=0.0,
        cutmix=0.0,
        backend="batched",
    ),
    drop_path=0.0,
    batch_size=128,
    optim=Optim(base_lr=4e-3, warmup_epochs=0, clip_grad=1.0),
    sampling=Sampling("uniform"),
    precision="32-true",
    evaluate_every=0,
)


@dataclass(frozen=True)
class Size:
    """How much is done for a space, and the constants of the rounds."""

    epochs: int
    subnets: int
    images: int
    options: Options
    train_images: int | None = None


FULL = Size(
    epochs=2,
    subnets=300,
    images=1000,
    options=Options(maximum=SIDES, threshold=0.2, false_moves=0.5),
)
QUICK = Size(
    epochs=1,
    subnets=48,
    images=100,
    train_images=1280,
    options=Options(maximum=SIDES, threshold=0.05, false_moves=0.9),
)


@dataclass(frozen=True)
class Unit:
    """What a space of a seed came to: errors in percent, mean costs, CPU seconds.

    `params` and `macs` are those of the subnets that were evaluated, `train_macs` of those that the
    training draws. Seconds are None where an earlier process did a part of the work.
    """

    quality: Quality
    params: float
    macs: float
    train_macs: float
    lists: Mapping[str, Sequence[float]]
    training: float | None
    evaluation: float | None


class Bench:
    """What the units of a seed share, and the clocks of the one that is under way."""

    def __init__(self, seed: int, size: Size, folder: Path) -> None:
        self.seed, self.size, self.folder = seed, size, folder
        self.recipe = replace(RECIPE, seed=seed, epochs=size.epochs)
        data = open_data("fashion-mnist", search_fraction=self.recipe.search_fraction, seed=seed)
        self.data = replace(data, train=some(data.train, size.train_images or len(data.train)))
        input = default_input(data, PX)
        self.split = eval_cache(data.search, input).subset(size.images, seed)
        self.model: dict[str, Any] = {"num_classes": 10, "img_size": PX, "in_chans": input.channels}
        self.costs: Costs = {
            "params": partial(cost.params, **self.model),
            "macs": partial(cost.macs, **self.model),
        }
        self.seconds: dict[str, float] = {}
        self.evaluated = 0

    def train(self, space: Space, number: int) -> Trained:
        """Train a fresh supernet of a space; on the same machine the same seed repeats it."""
        self.seconds, self.evaluated = {"training": 0.0, "evaluation": 0.0}, 0
        torch.manual_seed(self.seed)
        net = Supernet(space, **self.model)
        with tempfile.TemporaryDirectory() as folder, self.clock("training"):
            if not train(net, self.recipe, self.data, folder, device="cpu").finished:
                raise KeyboardInterrupt
        inner = evaluation(net, self.split)

        def evaluate(archs: Sequence[Arch], hopeless: Hopeless | None) -> Sequence[Result]:
            self.evaluated += len(archs)
            with self.clock("evaluation"):
                return inner(archs, hopeless)

        return Trained(evaluate, f"{len(self.split)} images of the search split, fresh supernet")

    @contextmanager
    def clock(self, what: str) -> Iterator[None]:
        """Add the CPU seconds of what is done inside."""
        start = time.process_time()
        yield
        self.seconds[what] += time.process_time() - start

    def check(self, space: Space) -> None:
        """Refuse a space that the family can't have on these images."""
        for arch in (space.smallest, space.largest):
            self.costs["params"](arch)

    def evolve(self, space: Space, name: Callable[[int], str], **changes: Any) -> list[Round]:
        """Run the loop; each round is a unit with a name."""
        folder = self.folder / name(1)
        settings: dict[str, Any] = {"options": self.size.options, **changes}
        return evolve_space(
            space,
            self.train,
            costs=self.costs,
            limits=LIMITS,
            folder=folder,
            subnets=self.size.subnets,
            seed=self.seed,
            recipe={**self.recipe.to_dict(), "size": repr(self.size)},
            check=self.check,
            together=64,
            on_round=lambda found: self.keep(found, folder, name(found.number)),
            **settings,
        )

    def keep(self, found: Round, folder: Path, name: str) -> None:
        """Write what a unit came to, unless an earlier process did."""
        path = self.folder / f"{name}.json"
        if path.is_file():
            return
        _, records = read(folder / f"round-{found.number}")
        rng = random.Random(0)
        drawn = [self.costs["macs"](found.space.sample(rng)) for _ in range(200)]
        whole = self.evaluated == len(records)
        unit = Unit(
            found.quality,
            statistics.mean(record.metrics["params"] for record in records),
            statistics.mean(record.metrics["macs"] for record in records),
            statistics.mean(drawn),
            {one.name: values_of(found.space, one) for one in dimensions(found.space)},
            self.seconds["training"] if whole else None,
            self.seconds["evaluation"] if whole else None,
        )
        files.write_json(path, asdict(unit))
        print(f"seed {self.seed}, {name}: E-T error {found.quality.error:.2f} %", flush=True)

    def walk(self, space: Space, shifts: Sequence[int], turn: int) -> Space:
        """Return a space as far away: as many dimensions, as many steps each, drawn by chance."""
        rng, options = random.Random(f"walk {self.seed} {turn}"), self.size.options
        free = [one for one in dimensions(space) if len(values_of(space, one)) > 1]
        for _ in range(10_000):
            drawn = zip(rng.sample(free, len(shifts)), shifts, strict=True)
            lists = {
                one: shifted(space, one, rng.choice((-far, far)), options, self.check)[0]
                for one, far in drawn
            }
            if all(new and new != values_of(space, one) for one, new in lists.items()):
                moved = with_values_of(space, lists)
                with suppress(InputError):  # no subnet has so few MACs, or so many
                    check_subnets(moved, LIMITS, self.costs, self.check)
                    return moved
        raise RuntimeError(f"no random walk of {len(shifts)} dimensions was found")


def run(seed: int, size: Size, rounds: int, folder: Path) -> None:
    """Evolve the start space, and walk as far from it by chance."""
    bench = Bench(seed, size, folder)
    found = bench.evolve(START, lambda n: f"evolved-{n}" if n else "start", rounds=rounds)
    space = START
    for turn, before in enumerate(found[:-1], 1):
        shifts = [abs(move.shift) for move in before.moves if move.new != move.old]
        space = bench.walk(space, shifts, turn)
        still = replace(size.options, threshold=1e9)  # nothing moves: the space is only measured
        bench.evolve(space, lambda _, turn=turn: f"walk-{turn}", rounds=1, options=still)  # type: ignore[misc]


def options() -> ArgumentParser:
    """Return the parser."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder; run again to continue")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rounds", type=int, default=2, help="(default: 2)")
    parser.add_argument("--threads", type=int, default=1, help="(default: 1)")
    parser.add_argument("--quick", action="store_true", help="a smoke run; its figures say nothing")
    return parser


def main() -> None:
    """Run what is missing and print the tables."""
    args = options().parse_args()
    torch.set_num_threads(args.threads)
    for seed in args.seeds:
        run(seed, QUICK if args.quick else FULL, args.rounds, args.out / f"seed-{seed}")
    report(args.seeds, args.rounds, args.out)


if __name__ == "__main__":
    main()
