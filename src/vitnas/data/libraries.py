"""Data sets that other libraries read: torchvision through timm, and Hugging Face datasets."""

from __future__ import annotations

import importlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vitnas.data.images import ArrayImages, FileImages, Integers, Source, as_integers
from vitnas.data.opened import Opened
from vitnas.errors import InputError, unknown

TORCH_NAMES = (
    "cifar10", "cifar100", "mnist", "kmnist", "fashion_mnist", "qmnist", "imagenet", "places365",
)  # fmt: skip
TEST_SPLITS = ("test", "validation", "val", "valid")


def open_torch(name: str, root: Path | None) -> Opened:
    """A data set of torchvision, by timm's name for it, from files that lie in `root` already.

    Raises:
        InputError: unknown name, no root, or the files are missing or damaged.
    """
    if name not in TORCH_NAMES:
        raise unknown("data", f"torch/{name}", [f"torch/{known}" for known in TORCH_NAMES])
    if root is None:
        raise InputError(f"torch/{name} needs root: the folder that has torchvision's files of it")
    from timm.data import create_dataset

    try:
        train, test = (
            create_dataset(f"torch/{name}", str(root), split=split)
            for split in ("train", "validation")
        )
    except (RuntimeError, OSError, ValueError) as error:
        raise InputError(
            f"torch/{name} is missing or damaged in {root}; put torchvision's files there "
            "(nothing is downloaded)"
        ) from error
    classes = tuple(_class_name(entry) for entry in train.classes)
    return Opened(
        _torch_images(name, train), classes, f"torchvision's training split in {root}",
        _torch_images(name, test), f"torchvision's evaluation split in {root}",
    )  # fmt: skip


def _class_name(entry: str | tuple[str, ...]) -> str:
    return entry if isinstance(entry, str) else entry[0]  # ImageNet has synonyms


def _torch_images(name: str, dataset: Any) -> Source:
    labels = np.asarray(dataset.targets, dtype=np.int64)
    labels = labels if labels.ndim == 1 else labels[:, 0]  # QMNIST has more than the class
    if hasattr(dataset, "data"):
        return ArrayImages(f"torch/{name}", np.asarray(dataset.data), labels)
    pairs = dataset.samples if hasattr(dataset, "samples") else dataset.imgs
    return FileImages(tuple(str(file) for file, _ in pairs), labels)


@dataclass(frozen=True, eq=False)
class TableImages:
    """Rows of a Hugging Face data set whose images are left encoded."""

    name: str
    table: Any
    column: str
    labels: Integers

    def open(self, index: int) -> Image.Image:
        """The image, not decoded."""
        cell = self.table[index][self.column]
        return Image.open(io.BytesIO(cell["bytes"]) if cell["bytes"] else cell["path"])

    def where(self, index: int) -> str:
        """The path in the table if it has one, and the row."""
        path = self.table[index][self.column].get("path")
        return f"{path or self.name}[{index}]"

    def labelled(self) -> bool:
        """Whether there are images and all have a class; test splits of contests often don't."""
        return len(self.labels) > 0 and int(self.labels.min()) >= 0

    def fingerprint(self) -> str:
        """The library's own fingerprint of the table."""
        return str(self.table._fingerprint)


def open_hugging_face(name: str, root: Path | None) -> Opened:
    """A data set of the `datasets` library: a name on the hub or a local folder; root is its cache.

    The image and the label column are found by their types.

    Raises:
        InputError: the library is not installed, the data set can't be loaded, or it has no train
            split, image column or class column.
    """
    try:
        library = importlib.import_module("datasets")
    except ImportError as error:
        raise InputError(
            f"hfds/{name} needs the library `datasets`; install it (pip install datasets)"
        ) from error
    try:
        tables = library.load_dataset(name, cache_dir=None if root is None else str(root))
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"can't load hfds/{name}: {reason}") from error
    if "train" not in tables:
        raise InputError(f"hfds/{name} has no train split, only {', '.join(tables)}")
    column, label = _columns(name, library, tables["train"].features)
    sources = {
        split: _table(name, library, table, column, label) for split, table in tables.items()
    }
    if not sources["train"].labelled():
        raise InputError(f"hfds/{name} has training images without a class (label -1), or none")
    test = next((s for s in TEST_SPLITS if s in sources and sources[s].labelled()), None)
    classes = tuple(tables["train"].features[label].names)
    how = f"the train split of {name}"
    if test is None:
        return Opened(sources["train"], classes, how)
    return Opened(sources["train"], classes, how, sources[test], f"the {test} split of {name}")


def _columns(name: str, library: Any, features: dict[str, Any]) -> tuple[str, str]:
    images = [key for key, kind in features.items() if isinstance(kind, library.Image)]
    labels = [key for key, kind in features.items() if isinstance(kind, library.ClassLabel)]
    if not images or not labels:
        missing = "a class label" if images else "an image"
        raise InputError(f"hfds/{name} has no column of {missing}; it has {', '.join(features)}")
    return images[0], "label" if "label" in labels else labels[0]


def _table(name: str, library: Any, table: Any, column: str, label: str) -> TableImages:
    encoded = table.cast_column(column, library.Image(decode=False))
    return TableImages(f"hfds/{name}", encoded, column, as_integers(encoded[label]))
