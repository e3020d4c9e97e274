"""What is killed: functions of a folder that write there, are repeated after a kill, and end.

`done` is a file beside the folder: what a victim has said there to be safe must survive.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import vitnas
from train.runs import SPACE, digits, small_net, small_recipe, small_run
from vitnas.arch import Arch
from vitnas.search.racing import one_by_one
from vitnas.search.study import search as run_search
from vitnas.testing.searchers import SMALL, cost, score
from vitnas.train import checkpoint as training

ARCHS = [SPACE.sample(seed) for seed in range(5)]
SAVES = 10
TRIALS = 30
SEARCH: dict[str, Any] = {
    "strategy": "regularized",
    "options": {"population": 8, "sample": 3, "concurrency": 4},
    "costs": {"params": cost},
    "trials": TRIALS,
    "together": 3,
    "seed": 5,
}


def say(folder: Path, number: int) -> None:
    """Say that a number is safe; a line is there or not."""
    done = os.open(folder.with_suffix(".done"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(done, f"{number}\n".encode())
    os.close(done)


def safe(folder: Path) -> set[int]:
    """Return what was said to be safe."""
    done = folder.with_suffix(".done")
    return set(map(int, done.read_text().split())) if done.exists() else set()


RECIPE = small_recipe(
    batch_size=80,
    checkpoint_minutes=1e-9,
    keep=3,
    logger="tensorboard",
    sampling={"name": "uniform"},
    distillation={},
    augment={"backend": "batched", "hflip": 0.0, "mixup": 0.0, "cutmix": 0.0},
)  # two epochs of four steps


def train(folder: Path) -> None:
    """Train a supernet with a checkpoint after every step."""
    small_run(folder, RECIPE)


def warm_up() -> None:
    """Do once what every victim would do first."""
    digits()
    net = small_net()
    with torch.no_grad():
        for seed in range(40):
            net(torch.zeros(2, 1, 8, 8), SPACE.sample(seed))


def save(folder: Path) -> None:
    """Save one supernet over the other; all weights of each are its number."""
    net = small_net().requires_grad_(False)
    for number in range(max(safe(folder), default=0) + 1, SAVES + 1):
        for parameter in net.parameters():
            parameter.fill_(number)
        vitnas.save(net, folder)
        say(folder, number)


def state(number: int) -> dict[str, Any]:
    """Return a state of half a megabyte that tells its number in every part."""
    return {"model": {f"w{i}": torch.full((128, 128), float(number)) for i in range(8)}}


def checkpoint(folder: Path) -> None:
    """Write checkpoints, of which every fifth is the best so far."""
    begin = max(safe(folder), default=0) + 1
    for number in range(begin, SAVES + 1):
        best = number - number % 5 or None
        training.save(folder, number, state(number), keep=2, best=best)
        say(folder, number)


def extract(folder: Path) -> None:
    """Take subnets out of a supernet, each into a folder of its own."""
    source = folder / "supernet"
    if not (source / "config.json").exists():
        vitnas.save(small_net(), source)
    net: Any = vitnas.load(source)
    for number, arch in enumerate(ARCHS):
        if not (folder / f"{number}" / "config.json").exists():
            vitnas.save(net.extract(arch), folder / f"{number}")
            say(folder, number)


def convert(folder: Path) -> None:
    """Convert an official checkpoint, kept whole and one subnet after the other."""
    from interop.recorded import case
    from vitnas.interop import cream

    recorded = case("autoformer_gp_rel_cqkv_abs_mlp4")
    source = folder.with_suffix(".pth")
    if not source.exists():
        partial = folder.with_suffix(".part")
        torch.save({"model": recorded.weights}, partial)
        partial.rename(source)
    for number, subnet in enumerate([None, recorded.subnets[0]]):
        target = folder / f"{number}"
        if not (target / "config.json").exists():
            arch = None if subnet is None else cream.arch(subnet)
            vitnas.convert(source, target, "cream", config=recorded.config, arch=arch)
            say(folder, number)


def _export(folder: Path, to: str) -> None:
    """Export a small model, as a folder that is there when it is whole."""
    from vitnas.export import export_model

    if not (folder / "model" / "config.json").exists():
        vitnas.save(small_net().extract(ARCHS[0]), folder / "model", classes=list("0123456789"))
    if not (folder / to).exists():
        export_model(folder / "model", to, folder / to)
        say(folder, 0)


def export(folder: Path) -> None:
    """Export for timm."""
    _export(folder, "timm")


def export_onnx(folder: Path) -> None:
    """Export to ONNX, which takes seconds."""
    _export(folder, "onnx")


def evaluate(arch: Arch) -> dict[str, float]:
    """Return the toy score."""
    return {"score": score(arch)}


def search(folder: Path) -> None:
    """Search the toy space."""
    run_search(
        SMALL,
        one_by_one(evaluate),
        folder=folder,
        on_trial=lambda record: say(folder, record.index),
        **SEARCH,
    )


VICTIMS: dict[str, Callable[[Path], None]] = {
    function.__name__: function
    for function in (train, save, checkpoint, extract, convert, export, export_onnx, search)
}
