"""Moves batches to the device while the step before is still computing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias

import torch
from numpy.typing import NDArray
from torch import Tensor

from vitnas.data.batches import Loaded
from vitnas.data.stages import Stages

Batch: TypeAlias = tuple[Tensor, Tensor]
Finish: TypeAlias = Callable[[Tensor, tuple[int, int]], Tensor]
"""What is left to be done to images (B, C, H, W) on the device; with the key of the batch."""


def to_device(
    batches: Iterable[Loaded], device: torch.device, finish: Finish | None, stages: Stages
) -> Iterator[Batch]:
    """Images and labels on the device, in the same order and with the same values.

    On CUDA a stream of its own copies and finishes each batch one ahead of the one that is used.
    The host waits for nothing, as long as the batches are pinned.
    """

    def moved(batch: Loaded) -> Batch:
        count = len(batch.labels)
        if device.type == "cpu":
            return batch.images, torch.from_numpy(batch.labels)
        with stages.timed("transfer", count, device):
            images = batch.images.to(device, non_blocking=True)
            labels = upload(batch.labels, device)
        if finish is not None:
            with stages.timed("device_augment", count, device):
                images = finish(images, batch.key)
        return images, labels

    if device.type == "cuda":
        return _ahead(batches, device, moved)
    return map(moved, batches)


def upload(values: NDArray[Any], device: torch.device) -> Tensor:
    """Copy to the device; the host doesn't wait for a GPU."""
    tensor = torch.from_numpy(values)
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def _ahead(
    batches: Iterable[Loaded], device: torch.device, moved: Callable[[Loaded], Batch]
) -> Iterator[Batch]:
    stream = torch.cuda.Stream(device)
    held: tuple[Batch, Any] | None = None
    for batch in batches:
        with torch.cuda.stream(stream):
            following = moved(batch), stream.record_event()
        if held is not None:
            yield _hand_over(*held, device)
        held = following
    if held is not None:
        yield _hand_over(*held, device)


def _hand_over(batch: Batch, ready: Any, device: torch.device) -> Batch:
    current = torch.cuda.current_stream(device)
    current.wait_event(ready)
    for tensor in batch:
        tensor.record_stream(current)  # else its memory would be reused too early
    return batch
