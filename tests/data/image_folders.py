"""Tiny image folders for the tests of the data layer."""

from __future__ import annotations

import tarfile
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image


def picture(seed: int, size: tuple[int, int] = (10, 12), channels: int = 3) -> Image.Image:
    """Random pixels of (height, width)."""
    shape = size if channels == 1 else (*size, channels)
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


def fill(
    folder: Path, counts: dict[str, int], size: tuple[int, int] = (10, 12), channels: int = 3
) -> Path:
    """Write `counts[name]` images into a folder for each class name; last file first."""
    for number, (name, count) in enumerate(counts.items()):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for index in reversed(range(count)):
            picture(1000 * number + index, size, channels).save(folder / name / f"{index:03}.png")
    return folder


def shard(numbers: Iterable[int], *, labels: bool = True, label: str | None = None) -> bytes:
    """Pack images into a tar file of WebDataset, even and odd ones in two classes."""
    packed = BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for number in numbers:
            image = BytesIO()
            picture(number).save(image, "png")
            files = {"png": image.getvalue(), "json": b"{}"}
            if labels:
                files["cls"] = (label or str(number % 2)).encode()
            for kind, content in files.items():
                member = tarfile.TarInfo(f"part/{number:04}.{kind}")
                member.size = len(content)
                tar.addfile(member, BytesIO(content))
    return packed.getvalue()


def truncate(file: Path) -> Path:
    """Cut an image file in the middle."""
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    return file
