"""The small run without randomness inside the steps, for one process or several.

As a script: FOLDER, SHARING, settings of the recipe as JSON, and of several processes how many, and
how often they may start anew. These are started as torchrun does, but forked, so that torch is
loaded once. With DIE_AT=STEP:RANK in the environment that process kills itself when it is about to
do that step, unless it was started anew. Prints how often it was.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from train.runs import SPACE, before, digits, small_recipe
from vitnas.arch import Arch
from vitnas.supernet import Supernet
from vitnas.train.loop import train


def main(folder: str, sharing: str, settings: str) -> None:
    """Train."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    options: dict[str, Any] = {
        "num_classes": 10,
        "img_size": 8,
        "in_chans": 1,
        "max_relative_position": 2,
    }
    net = Supernet(SPACE, sharing=sharing, **options)
    recipe = small_recipe(
        drop_path=0.0,
        augment={"mixup": 0.0, "cutmix": 0.0, "hflip": 0.0, "crop_padding": 1},
        **json.loads(settings),
    )
    result = train(net, recipe, digits(), folder, sampler=_sampler(), device="cpu")
    assert result.finished
    print("restarts", os.environ.get("TORCHELASTIC_RESTART_COUNT"))  # noqa: T201


def _sampler() -> Callable[[int], tuple[Arch, ...]] | None:
    step, _, rank = os.environ.get("DIE_AT", "").partition(":")
    if rank != os.environ.get("RANK") or os.environ.get("TORCHELASTIC_RESTART_COUNT") != "0":
        return None
    return before(int(step), lambda: os.kill(os.getpid(), signal.SIGKILL))


def launch(processes: str, restarts: str, *words: str) -> None:
    """Do what `torchrun --standalone` does, with forks."""
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=int(processes),
        max_restarts=int(restarts),
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        run_id="test",
        start_method="fork",
    )
    elastic_launch(config, main)(*words)


if __name__ == "__main__":
    words, processes = sys.argv[1:4], sys.argv[4:]
    if processes:
        launch(*processes, *words)
    else:
        main(*words)
