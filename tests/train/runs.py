"""A real run that is small: a supernet on digits with every source of randomness switched on.

As a script (FOLDER, STEP) it trains with a checkpoint after every step, and kills itself without
warning when it is about to do that step.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch

from vitnas.arch import Arch
from vitnas.data.images import Split
from vitnas.data.sources import Data, open_data
from vitnas.space import Choice, Space
from vitnas.supernet import Supernet
from vitnas.train.loop import TrainResult, train
from vitnas.train.metrics import read_metrics
from vitnas.train.reading import recipe_from_dict
from vitnas.train.recipe import TrainRecipe
from vitnas.train.samplers import sandwich

SPACE = Space(
    "autoformer",
    (
        Choice("depth", (1, 2, 3)),
        Choice("mlp_ratio", (1.0, 2.0), "block"),
        Choice("num_heads", (1, 2), "block"),
        Choice("embed_dim", (16, 24)),
        Choice("head_dim", (8,)),
        Choice("patch_size", (2,)),
    ),
)
STEPS = 20  # two epochs of ten steps
_IMAGES = {"train": 320, "search": 60}

_RECIPE: dict[str, Any] = {
    "data": "digits",
    "batch_size": 32,
    "epochs": 2,
    "drop_path": 0.3,
    "sampling": {"name": "sandwich", "random_subnets": 1},
    "distillation": {"inplace": True},
    "ema_decay": 0.9,
    "optim": {"base_lr": 3e-2, "warmup_epochs": 1, "clip_grad": 1.0},
    "augment": {"hflip": 0.0, "crop_padding": 1, "re_prob": 0.5},
    "seed": 3,
}


@cache
def digits() -> Data:
    """A part of the digits, opened once; its test images can't be read."""
    data = open_data("digits", seed=3)
    parts = {
        name: replace(split := getattr(data, name), indices=split.indices[::3][:count])
        for name, count in _IMAGES.items()
    }
    return replace(data, **parts, test=_Forbidden(data.test.source, data.test.indices))


class _Forbidden(Split):
    def __getitem__(self, index: int) -> Any:
        raise AssertionError("training read a test image")


def small_recipe(**changes: Any) -> TrainRecipe:
    """The recipe of the small run, with some settings replaced."""
    return recipe_from_dict({**_RECIPE, **changes})


def small_net(space: Space = SPACE) -> Supernet:
    """The supernet, always with the same initial weights."""
    torch.manual_seed(0)
    return Supernet(
        space, num_classes=10, img_size=8, in_chans=1, drop_path_rate=0.3, max_relative_position=2
    )


def small_run(
    folder: Path, recipe: TrainRecipe | None = None, net: Supernet | None = None, **options: Any
) -> tuple[Supernet, TrainResult]:
    """Run or continue the small run."""
    net = net or small_net()
    return net, train(net, recipe or small_recipe(), digits(), folder, device="cpu", **options)


def history(folder: Path) -> list[dict[str, Any]]:
    """The lines that are the same in every repetition of a run: all but how fast it was."""
    return [line for line in read_metrics(folder / "metrics.jsonl") if line["kind"] != "speed"]


def environment(**extra: str) -> dict[str, str]:
    """The environment of a process that runs a script of the tests, on one thread."""
    tests = Path(__file__).parents[1]
    path = os.pathsep.join([str(tests), *filter(None, [os.getenv("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **extra}


def before(step: int, action: Callable[[], object]) -> Callable[[int], tuple[Arch, ...]]:
    """The recipe's own sampler, which also acts when it is asked for the given step."""
    draw = sandwich(SPACE, seed=3, random_subnets=1)

    def sampler(number: int) -> tuple[Arch, ...]:
        if number == step:
            action()
        return draw(number)

    return sampler


if __name__ == "__main__":
    torch.set_num_threads(1)
    die = before(int(sys.argv[2]), lambda: os.kill(os.getpid(), signal.SIGKILL))
    small_run(Path(sys.argv[1]), small_recipe(checkpoint_minutes=1e-9), sampler=die)
