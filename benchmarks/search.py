"""A whole search of 1,000 candidates at equal quality: official protocol and ours.

The official search ranks 1,000 candidates, and evaluates 50 more, one by one on 100,000 images that
the supernet was trained on and on the 50,000 test images, decoding both for each. Ours ranks 1,050
on 10,000 images that training held out: decoded once, many subnets together, the hopeless stopped
early. Here the official protocol gets ten training and five test images for each of ours as long as
there are as many, from a supernet that was really trained: 15 to 1 as above with up to 1,000 images
of ours, 5 to 1 with 5,000, which is worse for us. What they choose is compared on test images that
neither has seen.

The time of the official search is that of a sample of its candidates, by the official code, times
1,050. Which one it chooses says our own evolution with the official settings on the official
images, whose accuracies are checked to be those of the official code on the sample.
"""

from __future__ import annotations

import math
import os
import statistics
import tempfile
import time
from argparse import ArgumentParser, Namespace
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from PIL import Image
from torch import Tensor

import trained
from common import arguments, table
from evaluation import some
from official import NANO, official
from protocol import evaluate_officially, loader
from vitnas import cost
from vitnas.arch import Arch
from vitnas.batch_size import best_batch_size
from vitnas.candidates import evaluation, racing_order
from vitnas.data.bundled import FASHION_FOLDER
from vitnas.data.cache import EvalSet, eval_cache
from vitnas.data.images import FileImages, Split
from vitnas.data.sources import open_data
from vitnas.data.transforms import Input
from vitnas.evaluate import evaluate_subnets
from vitnas.interop import cream
from vitnas.search.answer import best
from vitnas.search.ledger import Record
from vitnas.search.limits import Limit
from vitnas.search.study import search
from vitnas.space import Choice, Space
from vitnas.supernet import Supernet

SIZE, DEPTH = 32, 5
SHOWN = Input((SIZE, SIZE), channels=3, crop_pct=1.0)
SPACE = Space(
    "autoformer",
    (
        Choice("depth", (3, 4, DEPTH)),
        Choice("mlp_ratio", (1.0, 2.0, 3.0, 4.0), "block"),
        Choice("num_heads", (1, 2), "block"),
        Choice("embed_dim", (48, 64, 96)),
    ),
)
CANDIDATES, RANKED_GENERATIONS = 1050, 19  # the official search never ranks its last generation


Seconds: TypeAlias = tuple[float, float]
"""Wall time, and CPU time, which other work on the machine disturbs less."""


@dataclass(frozen=True)
class Case:
    """The supernet, the official one with its weights, and the images of both protocols."""

    net: Supernet
    theirs: Any
    held_out: Split
    their_train: Split
    their_test: Split
    train: EvalSet
    untouched: EvalSet
    flip: bool

    @property
    def times(self) -> float:
        """How many times as many images the official protocol evaluates."""
        return (len(self.their_train) + len(self.their_test)) / len(self.held_out)


class Task(NamedTuple):
    """A search: its seed, and below which quantile of the space's parameters."""

    seed: int
    quantile: float

    def __str__(self) -> str:
        return f"{self.seed}-{self.quantile}"


@dataclass(frozen=True)
class Found:
    """What a search chose, its trials in the order proposed, and what it took (`clocks`)."""

    arch: Arch
    records: list[Record]
    took: Seconds


