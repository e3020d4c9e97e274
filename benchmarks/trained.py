"""A really trained nano supernet on real images, for claims that random weights can't support."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from sklearn.datasets import load_digits

from official import nano_space
from vitnas.arch import Arch
from vitnas.data.cache import EvalSet
from vitnas.folder import load, save
from vitnas.supernet import Supernet

SPACE = nano_space(2.0, 3.0, 4.0)
SIZE, PATCH, BATCH = 32, 8, 64


def write_digits(folder: Path) -> Path:
    """Write the handwritten digits of scikit-learn as PNG files of 32 px in class folders."""
    bunch = load_digits()
    for index, (image, label) in enumerate(zip(bunch.images, bunch.target, strict=True)):
        pixels = np.clip(image * 16, 0, 255).astype(np.uint8)
        path = folder / str(label) / f"{index:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).resize((SIZE, SIZE), Image.Resampling.BICUBIC).save(path)
    return folder


def make(classes: int) -> Supernet:
    """Return an untrained supernet in the official storage order."""
    torch.manual_seed(0)
    return Supernet(SPACE, classes, SIZE, patch_size=PATCH, sharing="legacy")


def train(
    net: Supernet,
    images: EvalSet,
    steps: int,
    *,
    flip: bool,
    only: Arch | None = None,
    seed: int = 0,
) -> Supernet:
    """Train a supernet, another random subnet every step, as AutoFormer does, or `only` one.

    AdamW under a cosine, small shifts, label smoothing, and flips where they make sense.
    """
    assert net.space is not None
    torch.manual_seed(seed)
    net.train()
    optimizer = torch.optim.AdamW(net.parameters(), 2e-3, weight_decay=0.05, fused=True)
    for step in range(steps):
        places = torch.randint(len(images), (BATCH,))
        chosen = EvalSet(images.images[places], images.labels[places], images.mean, images.std)
        batch, labels = next(chosen.batches(BATCH))
        batch = batch.roll(tuple(torch.randint(-2, 3, (2,)).tolist()), (2, 3))
        batch = batch.flip(3) if flip and step % 2 else batch
        logits = net(batch, only or net.space.sample(step))
        loss = F.cross_entropy(logits, labels, label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        done = step / steps
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * min(1, 0.05 + 20 * done) * (1 + math.cos(math.pi * done)) / 2
        optimizer.step()
    print(f"trained for {steps} steps of {BATCH} images; loss of the last {loss.item():.2f}")
    return net.eval()


def once(
    folder: str | Path | None, net: Supernet, images: EvalSet, steps: int, *, flip: bool
) -> Supernet:
    """Train a supernet, or take the one that an earlier run kept in the folder."""
    if folder is not None and Path(folder).exists():
        kept = load(folder)
        assert isinstance(kept, Supernet)
        return kept.eval()
    net = train(net, images, steps, flip=flip)
    if folder is not None:
        save(net, folder)
    return net
