from __future__ import annotations

from pathlib import Path

import pytest
import torch

import vitnas
from train.runs import SPACE, digits, small_net, small_recipe
from vitnas.data.transforms import Input
from vitnas.errors import InputError
from vitnas.supernet import Supernet
from vitnas.train.bcnet import complement
from vitnas.train.devices import make_fabric
from vitnas.train.prepare import make_loader, recipe_input, recipe_sampler
from vitnas.train.reading import recipe_space
from vitnas.train.recipe import TrainRecipe


def test_spaces_by_name_inline_and_from_a_file(tmp_path: Path) -> None:
    named = recipe_space(TrainRecipe(space="autoformer-tiny"))
    assert named == vitnas.space("autoformer-tiny")
    genes = {"depth": [1, 2], "embed_dim": [16], "num_heads": [1], "mlp_ratio": [2, 4]}
    inline = recipe_space(TrainRecipe(space={"family": "autoformer", **genes}))
    assert inline.largest.mlp_ratio == (4, 4)
    path = tmp_path / "mine.yaml"
    path.write_text("family: autoformer\n" + "".join(f"{k}: {v}\n" for k, v in genes.items()))
    assert recipe_space(TrainRecipe(space=str(path))) == inline
    with pytest.raises(InputError, match="the recipe has no space; known names: autoformer-tiny"):
        recipe_space(TrainRecipe())
    with pytest.raises(InputError, match="did you mean 'autoformer-tiny'"):
        recipe_space(TrainRecipe(space="autoformer-tini"))


def test_the_input_is_the_recipes_or_the_usual_one() -> None:
    assert recipe_input(TrainRecipe(), digits()).img_size == (8, 8)
    assert recipe_input(TrainRecipe(img_size=16), digits()).img_size == (16, 16)
    own = Input((12, 10), channels=1, mean=(0.1,), std=(0.2,))
    assert recipe_input(TrainRecipe(input=own), digits()) == own


def test_the_batch_is_the_global_one() -> None:
    fabric = make_fabric("cpu", "32-true")
    loader = make_loader(fabric, small_recipe(batch_size=32, accumulate=4), digits())
    images, labels = next(iter(loader))
    assert images.shape == (8, 1, 8, 8)
    assert labels.dtype == torch.int64
    assert len(loader) == 320 // 8


def test_bcnet_needs_a_bilateral_supernet() -> None:
    recipe = small_recipe(sampling={"name": "bcnet"}, distillation={})
    with pytest.raises(InputError, match="sampling bcnet needs subnets that have a left and a rig"):
        recipe_sampler(recipe, small_net(), steps_per_epoch=10)
    net = Supernet(SPACE, num_classes=10, img_size=8, in_chans=1, sharing="bilateral")
    sampler = recipe_sampler(recipe, net, steps_per_epoch=10)
    assert sampler is not None
    assert sampler(1) == (complement(SPACE, sampler(0)[0]),)


@pytest.mark.parametrize("cost", ["params", "macs"])
def test_a_stratified_recipe_needs_nothing_but_the_supernet(cost: str) -> None:
    recipe = small_recipe(sampling={"name": "stratified", "cost": cost}, distillation={})
    sampler = recipe_sampler(recipe, small_net(), steps_per_epoch=10)
    assert sampler is not None
    drawn = {sampler(step)[0] for step in range(60)}
    assert {SPACE.smallest, SPACE.largest} <= drawn
