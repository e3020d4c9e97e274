"""Images with labels, read one at a time, whatever they are stored in.

A `Source` knows where its images are; `read` decodes one and names it when it can't; a `Split` is
some images of a source. None of this needs torch.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vitnas.errors import InputError

Integers = NDArray[np.int64]


class Source(Protocol):
    """Labelled images with random access."""

    @property
    def labels(self) -> Integers:
        """Class index of each image."""

    def open(self, index: int) -> Image.Image:
        """The image, perhaps not decoded yet. Any exception means that it can't be read."""

    def where(self, index: int) -> str:
        """What an error message calls the image."""

    def fingerprint(self) -> str:
        """Changes whenever the images may have changed."""


@dataclass(frozen=True, eq=False)
class ArrayImages:
    """Images in memory: uint8 of shape (N, H, W) or (N, H, W, 3)."""

    name: str
    pixels: NDArray[np.uint8]
    labels: Integers

    def open(self, index: int) -> Image.Image:
        """The image as PIL has it."""
        return Image.fromarray(self.pixels[index])

    def where(self, index: int) -> str:
        """The data set and the index."""
        return f"{self.name}[{index}]"

    def fingerprint(self) -> str:
        """Hash of the pixels."""
        key = hashlib.blake2b(np.ascontiguousarray(self.pixels).data, digest_size=16)
        key.update(str(self.pixels.shape).encode())
        return key.hexdigest()


@dataclass(frozen=True, eq=False)
class FileImages:
    """One file an image."""

    files: tuple[str, ...]
    labels: Integers

    def open(self, index: int) -> Image.Image:
        """The image, not decoded."""
        return Image.open(self.files[index])

    def where(self, index: int) -> str:
        """The path."""
        return self.files[index]

    def fingerprint(self) -> str:
        """Hash of paths, sizes and times of change."""
        return hash_files(self.files)


@dataclass(frozen=True, eq=False)
class PackedImages:
    """Encoded images inside larger files, such as tar shards: file number, offset and size."""

    files: tuple[str, ...]
    names: tuple[str, ...]
    places: NDArray[np.int64]
    labels: Integers

    def open(self, index: int) -> Image.Image:
        """The image, not decoded."""
        number, offset, size = self.places[index].tolist()
        with Path(self.files[number]).open("rb") as file:
            file.seek(offset)
            return Image.open(io.BytesIO(file.read(size)))

    def where(self, index: int) -> str:
        """The path of the larger file and the name inside."""
        return f"{self.files[self.places[index, 0]]}:{self.names[index]}"

    def fingerprint(self) -> str:
        """Hash of paths, sizes and times of change of the larger files."""
        return hash_files(self.files)


@dataclass(frozen=True, eq=False)
class Split:
    """Some images of a source: map-style, items are (PIL image of mode L or RGB, class index)."""

    source: Source
    indices: Integers

    @property
    def labels(self) -> Integers:
        """Class index of each image, without reading one."""
        return self.source.labels[self.indices]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        place = int(self.indices[index])
        return read(self.source, place), int(self.source.labels[place])

    def fingerprint(self) -> str:
        """Hash of the images, their order and their labels."""
        key = hashlib.blake2b(self.source.fingerprint().encode(), digest_size=16)
        key.update(self.indices.tobytes())
        key.update(self.labels.tobytes())
        return key.hexdigest()


def read(source: Source, index: int) -> Image.Image:
    """Decode one image to 8 bits: mode L when it is grey, else RGB.

    Raises:
        InputError: the image is missing, truncated, no image, or of a kind with more than 16 bits.
    """
    try:
        with source.open(index) as image:
            image.load()
            return _eight_bits(image)
    except MemoryError:
        raise
    except Exception as error:  # PIL's plug-ins raise many types for a broken file
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise InputError(
            f"can't read image {source.where(index)}: {reason or type(error).__name__}; "
            "replace or delete it; training skips it with --set skip_broken=true, other "
            "commands with --skip-broken yes"
        ) from error


def unbroken(source: Source, indices: Integers | None = None) -> tuple[Integers, list[str]]:
    """Decode every image once, or those of `indices`.

    Returns:
        The indices of those that can be read, and a name for each other.
    """
    from concurrent.futures import ThreadPoolExecutor

    def good(index: int) -> bool:
        try:
            read(source, index)
        except InputError:
            return False
        return True

    asked = as_integers(range(len(source.labels))) if indices is None else indices
    with ThreadPoolExecutor() as pool:  # PIL decodes without the interpreter lock
        fine = np.fromiter(pool.map(good, asked.tolist()), dtype=bool)
    return asked[fine], [source.where(index) for index in asked[~fine].tolist()]


def appearance(source: Source, at_most: int = 64) -> tuple[int, tuple[int, int] | None]:
    """Channels (1 or 3) and (height, width) if common, judged by images spread over the source."""
    seen = []
    last = len(source.labels) - 1
    for index in np.unique(np.linspace(0, last, at_most).astype(np.int64)).tolist():
        try:
            seen.append(read(source, index))
        except InputError:
            continue  # named when it is used
    sizes = {(image.height, image.width) for image in seen}
    grey = bool(seen) and all(image.mode == "L" for image in seen)
    return 1 if grey else 3, sizes.pop() if len(sizes) == 1 else None


def as_integers(numbers: Iterable[int]) -> Integers:
    """An int64 array."""
    return np.fromiter(numbers, dtype=np.int64)


def hash_files(files: Iterable[str]) -> str:
    """Hash of paths, sizes and times of change.

    Raises:
        InputError: a file has gone.
    """
    key = hashlib.blake2b(digest_size=16)
    for file in files:
        try:
            status = Path(file).stat()
        except OSError as error:
            raise InputError(f"can't read {file}: {error.strerror or error}") from error
        key.update(f"{file}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
    return key.hexdigest()


def _eight_bits(image: Image.Image) -> Image.Image:
    portable = image.mode == "I" and image.format == "PPM"  # a PGM of 16 bits
    if image.mode.startswith("I;16") or portable:  # PIL would clip at 255 and give a white image
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError(f"its pixels have 32 bits (mode {image.mode}), 8 or 16 are supported")
    mode = "L" if image.mode in ("1", "L", "LA", "La") else "RGB"
    return image if image.mode == mode else image.convert(mode)  # which would copy
