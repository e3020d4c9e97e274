"""Every recipe of the package loads, and trains one step on random images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import vitnas
from vitnas.cli.training import new_supernet
from vitnas.data.images import ArrayImages, Split
from vitnas.data.sources import Data
from vitnas.spaces import read
from vitnas.train.loop import train
from vitnas.train.optim import scaled_lr
from vitnas.train.reading import load_recipe, recipe_space, recipes
from vitnas.train.recipe import TrainRecipe

TINY: dict[str, dict[str, Any]] = {  # of each family, for images of 8 pixels
    "autoformer": {"depth": [1, 2], "mlp_ratio": [1, 2], "num_heads": [1, 2], "embed_dim": [16, 24]}
    | {"head_dim": 8, "patch_size": 2},
    "s3": {"depth": [1, 2], "mlp_ratio": [1, 2], "num_heads": [[1], [2]], "window_size": [2]}
    | {"embed_dim": [[16], [32]], "stages": 2, "head_dim": 16, "patch_size": 2},
    "vitas": {"depth": [1, 2], "num_heads": [1, 2], "attn_dim": [8, 16], "mlp_dim": [16, 32]}
    | {"embed_dim": [16, 24], "patch_size": [2, 4]},
}
PEAKS = {  # published: images a step, peak rate, epochs of warm-up, epochs
    "autoformer-tiny": (1024, 1e-3, 20, 500),
    "autoformer-small": (1024, 1e-3, 20, 500),
    "autoformer-base": (1024, 1e-3, 20, 500),
    "mmrazor-autoformer": (2048, 2e-3, 20, 500),
    "nni-scratch": (1024, 1e-3, 20, 500),
    "nni-finetune": (128, 5e-4, 5, 100),
    "s3": (1024, 1e-3, 5, 300),
    "vitas": (1024, 1e-3, 5, 300),
    "vitas-retrain": (1024, 1e-3, 5, 300),
}


def random_images(images: int, classes: int = 4) -> Data:
    """Coloured noise of 8 × 8 pixels in all three splits."""
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 256, (3 * images, 8, 8, 3), dtype=np.uint8)
    source = ArrayImages("noise", pixels, np.arange(3 * images) % classes)
    train, search, test = (Split(source, np.arange(i, 3 * images, 3)) for i in range(3))
    names = tuple(f"class{i}" for i in range(classes))
    return Data("noise", train, search, test, names, 3, (8, 8), 0, 0.1, {})


def smaller(name: str) -> TrainRecipe:
    """A recipe of the package for a step of eight small images, all else as it says."""
    given = load_recipe(name)
    size = {"input.img_size": [8, 8]} if given.input else {"img_size": 8}
    return load_recipe(
        name, batch_size=8, epochs=1, workers=0, **size, **{"optim.warmup_epochs": 0}
    )


def test_far_too_many_patches_are_told_before_memory_is_full(
    caplog: pytest.LogCaptureFixture,
) -> None:
    data = random_images(8)
    for size, said in ((128, []), (224, ["224x224 pixels are 12544 patches of 2 pixels; "])):
        recipe = load_recipe("digits", img_size=size)
        new_supernet(recipe_space(recipe), recipe, data)
        assert [text in caplog.text for text in said] == [True] * len(caplog.records)


@pytest.mark.parametrize("name", recipes())
def test_every_recipe_trains_a_step(name: str, tmp_path: Path) -> None:
    recipe, data = smaller(name), random_images(8)
    family = recipe_space(recipe).family if recipe.space else "autoformer"
    space = read({"family": family, **TINY[family]})
    if recipe.sampling is None:
        model: Any = vitnas.build(space.largest, 4, 8, drop_path_rate=recipe.drop_path)
    else:
        model = new_supernet(space, recipe, data)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    result = train(model, recipe, data, tmp_path, device="cpu")
    assert (result.finished, result.step) == (True, 1)
    assert result.loss is not None
    assert np.isfinite(result.loss)
    trained = result.ema or model
    after = trained.state_dict()
    assert any(not torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("name", PEAKS)
def test_what_was_published(name: str) -> None:
    recipe = load_recipe(name)
    batch, rate, warmup, epochs = PEAKS[name]
    assert (recipe.batch_size, recipe.epochs, recipe.optim.warmup_epochs) == (batch, epochs, warmup)
    assert scaled_lr(recipe.optim, recipe.batch_size) == pytest.approx(rate)
    assert (recipe.optim.name, recipe.optim.weight_decay) == ("adamw", 0.05)
    assert recipe.augment.smoothing == 0.1
