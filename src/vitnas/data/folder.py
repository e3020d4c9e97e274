"""Image folders: a folder for each class, directly or inside a train and a test folder.

Classes are numbered in timm's order (numbers inside names count as numbers), files in the order of
their paths, so both are the same on every file system. Images may lie deeper than their class
folder; hidden files are left out.
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path

from vitnas.data.images import FileImages, as_integers
from vitnas.data.opened import Opened
from vitnas.data.splits import some
from vitnas.errors import InputError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm")
TRAIN = ("train", "training")
TEST = ("test", "val", "validation", "valid")

_log = logging.getLogger(__name__)


def open_folder(path: Path, *, test_alone: bool = False) -> Opened:
    """Find classes and images.

    With both a test and a validation folder the test folder is the test split, unless it has no
    class folders (unlabelled images). With `test_alone` there need be no train folder; then the
    training images are those of the test split.

    Raises:
        InputError: no such folder, no class folders, a class without images, no images, or test
            classes that training lacks.
    """
    if not path.is_dir():
        raise InputError(
            f"there is no folder {path}; folder/PATH takes a folder that has one folder of images "
            "for each class, or train and val folders of such"
        )
    inside = _folders(path)
    train = next((path / name for name in TRAIN if name in inside), None)
    tests = [path / name for name in TEST if name in inside]
    test = next((folder for folder in tests if _folders(folder)), None)
    lone = train is None and bool(tests) and len(tests) == len(inside)
    if lone and test is not None and test_alone:
        classes = _classes(test)
        source = _images(test, classes, may_lack=False)
        return Opened(source, classes, "", source, f"all of {test}")
    if lone:
        raise InputError(f"{path} has {tests[0].name} but no train folder; add it")
    classes = _classes(train or path)
    source = _images(train or path, classes, may_lack=False)
    if train is None:
        return Opened(source, classes, f"every image of {path}")
    if test is None:
        return Opened(source, classes, f"every image of {train}")
    if extra := sorted(set(_folders(test)) - set(classes)):
        raise InputError(
            f"{test} has a class {extra[0]!r} that {train} lacks; both need the same class folders"
        )
    return Opened(
        source, classes, f"every image of {train}", _images(test, classes, True), f"all of {test}"
    )


def _folders(path: Path) -> list[str]:
    return [entry.name for entry in _listed(path) if entry.is_dir()]


def _listed(path: Path) -> list[Path]:
    try:
        return [entry for entry in path.iterdir() if not entry.name.startswith(".")]
    except OSError as error:
        raise InputError(f"can't read folder {path}: {error.strerror or error}") from error


def _classes(path: Path) -> tuple[str, ...]:
    names = sorted(_folders(path), key=lambda name: (_natural(name), name))
    if not names:
        raise InputError(
            f"{path} has no class folders; put the images of each class in a folder of its own, "
            f"as in {path / 'CLASS' / 'image.jpg'}"
        )
    if len(names) == 1:
        raise InputError(f"{path} has only one class folder, {names[0]!r}; two or more are needed")
    return tuple(names)


def _natural(name: str) -> list[int | str]:
    parts = re.split(r"(\d+)", name.lower())
    return [int(part) if number % 2 else part for number, part in enumerate(parts)]


def _images(path: Path, classes: tuple[str, ...], may_lack: bool) -> FileImages:
    found = [image_files(path / name) for name in classes]
    if not any(found):
        raise InputError(
            f"the class folders of {path} have no images (looked for {', '.join(EXTENSIONS)})"
        )
    empty = [str(path / name) for name, files in zip(classes, found, strict=True) if not files]
    if empty and not may_lack:
        raise InputError(f"class folder {empty[0]} has no images; add some or delete the folder")
    if empty:
        _log.warning("no test images in %s", some(empty))
    labels = [label for label, files in enumerate(found) for _ in files]
    return FileImages(tuple(file for files in found for file in files), as_integers(labels))


def image_files(folder: Path) -> list[str]:
    """Return the images of a folder and of those inside, hidden ones left out, ordered by path.

    Raises:
        InputError: one of the folders can't be read.
    """
    if not folder.is_dir():
        return []
    files = []
    for where, folders, names in os.walk(folder, followlinks=True, onerror=_refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        files += [
            Path(where, name)
            for name in names
            if not name.startswith(".") and Path(name).suffix.lower() in EXTENSIONS
        ]
    return [str(file) for file in sorted(files, key=lambda file: file.relative_to(folder).parts)]


def _refuse(error: OSError) -> None:
    raise InputError(f"can't read folder {error.filename}: {error.strerror}") from error
