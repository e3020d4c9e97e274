"""The small run without randomness inside the steps, for one process or several.

As a script: FOLDER SHARING [SIDES].
"""

from __future__ import annotations

import sys
from typing import Any

import torch

from train.runs import SPACE, digits, small_recipe
from vitnas.supernet import Supernet
from vitnas.train.loop import train

if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.manual_seed(0)
    folder, sharing, *sides = sys.argv[1:]
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
        **({"sides": sides[0]} if sides else {}),
    )
    train(net, recipe, digits(), folder, device="cpu")
