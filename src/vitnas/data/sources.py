"""Open a data set by name, with its three splits.

*train* is what is trained on. *search* is held out of train, per class and seeded; searching ranks
on it. *test* is only ever the data set's own test images, or, where it has none, images held out
with a seed that never changes, so that no training with any seed has seen them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from vitnas.data import splits
from vitnas.data.bundled import open_digits, open_fashion_mnist
from vitnas.data.folder import open_folder
from vitnas.data.images import Integers, Source, Split, appearance, unbroken
from vitnas.data.libraries import TORCH_NAMES, open_hugging_face, open_torch
from vitnas.data.opened import Opened
from vitnas.data.shards import open_shards
from vitnas.errors import InputError, unknown

TEST_FRACTION = 0.2  # of a data set that has no test images of its own

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Data:
    """A data set with its splits: map-style, each item a PIL image (mode L or RGB) and its class.

    `channels` is 1 when all images are grey, else 3; `size` is (height, width) when all images
    share it. Of large data sets both are judged by images spread over the training images.
    """

    name: str
    train: Split
    search: Split
    test: Split
    classes: tuple[str, ...]
    channels: int
    size: tuple[int, int] | None
    seed: int
    search_fraction: float
    how: dict[str, str]
    skipped: tuple[str, ...] = ()

    def describe(self) -> dict[str, Any]:
        """Where the images of each split come from, as JSON-able values."""
        return {
            "name": self.name,
            "num_classes": len(self.classes),
            "images": {
                "train": len(self.train), "search": len(self.search), "test": len(self.test),
            },
            "seed": self.seed,
            "search_fraction": self.search_fraction,
            "how": dict(self.how),
            "skipped": list(self.skipped),
        }  # fmt: skip


def open_data(
    name: str,
    *,
    search_fraction: float = 0.1,
    seed: int = 0,
    root: str | None = None,
    skip_broken: bool = False,
    test_alone: bool = False,
) -> Data:
    """Open a data set.

    Args:
        name: `digits`, `fashion-mnist`, `folder/PATH`, `torch/NAME`, `hfds/NAME` or `wds/PATH`.
        search_fraction: part of each class of the training images that is held out for searching.
        seed: which images those are.
        root: folder of the files of `fashion-mnist` and `torch/…`, cache of `hfds/…`; the PATH of
            the others is taken relative to it.
        skip_broken: decode every image first and leave out those that can't be read. Without it
            such an image is an error when it is read.
        test_alone: only the test split is wanted. Test images of the data set's own are enough for
            that: training images may be few or none (a folder of ImageNet that has `val` only), and
            the other splits are empty then.

    Raises:
        InputError: unknown name, missing or damaged files, a wrong fraction, or a class with too
            few images.
    """
    if not 0 < search_fraction < 1:
        raise InputError(
            f"search_fraction is {search_fraction}, it must lie between 0 and 1 "
            "(0.1 holds out a tenth)"
        )
    path = None if root is None else Path(root).expanduser()
    opened = _open(name, path, test_alone=test_alone)
    if test_alone and opened.test is not None:
        return _test_alone(name, opened, opened.test, search_fraction, seed, skip_broken)
    pool, dropped = _usable(opened.train, skip_broken)
    test_pool, more = _usable(opened.test, skip_broken)
    _tell_skipped(name, dropped + more)
    if not len(pool):
        raise InputError(f"{name} has no training image that can be read")
    parts = ["train", "search"] if opened.test is not None else ["train", "search", "test"]
    splits.check_counts(name, opened.train.labels[pool], opened.classes, parts)

    test_how = opened.test_how
    if opened.test is None:
        kept, held = splits.hold_out(opened.train.labels[pool], TEST_FRACTION, "test")
        pool, test_pool = pool[kept], pool[held]
        test_how = (
            f"{TEST_FRACTION:.0%} of each class of {opened.train_how}, the same for every seed"
        )
    elif not len(test_pool):
        raise InputError(f"{name} has no test image that can be read")
    kept, held = splits.hold_out(opened.train.labels[pool], search_fraction, "search", seed)
    channels, size = appearance(opened.train)
    return Data(
        name=name,
        train=Split(opened.train, pool[kept]),
        search=Split(opened.train, pool[held]),
        test=Split(opened.test or opened.train, test_pool),
        classes=opened.classes,
        channels=channels,
        size=size,
        seed=seed,
        search_fraction=search_fraction,
        how={
            "train": f"{opened.train_how}, without search and test images",
            "search": f"{search_fraction:.4g} of each class of the training images, seed {seed}",
            "test": test_how,
        },
        skipped=tuple(dropped + more),
    )


def _test_alone(
    name: str, opened: Opened, source: Source, search_fraction: float, seed: int, skip_broken: bool
) -> Data:
    """Return the data with the test split, which is of `source`, and the others empty."""
    pool, dropped = _usable(source, skip_broken)
    _tell_skipped(name, dropped)
    if not len(pool):
        raise InputError(f"{name} has no test image that can be read")
    nothing = Split(opened.train, pool[:0])
    channels, size = appearance(opened.train)
    return Data(
        name=name,
        train=nothing,
        search=nothing,
        test=Split(source, pool),
        classes=opened.classes,
        channels=channels,
        size=size,
        seed=seed,
        search_fraction=search_fraction,
        how={"test": opened.test_how},
        skipped=tuple(dropped),
    )


def _tell_skipped(what: str, broken: list[str]) -> None:
    if broken:
        named = splits.some(broken)
        _log.warning("%s: skipped %d broken images: %s", what, len(broken), named)


def without_broken(data: Data, split: Literal["search", "test"]) -> Data:
    """Return the data with the broken images of one split left out, after a warning.

    They are not split again without them: that could bring images of training into the split.

    Raises:
        InputError: no image is left.
    """
    held = data.search if split == "search" else data.test
    fine, broken = unbroken(held.source, held.indices)
    if not broken:
        return data
    what = f"{split} split of {data.name}"
    if not len(fine):
        raise InputError(f"the {what} has no image that can be read")
    _tell_skipped(what, broken)
    left = Split(held.source, fine)
    return replace(data, search=left) if split == "search" else replace(data, test=left)


def _open(name: str, root: Path | None, *, test_alone: bool) -> Opened:
    kind, _, rest = name.partition("/")
    path = (root or Path()) / Path(rest).expanduser()
    openers: dict[str, Callable[[], Opened]] = {
        "folder": lambda: open_folder(path, test_alone=test_alone),
        "torch": lambda: open_torch(rest, root),
        "hfds": lambda: open_hugging_face(rest, root),
        "wds": lambda: open_shards(path, test_alone=test_alone),
    }
    if name == "digits":
        return open_digits()
    if name == "fashion-mnist":
        return open_fashion_mnist(root)
    if kind in openers and rest:
        return openers[kind]()
    raise _unknown(name)


def _unknown(name: str) -> InputError:
    kind = name.partition("/")[0]
    if kind in ("hfids", "tfds"):
        return InputError(
            f"{name} is a stream, which can't be split or continued exactly; "
            "use hfds/, wds/ or folder/"
        )
    if Path(name).expanduser().is_dir():
        return InputError(f"unknown data {name!r}; a folder of images is named folder/{name}")
    named = ["digits", "fashion-mnist", "folder/PATH", "hfds/NAME", "wds/PATH"]
    return unknown("data", name, named + [f"torch/{known}" for known in TORCH_NAMES])


def _usable(source: Source | None, skip_broken: bool) -> tuple[Integers, list[str]]:
    if source is None:
        return np.empty(0, dtype=np.int64), []
    if not skip_broken:
        return np.arange(len(source.labels), dtype=np.int64), []
    return unbroken(source)
