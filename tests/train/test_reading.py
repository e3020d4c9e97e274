from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import vitnas
from vitnas import yaml_text
from vitnas.errors import InputError
from vitnas.train.reading import (
    dump_recipe,
    load_recipe,
    parse_override,
    recipe_from_dict,
    recipes,
)
from vitnas.train.recipe import Sampling, TrainRecipe


def test_recipes_of_the_package_are_valid() -> None:
    assert set(recipes()) >= {
        "autoformer-base", "autoformer-small", "autoformer-tiny", "digits", "digits-autoslim",
        "digits-bcnet", "finetune", "retrain", "s3",
    }  # fmt: skip
    for name in recipes():
        recipe = load_recipe(name)
        if recipe.sampling is not None and recipe.space is not None:
            assert vitnas.space(str(recipe.space)).size() > 1


@pytest.mark.parametrize("size", ["tiny", "small", "base"])
def test_the_official_recipe(size: str) -> None:
    recipe = load_recipe(f"autoformer-{size}")
    optim, augment = recipe.optim, recipe.augment
    assert (recipe.batch_size, recipe.epochs, optim.warmup_epochs) == (8 * 128, 500, 20)
    assert (optim.name, optim.base_lr, optim.warmup_lr, optim.min_lr) == ("adamw", 5e-4, 1e-6, 1e-5)
    assert (optim.weight_decay, optim.clip_grad, recipe.drop_path) == (0.05, None, 0.1)
    assert (augment.mixup, augment.cutmix, augment.mixup_switch_prob) == (0.8, 1.0, 0.5)
    assert (augment.auto_augment, augment.re_prob) == ("rand-m9-mstd0.5-inc1", 0.25)
    assert (augment.smoothing, augment.repeats, recipe.ema_decay) == (0.1, 3, None)
    assert recipe.space == f"autoformer-{size}"
    assert recipe.sampling is not None
    assert recipe.sampling.name == "uniform"
    accidents = (optim.schedule_lag, optim.decay_relative_position, optim.step_skipped_blocks)
    assert not any(accidents)


def test_the_recipe_of_s3_says_what_its_script_says() -> None:
    recipe = load_recipe("s3")
    optim, augment = recipe.optim, recipe.augment
    assert recipe.space == "s3-start"
    assert recipe.sampling == Sampling("sandwich", random_subnets=2)
    assert not recipe.distillation.inplace
    assert (recipe.epochs, optim.warmup_epochs, recipe.drop_path) == (300, 5, 0.1)
    assert (optim.base_lr, optim.warmup_lr, optim.min_lr) == (5e-4, 1e-6, 1e-5)
    assert (augment.mixup, augment.cutmix, augment.re_prob) == (0.8, 1.0, 0.25)
    assert load_recipe("s3", space="s3-tiny").space == "s3-tiny"


def test_overrides_by_path() -> None:
    recipe = load_recipe(
        "retrain", **{"optim.base_lr": 1e-3, "epochs": 10, "sampling.name": "sandwich"}
    )
    assert (recipe.optim.base_lr, recipe.epochs) == (1e-3, 10)
    assert recipe.optim.warmup_epochs == 5
    assert recipe.sampling is not None
    assert recipe.sampling.name == "sandwich"
    with pytest.raises(InputError, match=r"epochs is 300, so epochs.more can't be set inside it"):
        load_recipe("retrain", **{"epochs.more": 1})


def test_unknown_names() -> None:
    with pytest.raises(InputError, match="unknown recipe 'digit'; did you mean 'digits'"):
        load_recipe("digit")
    with pytest.raises(InputError, match=r"can't read recipe none\.yaml: No such file"):
        load_recipe("none.yaml")


def test_every_mistake_is_reported_with_its_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("""
epochs: many
bogus: 1
optim: {base_lrr: 1e-3, weight_decay: [1]}
augment:
  mixup: -1
precision: fp16
img_size: [32, 32.5]
space: {family: autoformer, depth: [1]}
""")
    with pytest.raises(InputError) as error:
        load_recipe(path)
    message = str(error.value)
    for expected in [
        f"recipe {path}: ",
        'epochs is "many", it should be a valid integer',
        "bogus is no setting",
        "optim.base_lrr is no setting; did you mean base_lr?",
        "optim.weight_decay is [1], it should be a valid number",
        "augment: mixup is -1.0, it must be 0 or more",
        "precision is \"fp16\", it should be 'auto', '32-true', 'bf16-mixed' or '16-mixed'",
        "img_size.1 is 32.5, it should be a valid integer",
    ]:
        assert expected in message
    assert "space" not in message


def test_types_are_strict() -> None:
    records: list[dict[str, Any]] = [
        {"epochs": True}, {"epochs": "500"}, {"seed": 1.5}, {"workers": None},
    ]  # fmt: skip
    for record in records:
        with pytest.raises(InputError, match="it should be a valid integer"):
            recipe_from_dict(record)
    with pytest.raises(InputError, match=r"optim\.base_lr is .*finite"):
        recipe_from_dict({"optim": {"base_lr": float("inf")}})
    with pytest.raises(InputError, match=r"input\.img_size is missing"):
        recipe_from_dict({"input": {"channels": 1}})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs: [1", "is not valid YAML: while parsing"),
        ("epochs: 30\nepochs: 40", "is not valid YAML: epochs is given twice"),
        ("- epochs", "must be a mapping of settings"),
        ("!!python/object/apply:os.getcwd []", "is not valid YAML: could not determine a constr"),
    ],
)
def test_what_is_no_recipe(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        load_recipe(path)


def test_overrides_on_the_command_line() -> None:
    assert parse_override("optim.base_lr=1e-3") == ("optim.base_lr", 0.001)
    assert parse_override("precision=16-mixed") == ("precision", "16-mixed")
    assert parse_override("img_size=[8, 8]") == ("img_size", [8, 8])
    assert parse_override("ema_decay=null") == ("ema_decay", None)
    with pytest.raises(InputError, match="setting 'epochs' must look like path=value"):
        parse_override("epochs")


@given(
    st.builds(
        lambda epochs, rate, size, data: {
            "epochs": epochs, "optim": {"base_lr": rate}, "img_size": size, "data": data,
        },
        st.integers(21, 10**6),
        st.floats(1e-300, 1e300),
        st.none() | st.integers(1, 999) | st.tuples(st.integers(1, 999), st.integers(1, 999)),
        st.none() | st.text(st.characters(categories=["L", "N", "P", "S", "Zs"])),
    )
)  # fmt: skip
def test_yaml_round_trip(record: dict[str, object]) -> None:
    recipe = recipe_from_dict(record)
    assert isinstance(recipe, TrainRecipe)
    assert recipe_from_dict(yaml_text.parse(dump_recipe(recipe), "dump")) == recipe
