"""WebDataset shards (`wds/PATH`): tar files of NAME.jpg and NAME.cls, read with random access.

The usual reader streams shards; a stream can't be split per class, nor continued exactly at a
batch. So the shards are indexed once (headers only) and images are read where they lie.
"""

from __future__ import annotations

import re
import tarfile
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from vitnas.data.images import PackedImages, as_integers
from vitnas.data.opened import Opened
from vitnas.errors import InputError
from vitnas.files import read_json

IMAGES = (".jpg", ".jpeg", ".png", ".webp")
CLASSES = 1_000_000  # at most; each gets a name
TRAIN = ("train", "training")
TEST = ("test", "validation", "val", "valid")


def open_shards(path: Path, *, test_alone: bool = False) -> Opened:
    """Index the shards of a folder.

    Which shard belongs to which split is taken from `_info.json` or `info.json` in timm's format,
    else from the file names (`…-train-0000.tar`, `…-validation-0000.tar`). With `test_alone` there
    need be no training shards; then the training images are those of the test split.

    Raises:
        InputError: no such folder, no training shards, a damaged shard, or samples without a class.
    """
    if not path.is_dir():
        raise InputError(f"there is no folder {path}; wds/PATH takes a folder of .tar shards")
    splits = _splits(path)
    train = next((splits[name] for name in TRAIN if name in splits), None)
    test = next((splits[name] for name in TEST if name in splits), None)
    if train is None and test_alone:
        train = test
    if train is None:
        raise InputError(
            f"{path} has no training shards; it needs files such as NAME-train-0000.tar, "
            "or an _info.json that lists them"
        )
    source = _index(train)
    held = None if test is None else _index(test)
    last = max(int(part.labels.max()) for part in (source, held) if part is not None)
    classes = tuple(str(label) for label in range(last + 1))
    return Opened(
        source, classes, f"training shards in {path}", held, f"evaluation shards in {path}"
    )


def _splits(path: Path) -> dict[str, list[Path]]:
    for info in (path / "_info.json", path / "info.json"):
        if info.is_file():
            return _listed(info, read_json(info))
    found: dict[str, list[Path]] = {}
    for shard in sorted(path.glob("*.tar")):
        for word in {*re.split(r"[-_.]", shard.stem.lower())} & {*TRAIN, *TEST}:
            found.setdefault(word, []).append(shard)
    return found


def _listed(info: Path, content: Any) -> dict[str, list[Path]]:
    try:
        splits = content["splits"].items()
        return {
            name: shards
            for name, split in splits
            if (shards := [info.parent / file for file in split["filenames"]])
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{info} doesn't list splits with their filenames") from error


def _index(shards: list[Path]) -> PackedImages:
    rows = [row for number, shard in enumerate(shards) for row in _samples(number, shard)]
    if not rows:
        raise InputError(f"{shards[0]} and the other shards of its split have no images")
    names, places, labels = zip(*rows, strict=True)
    files = tuple(str(shard) for shard in shards)
    return PackedImages(files, names, np.asarray(places, dtype=np.int64), as_integers(labels))


def _samples(number: int, shard: Path) -> list[tuple[str, tuple[int, int, int], int]]:
    """Name, place (shard, offset, size) and class of every image."""
    images: dict[str, tuple[str, tuple[int, int, int]]] = {}
    labels: dict[str, int] = {}
    try:
        with tarfile.open(shard, "r:") as tar:
            for member in tar:
                file = PurePosixPath(member.name)
                key, _, kind = file.name.partition(".")
                key = str(file.parent / key)
                if f".{kind.lower()}" in IMAGES:
                    images[key] = member.name, (number, member.offset_data, member.size)
                elif kind == "cls" and (content := tar.extractfile(member)) is not None:
                    labels[key] = int(content.read(64))
    except (OSError, tarfile.TarError, ValueError) as error:
        raise InputError(f"can't read shard {shard}: {error}") from error
    for key, (name, _) in images.items():
        if not 0 <= labels.get(key, -1) < CLASSES:
            raise InputError(
                f"{name} in {shard} has no class; a file {key}.cls with a number below "
                f"{CLASSES:,} is needed"
            )
    return [(name, place, labels[key]) for key, (name, place) in images.items()]