def prepare(args: Namespace, folder: Path) -> Case:
    """Choose the images, write those that are searched on as files, and train the supernet."""
    fashion = "fashion-mnist" if FASHION_FOLDER.is_dir() else "digits"
    name = f"folder/{Path(args.data).resolve()}" if args.data else fashion
    data = open_data(name, search_fraction=0.1)
    train = some(data.train, 20_000)
    count = min(args.images, len(data.search))
    tested = min(5 * count, len(data.test) // 2)
    test = some(data.test, len(data.test))
    order = np.random.default_rng(1).permutation(len(test))
    theirs, rest = (
        Split(data.test.source, test.indices[part]) for part in np.split(order, [tested])
    )
    images, flip = eval_cache(train, SHOWN), not name.endswith("digits")
    kept = Path(args.keep) / "supernet" if args.keep else None
    net = trained.once(kept, fresh(len(data.classes)), images, args.train_steps, flip=flip)
    case = Case(
        net,
        _official(args.cream, net, len(data.classes)),
        write(some(data.search, count), folder / "search"),
        write(some(train, 10 * count), folder / "train"),
        write(theirs, folder / "test"),
        images,
        eval_cache(rest, SHOWN),
        flip,
    )
    print(
        f"{name}: official {len(case.their_train)} training and {len(case.their_test)} test "
        f"images a candidate, ours {len(case.held_out)} held-out ones: {case.times:.1f} to 1; "
        f"{len(rest)} untouched test images",
        flush=True,
    )
    return case


def fresh(classes: int, seed: int = 0) -> Supernet:
    """Return an untrained supernet that stores what the official code stores."""
    torch.manual_seed(seed)
    genes = {"mlp_ratio": (4.0,) * DEPTH, "num_heads": (2,) * DEPTH}
    stored = Arch("autoformer", depth=DEPTH, embed_dim=128, **genes)
    return Supernet(SPACE, classes, SIZE, patch_size=8, sharing="legacy", largest=stored)


def _official(path: str | None, net: Supernet, classes: int) -> Any:
    if path is None:
        return None
    theirs = official(path, {**NANO, "patch_size": 8, "depth": DEPTH, "num_classes": classes})
    theirs.load_state_dict(cream.dump(net))
    return theirs


def write(split: Split, folder: Path) -> Split:
    """Write images as the PNG files of 32 px that both sides decode."""
    folder.mkdir()
    files = []
    for index in range(len(split)):
        image, _ = split[index]
        files.append(str(folder / f"{index:05}.png"))
        small = image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BICUBIC)
        small.save(files[-1])
    return Split(FileImages(tuple(files), split.labels), np.arange(len(split)))


def search_on(
    net: Supernet, split: EvalSet, task: Task, generations: int, folder: str | Path
) -> list[Record]:
    """Search at the official population settings, below a number of parameters."""
    costs = cost.counters(**net.config.to_dict())
    params = sorted(costs["params"](SPACE.sample(i)) for i in range(201))
    limit = params[round(task.quantile * 200)]
    size = best_batch_size(net, split, seconds=0.2)
    images = racing_order(net, split, task.seed, batch_size=size)
    return search(
        SPACE,
        evaluation(net, images, batch_size=size),
        options={"generations": generations},
        limits=[Limit("params", maximum=limit)],
        costs=costs,
        seed=task.seed,
        folder=folder,
    )


def clocks() -> Seconds:
    """Read both clocks."""
    return time.perf_counter(), time.process_time()


def since(start: Seconds) -> Seconds:
    """Return the seconds that passed on both clocks."""
    wall, cpu = clocks()
    return wall - start[0], cpu - start[1]


def ours(case: Case, task: Task, keep: Path | None) -> Found:
    """Search on the held-out images; everything counts, decoding and the batch size too.

    What is kept may go on where it was interrupted, so its time says nothing.
    """
    start = clocks()
    with tempfile.TemporaryDirectory() as temporary:
        folder = keep / f"ours-{task}" if keep else temporary
        records = search_on(case.net, eval_cache(case.held_out, SHOWN), task, 20, folder)
    return Found(best(records).arch, records, (math.nan, math.nan) if keep else since(start))


def officially_chosen(
    net: Supernet, images: EvalSet, threads: int, folder: Path, task: Task
) -> Arch:
    """Return what the official protocol chooses, by our means; the same call resumes a search."""
    torch.set_num_threads(threads)
    place = folder / f"official-{task}"
    return best(search_on(net, images, task, RANKED_GENERATIONS, place)).arch


