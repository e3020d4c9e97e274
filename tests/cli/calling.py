"""Calling the command line, and the smallest recipe that trains something."""

from __future__ import annotations

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

import vitnas
from vitnas.arch import Arch
from vitnas.cli import main
from vitnas.commands import FOLDER as COMMANDS
from vitnas.folder import read_config
from vitnas.supernet import Supernet

STEPS = 38  # two epochs of 19 steps
RECIPE = """
data: digits
space:
  family: autoformer
  depth: [1, 2]
  mlp_ratio: [1, 2]
  num_heads: [1, 2]
  embed_dim: [16, 24]
  head_dim: 8
  patch_size: 2
search_fraction: 0.15
drop_path: 0.1
batch_size: 64
epochs: 2
sampling:
  name: uniform
optim:
  base_lr: 5e-2
  warmup_epochs: 1
augment: {crop_padding: 1, hflip: 0, color_jitter: null, auto_augment: null, mixup: 0, cutmix: 0}
precision: 32-true
"""
TUNE = (
    *("--recipe", "digits-finetune"),
    *("--set", "epochs=1", "--set", "optim.warmup_epochs=0", "--set", "evaluate_every=1"),
)


@dataclass(frozen=True)
class Result:
    """How a command ended, and what it wrote."""

    code: int
    out: str
    err: str


def call(*args: str | Path) -> int:
    """Run a command in this process."""
    return main([str(arg) for arg in args])


def refusal(result: Result) -> str:
    """The one line with which a command refused; its only output."""
    assert result.code == 2, result
    assert result.out == ""
    line = result.err.removesuffix("\n")
    assert line.startswith("vitnas: ")
    assert len(line.splitlines()) == 1, line
    return line.removeprefix("vitnas: ")


def files_in(folder: Path) -> dict[str, bytes]:
    """All files below a folder, hidden ones too, with what they hold; none about commands."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in paths
        if path.parent.name != COMMANDS
    }


def check_extracted(folder: Path, net: Supernet, images: Tensor) -> tuple[int, int]:
    """Check a subnet's folder: the supernet's logits, exact counts. Return params and MACs."""
    model, record = vitnas.load(folder), read_config(folder)
    arch = Arch.from_dict(record["arch"])
    options = {name: record["options"][name] for name in ("num_classes", "img_size", "in_chans")}
    params = sum(parameter.numel() for parameter in model.parameters())
    assert params == vitnas.cost.params(arch, **options)
    with torch.no_grad():
        assert torch.equal(model(images), net(images, arch))
    return params, vitnas.cost.macs(arch, **options)


@contextmanager
def disk_of(size: int) -> Iterator[None]:
    """No file grows beyond `size` bytes, as on a full disk."""
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


def lines_of(path: Path) -> int:
    """How many lines a file has; none if it is not there."""
    return path.read_bytes().count(b"\n") if path.exists() else 0
