"""How the official search evaluates a candidate: files decoded and transformed every time.

Source: microsoft/Cream, AutoFormer: `evolution.py`, `evaluate` in `supernet_engine.py` and
`build_transform` in `lib/datasets.py`; written anew, with the same calls in the same order.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.utils import accuracy
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.datasets.folder import default_loader

from vitnas.arch import Arch
from vitnas.data.images import Split
from vitnas.interop import cream


class Files(Dataset[Any]):
    """Images as torchvision's ImageFolder reads them, with the official evaluation transform."""

    def __init__(self, split: Split, size: int) -> None:
        self.files = [split.source.where(int(index)) for index in split.indices]
        self.labels = split.labels.tolist()
        resize = [
            transforms.Resize(int(256 / 224 * size), transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(size),
        ]
        self.transform = transforms.Compose(
            [
                *(resize if size > 32 else ()),
                transforms.ToTensor(),
                transforms.Normalize(IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD),
            ]
        )

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Any:
        return self.transform(default_loader(self.files[index])), self.labels[index]


@torch.no_grad()
def evaluate_officially(model: Any, arch: Arch, loader: DataLoader[Any]) -> float:
    """Return the top-1 of a candidate as the official `evaluate` computes it."""
    model.eval()
    model.set_sample_config(cream.foreign(arch))
    right, total = 0.0, 0
    for images, labels in loader:
        output = model(images)
        F.cross_entropy(output, labels).item()
        top1, _ = accuracy(output, labels, topk=(1, 5))
        right += top1.item() * len(labels) / 100
        total += len(labels)
    return 100 * round(right) / total


def loader(split: Split, size: int, batch_size: int, workers: int = 0) -> DataLoader[Any]:
    """Return the loader of an evaluation split whose images are files."""
    return DataLoader(Files(split, size), batch_size, num_workers=workers)