def all_officially_chosen(
    net: Supernet, args: Namespace, images: EvalSet, folder: Path
) -> list[Arch]:
    """Return the official choice of every task.

    Nothing is timed here, so all cores work. It takes longer than everything else, so it comes
    first, and goes on where it was interrupted.
    """
    choose = partial(officially_chosen, net, images, args.threads, folder)
    workers = max(1, (os.cpu_count() or 1) // args.threads)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        return list(pool.map(choose, tasks(args)))


def official_seconds(
    case: Case, args: Namespace, archs: list[Arch], images: EvalSet
) -> tuple[list[Seconds], int]:
    """Return the seconds of each candidate by the official code, and how many scores are ours."""
    seconds: list[Seconds] = []
    same = 0
    scores = evaluate_subnets(case.net, archs, images)
    for arch, score in zip(archs, scores, strict=True):
        start = clocks()
        top1, _ = (
            evaluate_officially(case.theirs, arch, loader(part, SIZE, args.batch_size))
            for part in (case.their_train, case.their_test)
        )
        seconds.append(since(start))
        same += top1 == score.top1
    return seconds, same


def compare(case: Case, args: Namespace, folder: Path) -> None:
    """Search in both ways, and print what it took and what came out."""
    images = eval_cache(case.their_train, SHOWN)
    chosen = all_officially_chosen(case.net, args, images, folder)
    each: list[Seconds] = []
    found, same = [], 0
    for turn, task in enumerate(tasks(args)):
        found.append(ours(case, task, Path(args.keep) if args.keep and not args.cream else None))
        print(f"search {task}: ours {told(found[-1])}", flush=True)
        if case.theirs is not None:  # in turn with ours, on candidates from all generations
            records = found[-1].records
            archs = [r.arch for r in records[turn :: CANDIDATES * len(tasks(args)) // args.sample]]
            seconds, equal = official_seconds(case, args, archs, images)
            each, same = each + seconds, same + equal
    whole = CANDIDATES * torch.tensor(each).mean(0) if each else None  # on both clocks
    alike = zip(tasks(args), found, chosen, strict=True)
    rows = [row(case, task, mine, theirs, whole) for task, mine, theirs in alike]
    title = f"A search of 1,000 candidates, {case.times:.1f} to 1 images a candidate"
    table(title, [HEADINGS, *rows])
    print(f"± is the standard error, on {len(case.untouched)} untouched images")
    if whole is not None:
        gains = whole / torch.tensor([one.took for one in found])
        for name, gain in zip(("wall", "CPU"), gains.T.tolist(), strict=True):
            spread = f"({min(gain):.0f} to {max(gain):.0f})"
            print(f"official / ours in {name} time: {statistics.median(gain):.0f} {spread}")
        took = sorted(seconds for seconds, _ in each)
        print(
            f"official: {statistics.median(took):.2f} s a candidate, {took[0]:.2f} to "
            f"{took[-1]:.2f}; {len(each)} of {CANDIDATES} were timed, the rest is their mean"
        )
        print(f"{same} of the {len(each)} have the official top-1 in our evaluation", flush=True)
    retrain(case, args, [(theirs, mine.arch) for theirs, mine in zip(chosen, found, strict=True)])


def tasks(args: Namespace) -> list[Task]:
    """Return the searches, in the order in which they are done."""
    return [Task(seed, quantile) for seed in args.seeds for quantile in args.quantiles]


HEADINGS = (
    "seed", "params below", "official, s", "ours", "official / ours", "in CPU time",
    "best of official, top-1", "of ours", "ours more", "stopped early", "forwarded",
)  # fmt: skip


def told(found: Found) -> str:
    """Return the wall time of a search; one that was kept has none."""
    return "kept" if math.isnan(found.took[0]) else f"{found.took[0]:.1f} s"


def row(case: Case, task: Task, mine: Found, theirs: Arch, whole: Tensor | None) -> tuple[str, ...]:
    """Return what a task's searches took, and their choices' accuracies on untouched images.

    `whole` has the seconds of the official search on both clocks, if it was timed.
    """
    both = [right(case.net, arch, case.untouched) for arch in (theirs, mine.arch)]
    total, count = len(case.held_out), len(mine.records)
    seen = sum(record.metrics.get("images", total) for record in mine.records)
    stopped = sum(record.state == "stopped" for record in mine.records)
    took, gains = "-", ["-", "-"]
    if whole is not None:
        took = f"{whole[0]:.0f}"
        gains = [f"{gain:.0f}" for gain in whole / torch.tensor(mine.took)]
    return (
        str(task.seed),
        f"{100 * task.quantile:.0f} %",
        took,
        told(mine),
        *gains,
        *(f"{100 * one.mean():.2f}" for one in both),
        estimate(both[1] - both[0]),
        f"{100 * stopped / count:.0f} %",
        f"{100 * seen / total / count:.0f} %",
    )


@torch.inference_mode()
def right(net: Supernet, arch: Arch, images: EvalSet) -> Tensor:
    """Return 1 for every image that a subnet gets right, else 0: float64, in the set's order."""
    found = [net(batch, arch).argmax(1) == labels for batch, labels in images.batches(128)]
    return torch.cat(found).double()


def estimate(values: Tensor) -> str:
    """Return the mean in hundredths with its standard error."""
    return f"{100 * values.mean():+.2f} ± {100 * values.std() / len(values) ** 0.5:.2f}"


def retrain(case: Case, args: Namespace, pairs: list[tuple[Arch, Arch]]) -> None:
    """Train the choices that differ from scratch, alike and alone, and print what came out."""
    rows, gains = [], []
    same = sum(theirs == mine for theirs, mine in pairs)
    print(f"{same} of {len(pairs)} searches end at the subnet of the official protocol", flush=True)
    different = dict.fromkeys(pair for pair in pairs if pair[0] != pair[1])
    if not different:
        return
    for number, (theirs, mine) in enumerate(different):
        for seed in range(args.retrained):
            both = []
            for arch in (theirs, mine):
                net = fresh(case.net.config.num_classes, seed)
                net = trained.train(
                    net, case.train, args.retrain_steps, flip=case.flip, only=arch, seed=seed
                )
                both.append(right(net, arch, case.untouched))
            found = [f"{100 * one.mean():.2f}" for one in both]
            print(f"pair {number}, seed {seed}: {', '.join(found)}", flush=True)
            rows.append((str(number), str(seed), *found, estimate(both[1] - both[0])))
            gains.append(both[1].mean() - both[0].mean())
    heading = ("pair", "seed", "best of official, top-1", "of ours", "ours more")
    table(f"Both choices alone from scratch, {args.retrain_steps} steps", [heading, *rows])
    if len(gains) > 1:
        print(f"all of them: ours {estimate(torch.stack(gains))} more, ± from these differences")


def options() -> ArgumentParser:
    """Return the parser."""
    parser = arguments(__doc__ or "")
    parser.set_defaults(batch_size=128)  # the official search's 2 × 64
    add = parser.add_argument
    add("--data", help="folder of class folders (default: Fashion-MNIST if installed, or digits)")
    add("--images", type=int, default=5000, help="that ours ranks on (default: 5000)")
    add("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the searches (default: 0 1 2)")
    add("--quantiles", type=float, nargs="+", default=[0.5], help="of the parameters' limit")
    add("--sample", type=int, default=10, help="candidates timed officially (default: 10)")
    add("--train-steps", type=int, default=6000)
    add("--retrain-steps", type=int, default=3000, help="of each choice from scratch")
    add("--retrained", type=int, default=3, help="times each, with other seeds")
    add("--keep", help="folder for the supernet and the searches that nothing times, to resume")
    return parser


def main() -> None:
    """Print the table."""
    args = options().parse_args()
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        compare(prepare(args, Path(folder)), args, Path(args.keep or folder))


if __name__ == "__main__":
    main()
