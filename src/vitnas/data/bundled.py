"""Data sets for trying things out: scikit-learn's digits and Fashion-MNIST from disk."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vitnas.data.images import ArrayImages
from vitnas.data.opened import Opened
from vitnas.errors import InputError

LARGEST = 1 << 26  # bytes of an IDX file; the largest of Fashion-MNIST has 47 million
FASHION_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
FASHION_PACKAGE = "dataset-fashion-mnist"
FASHION_FOLDER = Path("/usr/share/datasets/fashion-mnist")  # where that Debian package puts it


def open_digits() -> Opened:
    """1,797 grey images of 8×8 pixels, their 17 levels stretched to 0 … 255; no download."""
    from sklearn.datasets import load_digits

    images, labels = load_digits().images, load_digits().target
    pixels = np.round(images * (255 / 16)).astype(np.uint8)
    source = ArrayImages("digits", pixels, labels.astype(np.int64))
    return Opened(source, tuple("0123456789"), "scikit-learn's load_digits")


def open_fashion_mnist(root: Path | None) -> Opened:
    """60,000 + 10,000 grey images of 28×28 pixels from the four official files.

    Looked for in `root`, then where the Debian package puts them. Never downloaded.

    Raises:
        InputError: the files are not there, or damaged.
    """
    folders = [folder for folder in (root, FASHION_FOLDER) if folder is not None]
    names = [
        f"{part}-{kind}-ubyte.gz"
        for part in ("train", "t10k")
        for kind in ("images-idx3", "labels-idx1")
    ]
    folder = next((f for f in folders if all((f / name).is_file() for name in names)), None)
    if folder is None:
        raise InputError(
            f"fashion-mnist is not in {' or '.join(map(str, folders))}: install the Debian package "
            f"{FASHION_PACKAGE}, or give as root a folder that has {', '.join(names)}"
        )
    train, test = (_idx_pair(folder, part) for part in ("train", "t10k"))
    return Opened(
        train, FASHION_CLASSES, f"train files in {folder}", test, f"t10k files in {folder}"
    )


def _idx_pair(folder: Path, part: str) -> ArrayImages:
    images = read_idx(folder / f"{part}-images-idx3-ubyte.gz")
    labels = read_idx(folder / f"{part}-labels-idx1-ubyte.gz")
    if images.ndim != 3 or labels.shape != images.shape[:1] or labels.max(initial=0) > 9:
        raise InputError(f"the {part} files in {folder} don't hold images with labels 0 to 9")
    return ArrayImages(f"fashion-mnist {part}", images, labels.astype(np.int64))


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Read a gzipped IDX file of bytes (format: yann.lecun.com/exdb/mnist).

    Raises:
        InputError: it can't be read, it is damaged, or unpacks to more than 64 MiB.
    """
    try:
        with gzip.open(path) as file:
            content = file.read(LARGEST + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"can't read {path}: {error}; get the file again") from error
    if len(content) > LARGEST:
        raise InputError(f"{path} unpacks to more than {LARGEST >> 20} MiB; get the file again")
    start = 4 + 4 * content[3] if content[:3] == b"\0\0\x08" and len(content) > 3 else 0
    whole = 0 < start <= len(content)
    shape = np.frombuffer(content[4:start], dtype=">u4").tolist() if whole else []
    if not whole or len(content) - start != math.prod(shape):
        raise InputError(f"{path} is not a whole IDX file of bytes; get the file again")
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)
