"""Training images decoded once and kept in memory, where they fit."""

from __future__ import annotations

import logging
import multiprocessing
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vitnas.data.images import ArrayImages, Integers, Source, Split, read

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class DecodedImages:
    """Images of any sizes in memory: their uint8 pixels one after the other, shapes beside.

    One buffer for all, because worker processes share its pages as long as nobody writes there.
    """

    origin: Source
    pixels: NDArray[np.uint8]
    starts: Integers
    shapes: tuple[tuple[int, ...], ...]
    labels: Integers

    def open(self, index: int) -> Image.Image:
        """The image as PIL has it."""
        start, stop = self.starts[index : index + 2].tolist()
        return Image.fromarray(self.pixels[start:stop].reshape(self.shapes[index]))

    def where(self, index: int) -> str:
        """The number in memory."""
        return f"decoded image {index}"

    def fingerprint(self) -> str:
        """That of the files."""
        return self.origin.fingerprint()


def decode_once(images: Split, limit: int, workers: int = 0) -> Split:
    """Return the same images decoded, if they take at most `limit` bytes; else what was given.

    Nothing is kept twice: images in memory stay as they are, and so do all if the system gives
    each worker process a copy. Of sets that are too large a few headers are read, no more.

    Raises:
        InputError: an image is broken.
    """
    if isinstance(images.source, ArrayImages | DecodedImages) or not len(images):
        return images
    if workers and multiprocessing.get_context().get_start_method() != "fork":
        return images
    expected = _expected_bytes(images)
    if expected > limit:
        return images
    began = time.monotonic()
    buffer, starts, shapes = np.empty(max(expected, 1), np.uint8), [0], []
    with ThreadPoolExecutor() as pool:  # PIL decodes without the interpreter lock
        places = images.indices.tolist()
        for image in pool.map(lambda place: read(images.source, place), places):
            pixels = np.asarray(image)
            stop = starts[-1] + pixels.size
            if stop > limit:
                pool.shutdown(cancel_futures=True)
                return images
            if stop > len(buffer):
                buffer.resize(min(limit, stop + stop // 4), refcheck=False)
            buffer[starts[-1] : stop] = pixels.reshape(-1)
            starts.append(stop)
            shapes.append(pixels.shape)
    buffer.resize(starts[-1], refcheck=False)
    _log.info(
        "decoded %d training images into memory: %.0f MB in %.1f s",
        len(images),
        len(buffer) / 1e6,
        time.monotonic() - began,
    )
    source = DecodedImages(
        images.source, buffer, np.asarray(starts, np.int64), tuple(shapes), images.labels
    )
    return Split(source, np.arange(len(images), dtype=np.int64))


def _expected_bytes(images: Split, at_most: int = 64) -> int:
    """Judged by the headers of images spread over the set; 0 where none can be read."""
    sizes = []
    for number in np.unique(np.linspace(0, len(images) - 1, at_most).astype(np.int64)):
        try:
            with images.source.open(int(images.indices[number])) as image:
                grey = image.mode in ("1", "L", "LA", "La") or image.mode.startswith("I;16")
                sizes.append(image.width * image.height * (1 if grey else 3))
        except Exception:  # PIL's plug-ins raise many types; it is named when it is decoded
            continue
    return int(np.mean(sizes) * len(images)) if sizes else 0
