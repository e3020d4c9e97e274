"""Evaluation images decoded once: searching evaluates many subnets on the same ones.

Resized and cropped uint8 pixels are kept in memory or in a memory-mapped file, and normalised by
the batch with the operations of `eval_transform` in its order, so the values are the same bits.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
from torch import Tensor
from torch.utils.data import Dataset

from vitnas.data import rng
from vitnas.data.images import Split
from vitnas.data.loader import checked, collate
from vitnas.data.transforms import Input, Transform, pixel_transform
from vitnas.data.workers import Loader, leave_stopping_to_main
from vitnas.errors import InputError
from vitnas.files import write

VERSION = 1  # of the pixels; raise it when the same settings come to give other pixels

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class EvalSet:
    """Decoded images: uint8 (N, C, H, W) with int64 labels (N,), and how to normalise them.

    `order` (N,) says in which order they are gone through, by default as they are stored.
    """

    images: Tensor
    labels: Tensor
    mean: tuple[float, ...]
    std: tuple[float, ...]
    order: Tensor | None = None

    def __len__(self) -> int:
        return len(self.images)

    def batches(
        self, batch_size: int, device: str | torch.device = "cpu"
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Float32 images (B, C, H, W), normalised, and labels (B,); the last may be smaller."""
        if batch_size < 1:
            raise InputError(f"batch_size is {batch_size}, it must be 1 or more")
        mean, std = (torch.tensor(v, device=device).view(-1, 1, 1) for v in (self.mean, self.std))
        for start in range(0, len(self), batch_size):
            images, labels = (
                _move(self._part(stored, start, batch_size), torch.device(device))
                for stored in (self.images, self.labels)
            )
            yield images.to(torch.float32).div_(255).sub_(mean).div_(std), labels

    def _part(self, stored: Tensor, start: int, count: int) -> Tensor:
        if self.order is None:
            return stored[start : start + count]
        return stored.index_select(0, self.order[start : start + count].to(stored.device))

    def reordered(self, places: Tensor) -> EvalSet:
        """The same images gone through in another order: `places` (N,) are those of this order.

        Nothing is copied: images in a file stay there.

        Raises:
            ValueError: `places` has not every place once.
        """
        if not torch.equal(places.sort().values, torch.arange(len(self))):
            raise ValueError(f"the places of {len(self)} images are not each given once")
        return replace(self, order=places if self.order is None else self.order[places])

    def to(self, device: str | torch.device) -> EvalSet:
        """The set with its pixels on a CUDA device, if they take at most half of its free memory.

        Otherwise, and on other devices, the set itself: batches are copied when they are asked for.
        """
        device = torch.device(device)
        if device.type != "cuda" or self.images.device.type == "cuda":
            return self
        free, _ = torch.cuda.mem_get_info(device)
        if 2 * self.images.nbytes > free:
            return self
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))

    def subset(self, n: int, seed: int) -> EvalSet:
        """`n` images in memory, each class with its share of them (rounded), drawn with the seed.

        They come in the order in which they are stored.

        Raises:
            InputError: there are fewer than `n`.
        """
        if not 1 <= n <= len(self):
            raise InputError(f"can't take {n} images out of {len(self)}; give 1 to {len(self)}")
        chosen = _stratified(self.labels.cpu().numpy(), n, seed)
        return EvalSet(self.images[chosen], self.labels[chosen], self.mean, self.std)


def eval_cache(
    dataset: Split, input: Input, *, folder: Path | None = None, workers: int = 0
) -> EvalSet:
    """Decode, resize and crop every image once.

    With a folder the pixels are written there and memory-mapped, and found again as long as images
    and settings are the same. A file that was not finished is never used.

    Raises:
        InputError: an image is broken, or the file can't be written.
    """
    shape = (len(dataset), input.channels, *input.img_size)
    batches = _pixels(dataset, input, workers)
    if folder is None:
        images, start = torch.empty(shape, dtype=torch.uint8), 0
        for batch in batches:
            images[start : start + len(batch)] = batch
            start += len(batch)
    else:
        images = _mapped(Path(folder) / f"eval-{_key(dataset, input)}.npy", shape, batches)
    return EvalSet(images, torch.from_numpy(dataset.labels), input.mean, input.std)


def _move(part: Tensor, device: torch.device) -> Tensor:
    """Copy to the device; to a GPU from pinned memory, so that the host need not wait."""
    if device.type == "cuda" and part.device.type == "cpu":
        return part.pin_memory().to(device, non_blocking=True)
    return part.to(device)


_BATCH = 64


class _Pixels(Dataset[Any]):
    def __init__(self, images: Split, transform: Transform) -> None:
        self.images, self.transform = images, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitems__(self, indices: list[int]) -> list[Tensor] | InputError:
        try:
            return [self.transform(self.images[index][0]) for index in indices]
        except InputError as error:
            return error


def _pixels(dataset: Split, input: Input, workers: int) -> Iterator[Tensor]:
    """Batches of uint8 (B, C, H, W); nothing is read before the first is asked for."""
    pixels = _Pixels(dataset, pixel_transform(input))
    return checked(
        Loader(
            pixels,
            _BATCH,
            num_workers=workers,
            collate_fn=collate,
            worker_init_fn=leave_stopping_to_main,
            generator=torch.Generator(),
        )
    )


def _key(dataset: Split, input: Input) -> str:
    settings = [input.img_size, input.channels, input.interpolation, input.crop_pct]
    text = json.dumps([VERSION, PIL.__version__, dataset.fingerprint(), settings])
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def _mapped(path: Path, shape: tuple[int, ...], batches: Iterator[Tensor]) -> Tensor:
    found = _load(path, shape)
    if found is None:
        _log.info("decoding %d images into %s", shape[0], path)
        write(path, lambda file: _save(file, shape, batches))
        found = _load(path, shape)
        assert found is not None
    return found


def _load(path: Path, shape: tuple[int, ...]) -> Tensor | None:
    if not path.exists():
        return None
    try:
        # Copy on write: torch wants writable memory, and the file must not change.
        pixels = np.load(path, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        _log.warning("%s is damaged (%s), decoding again", path, error)
        return None
    if pixels.shape != shape or pixels.dtype != np.uint8:
        _log.warning("%s is damaged (wrong shape), decoding again", path)
        return None
    return torch.from_numpy(pixels)


def _save(path: Path, shape: tuple[int, ...], batches: Iterator[Tensor]) -> None:
    # Written, not mapped: on a full disk a mapping kills the process, a write says so.
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    with path.open("wb") as file:
        np.lib.format.write_array_header_2_0(file, header)
        for batch in batches:
            file.write(batch.numpy().data)


def _stratified(labels: np.ndarray[Any, Any], n: int, seed: int) -> Tensor:
    """Indices, sorted. Each class gets its share, the largest fractions are rounded up."""
    classes, counts = np.unique(labels, return_counts=True)
    shares = counts * (n / len(labels))
    quotas = np.floor(shares).astype(np.int64)
    mixed = rng.permutation(len(classes), "ties", seed)  # so that no class is always last
    order = mixed[np.argsort((quotas - shares)[mixed], kind="stable")]
    quotas[order[: n - int(quotas.sum())]] += 1
    parts = []
    for label, quota in zip(classes.tolist(), quotas.tolist(), strict=True):
        members = np.flatnonzero(labels == label)
        parts.append(members[rng.permutation(len(members), "subset", seed, label)[:quota]])
    return torch.from_numpy(np.sort(np.concatenate(parts)))
