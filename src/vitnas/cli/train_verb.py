"""`vitnas train`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vitnas.cli.training import (
    new_supernet,
    open_training_data,
    read_settings,
    train_and_save,
)
from vitnas.cli.usage import MaybeName, MaybeRoot, Name, Settings

if TYPE_CHECKING:
    from vitnas.train.loop import TrainResult


def train(
    recipe: str,
    run: Path,
    *,
    data: MaybeName = None,
    root: MaybeRoot = None,
    space: MaybeName = None,
    device: Name = "auto",
    overrides: Settings = (),
) -> TrainResult:
    """Train a supernet; the same command continues a run that was stopped or killed.

    Ctrl-C writes a checkpoint after the step under way.

    Args:
        recipe: a recipe's name (autoformer-tiny, digits, ...) or a YAML file.
        run: the folder of the run.
        data: a data set: digits, fashion-mnist, folder/PATH, torch/cifar10, hfds/..., wds/...
        root: where the data lies, for those that need it.
        space: a search space's name or YAML file, instead of the recipe's.
        device: auto, cpu, cuda, cuda:1 or mps.
        overrides: a setting of the recipe, such as epochs=30 or optim.base_lr=1e-3.

    Raises:
        KeyboardInterrupt: it was stopped.
    """
    # Torch takes seconds to load, so names and data are looked at before.
    from vitnas import run as layout
    from vitnas.train.reading import dump_recipe, load_recipe, recipe_space

    given = read_settings(overrides, data=data, root=root, space=space)
    settings = load_recipe(recipe, **given)
    searched = recipe_space(settings)
    images = open_training_data(recipe, settings)
    layout.check_output(run, run / layout.SUPERNET)
    return train_and_save(
        new_supernet(searched, settings, images),
        settings,
        images,
        device=device,
        folder=run,
        target=run / layout.SUPERNET,
        what="supernet",
        provenance={},
        beside={run / layout.CONFIG: dump_recipe(settings)},
    )
