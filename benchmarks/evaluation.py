"""Evaluating the candidates of a search end to end, decoding included: official protocol and ours.

The official search decodes and transforms every image for every candidate and evaluates one
candidate after the other. Here images are decoded once, candidates go through them together, and
those that provably miss the elites are stopped. Timed is a whole generation of a real evolution.
"""

from __future__ import annotations

import statistics
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

import trained
from common import Work, alternate, arguments, ratios, table
from official import NANO, TINY, official, pair
from protocol import evaluate_officially, loader
from vitnas import cost, joint
from vitnas.arch import Arch
from vitnas.batch_size import best_batch_size
from vitnas.data.cache import EvalSet, eval_cache
from vitnas.data.images import Split
from vitnas.data.sources import open_data
from vitnas.data.transforms import Input, default_input
from vitnas.evaluate import Scores, Stopped, evaluate_subnets, hard_first
from vitnas.interop import cream
from vitnas.search.searcher import make_searcher
from vitnas.space import Space
from vitnas.spaces import space
from vitnas.supernet import Supernet

GENERATIONS = 3  # before the one that is timed


@dataclass(frozen=True)
class Case:
    """What is evaluated: nets of the same weights, images, candidates, and the bar to pass."""

    net: Supernet
    theirs: Any
    search: Split
    test: Split
    input: Input
    candidates: list[Arch]
    told: dict[Arch, float] = field(default_factory=dict)
    """Scores of earlier generations; none where racing would mean nothing."""

    @property
    def parents(self) -> int:
        """How many of the best breed the next generation."""
        return max(1, len(self.candidates) // 5)

    @property
    def bar(self) -> float:
        """The score of the last of the best so far."""
        return sorted(self.told.values())[-self.parents]


def nano(args: Namespace, folder: Path) -> Case:
    """Train a supernet, and breed candidates for some generations on the search split."""
    path = Path(args.data) if args.data else trained.write_digits(folder / "digits")
    data = open_data(f"folder/{path.resolve()}", search_fraction=0.1 if args.data else 0.3)
    shown = default_input(data, trained.SIZE, 3)
    classes = len(data.classes)
    images = eval_cache(data.train, shown, folder=folder)
    made = trained.make(classes)
    net = trained.once(args.net, made, images, args.train_steps, flip=bool(args.data))
    theirs = None
    if args.cream:
        config = {**NANO, "patch_size": trained.PATCH, "num_classes": classes}
        theirs = official(args.cream, config)
        theirs.load_state_dict(cream.dump(net))
    search, test = (some(part, args.images or 400) for part in (data.search, data.test))
    candidates, told = breed(net, eval_cache(search, shown), args.candidates)
    return Case(net.eval(), theirs, search, test, shown, candidates, told)


def breed(net: Supernet, split: EvalSet, count: int) -> tuple[list[Arch], dict[Arch, float]]:
    """Return a generation and the scores of those before it; print what each has in common.

    Candidates have at most the median number of parameters.
    """
    config = net.config.to_dict()

    def params(arch: Arch) -> int:
        return cost.params(arch, **config)

    limit = statistics.median(params(trained.SPACE.sample(seed)) for seed in range(201))
    half = count // 2
    options = {"population": count, "parents": max(1, count // 5)}
    options |= {"mutants": half, "crossovers": half, "generations": GENERATIONS}
    searcher = make_searcher(
        "evolution", trained.SPACE, lambda arch: params(arch) <= limit, 0, options
    )
    told: dict[Arch, float] = {}
    rows = [("generation", "units apart / together", "best top-1", "of the last parent")]
    for generation in range(GENERATIONS + 1):
        asked = (searcher.ask() for _ in range(count))
        archs = [arch for arch in asked if arch is not None]
        row = ("random" if not generation else str(generation), shared(net, archs))
        if generation == GENERATIONS:
            table("Generations", [*rows, (*row, "timed below", "")])
            break
        for arch, scores in zip(archs, evaluate_subnets(net, archs, split), strict=True):
            searcher.tell(arch, scores.top1)
            told[arch] = scores.top1
        best = sorted(told.values(), reverse=True)
        rows.append((*row, f"{best[0]:.2f}", f"{best[options['parents'] - 1]:.2f}"))
    return archs, told


def tiny(args: Namespace, folder: Path) -> Case:
    """Take random weights and random candidates: what the forward pass costs, without racing."""
    path = Path(args.data) if args.data else write_photos(folder / "photos")
    data = open_data(f"folder/{path.resolve()}", search_fraction=0.4)
    theirs, net = pair(args.cream, TINY)
    search, test = (some(part, args.images or 16) for part in (data.search, data.test))
    searched: Space = space("autoformer-tiny-wide")
    candidates = [searched.sample(seed) for seed in range(args.candidates)]
    return Case(net.eval(), theirs, search, test, default_input(data, 224, 3), candidates)


def write_photos(folder: Path) -> Path:
    """Write parts of the two photographs of scikit-learn as JPEG files of 500 × 375 pixels."""
    from PIL import Image
    from sklearn.datasets import load_sample_images

    rng = np.random.default_rng(0)
    for label, photo in enumerate(load_sample_images().images):
        for index in range(60):
            top, left = (int(rng.integers(0, room)) for room in (427 - 375, 640 - 500))
            path = folder / str(label) / f"{index:03}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(photo[top : top + 375, left : left + 500]).save(path, quality=90)
    return folder


def some(split: Split, count: int) -> Split:
    """Return so many images of a split, drawn at random."""
    places = np.random.default_rng(0).permutation(len(split))[:count]
    return Split(split.source, split.indices[np.sort(places)])


def shared(net: Supernet, archs: Sequence[Arch]) -> str:
    """Return how many units archs have, over how many the trie runs."""
    apart = sum(len(net.units(arch)) for arch in archs)
    together = sum(map(len, joint.trie(net, archs)))
    return f"{apart} / {together} = {apart / together:.2f}"


def works(case: Case, args: Namespace, size: int, found: dict[str, Any]) -> dict[str, Work]:
    """Return what is timed; each leaves its result in `found`."""
    net, archs = case.net, case.candidates
    joined = partial(evaluate_subnets, net, batch_size=size)

    def decoded() -> EvalSet:
        return eval_cache(case.search, case.input)

    def officially() -> None:
        images = loader(case.search, case.input.img_size[0], args.batch_size, args.workers)
        found["official"] = [evaluate_officially(case.theirs, arch, images) for arch in archs]

    def tested() -> None:
        images = loader(case.test, case.input.img_size[0], args.batch_size, args.workers)
        for arch in archs[::10]:
            evaluate_officially(case.theirs, arch, images)

    def apart() -> None:
        split = decoded()
        found["apart"] = [joined(archs=[arch], split=split)[0] for arch in archs]

    def together() -> None:
        found["split"] = decoded()
        found["together"] = joined(archs=archs, split=found["split"])

    def ordering() -> None:
        best = sorted(case.told, key=lambda arch: -case.told[arch])[: case.parents]
        found["order"] = hard_first(net, found["split"], best, batch_size=size).order

    def racing() -> None:
        split, bar = decoded().reordered(found["order"]), case.bar
        found["racing"] = joined(archs=archs, split=split, hopeless=lambda _, most: most < bar)

    chosen: dict[str, Work] = {}
    if case.theirs is not None:
        chosen |= {"official": officially, "official test, every 10th": tested}
    chosen |= {"apart": apart, "together": together}
    return chosen | ({"ordering": ordering, "racing": racing} if case.told else {})


def speeds(seconds: Mapping[str, list[float]], case: Case) -> list[tuple[str, ...]]:
    """Return a row for each way to evaluate, with what it gains."""
    names = {
        "official": "official protocol, search split",
        "apart": "decoded once, our forward pass",
        "together": "+ common units once",
        "racing": "+ racing, hard images first",
    }
    rows: list[tuple[str, ...]] = [("", "seconds", "official / this", "the row before / this")]
    before: list[float] | None = None
    base = seconds.get("official")
    for key in (key for key in names if key in seconds):
        each = seconds[key]
        gain, whole = (ratios(slow, each) for slow in (before, base))
        rows.append((names[key], f"{statistics.median(each):.1f}", whole, gain))
        before = each
    if not base or not before:
        return rows
    sums = {}
    if "ordering" in seconds:
        sums["with finding the order (it serves a whole search)"] = (
            base,
            [one + two for one, two in zip(before, seconds["ordering"], strict=True)],
        )
    # every 10th candidate stands for all, on the test images in hand
    tests = seconds["official test, every 10th"]
    share = len(case.candidates) / len(case.candidates[::10])
    both = [one + share * other for one, other in zip(base, tests, strict=True)]
    sums["official on search and test, over the last of ours"] = both, before
    for name, (slow, fast) in sums.items():
        rows.append((name, f"{statistics.median(fast):.1f}", ratios(slow, fast), "-"))
    return rows


def checks(case: Case, found: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return what is the same, and how much was computed."""
    apart: list[Scores] = found["apart"]
    total, count = len(case.search), len(case.candidates)
    rows = [("exactness and work", "")]
    if "official" in found:
        same = sum(a == b.top1 for a, b in zip(found["official"], apart, strict=True))
        rows.append(("candidates with the official top-1", f"{same} of {count}"))
    same = sum(_figures(a) == _figures(b) for a, b in zip(apart, found["together"], strict=True))
    rows.append(("together as apart: top-1, top-5, loss", f"{same} of {count}"))
    rows.append(("units apart / together", shared(case.net, case.candidates)))
    if "racing" in found:
        rows += _race(case, apart, found["racing"])
    return [*rows, ("images", f"{total} of the search split, {len(case.test)} of test")]


def _race(
    case: Case, apart: Sequence[Scores], raced: Sequence[Scores | Stopped]
) -> Iterable[tuple[str, str]]:
    pairs = list(zip(apart, raced, strict=True))
    kept = [(a, b) for a, b in pairs if isinstance(b, Scores)]
    stopped = [(a, b) for a, b in pairs if isinstance(b, Stopped)]
    same = sum((a.top1, a.top5) == (b.top1, b.top5) for a, b in kept)
    below = sum(a.top1 <= b.at_most < case.bar for a, b in stopped)
    truth = {**case.told, **dict(zip(case.candidates, (a.top1 for a in apart), strict=True))}
    known = {**case.told}
    for arch, b in zip(case.candidates, raced, strict=True):
        known[arch] = b.top1 if isinstance(b, Scores) else b.at_most
    elites = [sorted(x, key=lambda arch: -x[arch])[: case.parents] for x in (truth, known)]
    seen = sum(b.images for b in raced) / (len(raced) * len(case.search))
    yield "kept candidates with the same top-1 and top-5", f"{same} of {len(kept)}"
    yield f"stopped candidates below {case.bar:.2f}", f"{below} of {len(stopped)}"
    yield "parents of the next generation", "same" if elites[0] == elites[1] else "OTHERS"
    yield "images × candidates forwarded in the race", f"{100 * seen:.0f} %"


def _figures(scores: Scores) -> tuple[float, float, float]:
    return scores.top1, scores.top5, scores.loss


def options() -> ArgumentParser:
    """Return the parser."""
    parser = arguments(__doc__ or "")
    parser.set_defaults(repeats=2, batch_size=128)  # the official search's 2 × 64
    add = parser.add_argument
    add("--size", choices=("nano", "T"), default="nano", help="trained nano or random AutoFormer-T")
    add("--data", help="folder of class folders of images (default: images of scikit-learn)")
    add("--images", type=int, help="of the search split (default: 400, for T 16)")
    add("--candidates", type=int, default=50)
    add("--train-steps", type=int, default=1000)
    add("--net", help="folder that keeps the trained supernet, or has it")
    add("--workers", type=int, default=0, help="of the official loader (default: 0)")
    return parser


def main() -> None:
    """Print the two tables."""
    args = options().parse_args()
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        case = (nano if args.size == "nano" else tiny)(args, Path(folder))
        size = best_batch_size(case.net, eval_cache(case.search, case.input))
        found: dict[str, Any] = {}
        seconds = alternate(works(case, args, size, found), args.repeats, warmup=0)
        title = f"{len(case.candidates)} candidates, {args.size}, decoding included, ours in "
        table(f"{title}batches of {size}, official of {args.batch_size}", speeds(seconds, case))
        table("The same results", checks(case, found))


if __name__ == "__main__":
    main()
