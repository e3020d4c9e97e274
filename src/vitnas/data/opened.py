"""What every reader of a data set returns, before it is split."""

from __future__ import annotations

from dataclasses import dataclass

from vitnas.data.images import Source


@dataclass(frozen=True)
class Opened:
    """Training images, the test images where the data set has its own, and the class names.

    `train_how` and `test_how` say in words where the images come from.
    """

    train: Source
    classes: tuple[str, ...]
    train_how: str
    test: Source | None = None
    test_how: str = ""
