"""ViTAS's recipes say what its files say, and train on random images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import vitnas
from train.runs import digits
from vitnas.cli import execute
from vitnas.data.transforms import Input
from vitnas.folder import read_config
from vitnas.run import model_input
from vitnas.train.loop import train
from vitnas.train.optim import scaled_lr
from vitnas.train.prepare import recipe_input
from vitnas.train.reading import load_recipe
from vitnas.train.recipe import Sampling

SMALL: dict[str, Any] = {
    "data": "digits",
    "batch_size": 320,
    "epochs": 1,
    "workers": 0,
    "precision": "32-true",
    "optim.warmup_epochs": 0,
    "augment.auto_augment": None,
    "augment.color_jitter": None,
}


@pytest.mark.parametrize("name", ["vitas", "vitas-retrain"])
def test_what_both_say(name: str) -> None:
    recipe = load_recipe(name)
    optim, augment = recipe.optim, recipe.augment
    assert (recipe.batch_size, recipe.epochs, optim.warmup_epochs) == (1024, 300, 5)
    assert (optim.name, optim.weight_decay, optim.clip_grad) == ("adamw", 0.05, None)
    assert scaled_lr(optim, recipe.batch_size) == 1e-3
    assert (optim.min_lr, optim.warmup_lr, recipe.ema_decay, augment.repeats) == (0, 0, None, 1)
    assert (augment.re_prob, augment.smoothing, augment.scale) == (0.25, 0.1, (0.08, 1.0))


@pytest.mark.parametrize("name", ["vitas", "vitas-retrain"])
@pytest.mark.parametrize("own", [None, Input((16, 16))])
def test_evaluation_resizes_bilinearly_and_training_bicubically(
    name: str, own: Input | None
) -> None:
    recipe = replace(load_recipe(name), input=own)
    input = recipe_input(recipe, digits())
    assert input.img_size == ((8, 8) if own is None else own.img_size)
    assert input.interpolation == "bilinear"
    assert recipe.augment.seen(input) == replace(input, interpolation="bicubic")


def test_models_keep_how_they_are_evaluated(tmp_path: Path) -> None:
    run, net = tmp_path / "run", tmp_path / "run" / "models" / "largest"
    small = ["--device", "cpu", "--set", "evaluate_every=0", "--set", "batch_size=512"]
    for setting in ("epochs=1", "optim.warmup_epochs=0", "workers=0", "search_fraction=0.15"):
        small += ["--set", setting]
    execute("train", "vitas", str(run), "--data", "digits", "--space", "vitas-digits", *small)
    execute("extract", str(run), "--arch", "largest")
    for verb, recipe in (("retrain", "vitas-retrain"), ("finetune", "digits-finetune")):
        execute(verb, str(net), str(tmp_path / verb), "--recipe", recipe, *small)
    for folder in (run / "supernet", net, tmp_path / "retrain", tmp_path / "finetune"):
        assert model_input(read_config(folder)).interpolation == "bilinear"


def test_the_supernet_mixes_and_hardly_augments() -> None:
    recipe = load_recipe("vitas")
    augment = recipe.augment
    assert (recipe.space, recipe.model, recipe.drop_path) == ("vitas", {"sharing": "bilateral"}, 0)
    assert recipe.sampling == Sampling("bcnet", complementary=True)
    assert recipe.sides == "mean_loss"
    assert (augment.mixup, augment.cutmix, augment.auto_augment) == (0, 1.0, None)


def test_a_network_is_augmented_and_not_mixed() -> None:
    recipe = load_recipe("vitas-retrain")
    augment = recipe.augment
    assert (recipe.drop_path, recipe.sampling, recipe.space) == (0.1, None, None)
    assert (augment.mixup, augment.cutmix) == (0, 0)
    assert augment.auto_augment == "rand-m9-mstd0.5-inc1"


def trained(model: nn.Module, folder: Path, recipe: str, **changes: Any) -> set[str]:
    """Train a single step; return the parameters that it changed."""
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    settings = load_recipe(recipe, **{**SMALL, **changes})
    result = train(model, settings, digits(), folder, device="cpu")
    assert result.finished
    assert result.step == 1
    assert result.loss is not None
    assert torch.isfinite(torch.tensor(result.loss))
    after = model.state_dict()
    return {name for name, tensor in before.items() if not torch.equal(after[name], tensor)}


def test_the_recipe_of_networks_trains(tmp_path: Path) -> None:
    arch = vitnas.space("vitas-digits").sample(0).replace(patch_size=2)
    model = vitnas.build(arch, 10, 8, in_chans=1, drop_path_rate=0.0)
    changed = trained(model, tmp_path, "vitas-retrain", drop_path=0.0)
    assert changed == set(model.state_dict())


def test_the_recipe_of_supernets_trains_one_subnet_a_step(tmp_path: Path) -> None:
    space = vitnas.space("vitas-digits")
    net = vitnas.Supernet(space, 10, 8, in_chans=1, sharing="bilateral")
    changed = trained(net, tmp_path, "vitas", space="vitas-digits")
    stems = {name for name in changed if "cls_token" in name}
    assert len(stems) == 1
    assert {"norm.weight", "head.weight", "blocks.0.attn.qkv.v.weight"} <= changed
