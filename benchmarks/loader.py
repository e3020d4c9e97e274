"""Is the data fast enough? Images a second of every stage alone, and of whole loaders.

Ratios are of times measured in turn. With a folder of real images: `--data folder/PATH`.
"""

from __future__ import annotations

import itertools
import statistics
import time
from dataclasses import replace

import torch
from torch.utils.data import default_collate

from common import Work, alternate, arguments, ratios, table
from vitnas.data import rng
from vitnas.data.batched import BatchTransform
from vitnas.data.decoded import decode_once
from vitnas.data.images import Split
from vitnas.data.loader import TrainLoader, train_loader
from vitnas.data.sources import Data, open_data
from vitnas.data.transforms import Augment, Input, default_input, make_mixup, train_transform

CACHE = 4 * 10**9  # bytes; more than any data set that one would benchmark with
KEY = (0, 0)


def main() -> None:
    """Print the tables."""
    parser = arguments(__doc__ or "")
    parser.set_defaults(batch_size=64)
    parser.add_argument("--data", default="digits", help="name as in a recipe (default: digits)")
    parser.add_argument("--img-size", type=int, help="(default: what is usual for the data)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--batches", type=int, default=10, help="of an epoch (default: 10)")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--step-ms", type=float, nargs="+", default=[10, 100], help="pretended steps (10 100)"
    )
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    data = open_data(given.data)
    input, device = default_input(data, given.img_size), torch.device(given.device)
    size = given.batch_size
    images = _first(data, size * given.batches)
    what = f"{given.data}, {len(images)} images at {input.img_size}, batch {size}, on {device}"
    print_stages(f"Stages alone: {what}", images, data, input, size, device, given.repeats)
    loaders = make_loaders(images, input, size, device, given.workers)
    print_loaders(f"Whole loaders: {what}", loaders, len(images), given.repeats)
    for step in given.step_ms:
        print_bottlenecks(f"With a step of {step:g} ms: {what}", loaders, step / 1000)


def print_stages(
    title: str,
    images: Split,
    data: Data,
    input: Input,
    size: int,
    device: torch.device,
    repeats: int,
) -> None:
    """Measure every stage on the same batch."""
    works = _stages(images, data, input, size, device)
    if device.type == "cuda":
        works = {name: _synchronised(work) for name, work in works.items()}
    seconds = alternate(works, repeats)
    rows: list[tuple[str, ...]] = [("stage", "images/s", "µs an image", "transform pil ÷ this")]
    for name, each in seconds.items():
        median = statistics.median(each) / size
        against = ratios(seconds["transform pil"], each)
        rows.append((name, f"{1 / median:,.0f}", f"{1e6 * median:.1f}", against))
    table(title, rows)


def _stages(
    images: Split, data: Data, input: Input, size: int, device: torch.device
) -> dict[str, Work]:
    augment = Augment()
    kept = decode_once(images, CACHE)
    batch = [kept[index] for index in range(size)]
    pictures = [image for image, _ in batch]
    labels = torch.tensor([label for _, label in batch], device=device)
    one_by_one, together = train_transform(input, augment), BatchTransform(input, augment, 0)
    crops = together.crop(pictures, KEY)
    there = crops.to(device)
    floats = [(image, 0) for image in together(pictures, KEY)]
    stacked = torch.stack([image for image, _ in floats])
    moved = stacked.to(device)
    mix = make_mixup(augment, len(data.classes))
    assert mix is not None

    def transform_pil() -> None:
        with rng.isolated():
            for position, image in enumerate(pictures):
                rng.seed_all("augment", 0, 0, position)
                one_by_one(image)

    works: dict[str, Work] = {
        "read and decode": lambda: [images[index] for index in range(size)],
        "read from memory": lambda: [kept[index] for index in range(size)],
        "transform pil": transform_pil,
        "transform batched": lambda: together.finish(together.crop(pictures, KEY).to(device), KEY),
        "  of it: crop": lambda: together.crop(pictures, KEY),
        "  of it: on the device": lambda: together.finish(there, KEY),
        "collate": lambda: default_collate(floats),
        "mixup": lambda: mix(moved, labels, 0),
    }
    if device.type == "cuda":
        pinned_floats, pinned_crops = stacked.pin_memory(), crops.pin_memory()
        works["transfer float32"] = lambda: pinned_floats.to(device, non_blocking=True)
        works["transfer uint8"] = lambda: pinned_crops.to(device, non_blocking=True)
    return works


def make_loaders(
    images: Split, input: Input, size: int, device: torch.device, workers: list[int]
) -> dict[str, TrainLoader]:
    """Make every kind of loader; the first is the one that the others are compared with."""
    kinds = itertools.product(("pil", "batched"), workers, (0, CACHE))
    return {
        f"{backend}, {count} workers, {'decoded once' if cache else 'decoded again'}": train_loader(
            images,
            input,
            replace(Augment(), backend=backend),
            batch_size=size,
            seed=0,
            epoch=0,
            workers=count,
            device=device,
            cache_bytes=cache,
        )
        for backend, count, cache in kinds
    }


def print_loaders(title: str, loaders: dict[str, TrainLoader], images: int, repeats: int) -> None:
    """Measure whole epochs in which nothing is done with the batches."""
    works = {name: _epoch(loader, 0.0) for name, loader in loaders.items()}
    seconds = alternate(works, repeats, warmup=1)
    reference = next(iter(seconds.values()))
    rows: list[tuple[str, ...]] = [("loader", "images/s", f"{next(iter(seconds))} ÷ this")]
    for name, each in seconds.items():
        rate = images / statistics.median(each)
        rows.append((name, f"{rate:,.0f}", ratios(reference, each)))
    table(title, rows)


def print_bottlenecks(title: str, loaders: dict[str, TrainLoader], step: float) -> None:
    """Say what limits training whose steps take so long, as training itself would say it."""
    rows: list[tuple[str, ...]] = [("loader", "training")]
    for name, loader in loaders.items():
        _epoch(loader, step)()
        rows.append((name, loader.stages.text()))
    table(title, rows)


def _epoch(loader: TrainLoader, step: float) -> Work:
    def work() -> None:
        for images, _ in loader:
            time.sleep(step)
            if images.is_cuda:
                torch.cuda.synchronize()

    return work


def _synchronised(work: Work) -> Work:
    def synchronised() -> None:
        work()
        torch.cuda.synchronize()

    return synchronised


def _first(data: Data, count: int) -> Split:
    """Return so many images, spread over the training set."""
    train = data.train
    step = max(len(train) // count, 1)
    return Split(train.source, train.indices[::step][:count])


if __name__ == "__main__":
    main()
