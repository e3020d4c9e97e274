"""The small run without randomness inside the steps, for one process or several (FOLDER)."""

from __future__ import annotations

import sys

import torch

from train.runs import SPACE, digits, small_recipe
from vitnas.supernet import Supernet
from vitnas.train.loop import train

if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.manual_seed(0)
    net = Supernet(SPACE, num_classes=10, img_size=8, in_chans=1, max_relative_position=2)
    recipe = small_recipe(
        drop_path=0.0, augment={"mixup": 0.0, "cutmix": 0.0, "hflip": 0.0, "crop_padding": 1}
    )
    train(net, recipe, digits(), sys.argv[1], device="cpu")
