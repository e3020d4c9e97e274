"""`vitnas train`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vitnas.cli.training import read_settings, train_and_save
from vitnas.cli.usage import MaybeName, MaybeRoot, Name, Settings
from vitnas.errors import InputError

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
    if fixed := sorted(_FIXED & settings.model.keys()):
        raise InputError(
            f"model.{fixed[0]} can't be set: it follows from the data, the space, and the "
            "recipe's img_size, input and drop_path"
        )
    if settings.data is None:
        raise InputError(f"recipe {recipe} names no data: give --data, for example --data digits")
    from vitnas.data.sources import open_data

    images = open_data(
        settings.data,
        search_fraction=settings.search_fraction,
        seed=settings.seed,
        root=settings.root,
        skip_broken=settings.skip_broken,
    )
    layout.check_output(run, run / layout.SUPERNET)

    import torch

    from vitnas.supernet import Supernet
    from vitnas.train.prepare import recipe_input

    input = recipe_input(settings, images)
    torch.manual_seed(settings.seed)
    net = Supernet(
        searched,
        len(images.classes),
        input.img_size,
        in_chans=input.channels,
        drop_path_rate=settings.drop_path,
        **settings.model,
    )
    return train_and_save(
        net,
        settings,
        images,
        device=device,
        folder=run,
        target=run / layout.SUPERNET,
        what="supernet",
        provenance={},
        beside={run / layout.CONFIG: dump_recipe(settings)},
    )


_FIXED = {
    *("space", "largest", "static"),
    *("num_classes", "img_size", "in_chans", "drop_path_rate", "drop_path_depth"),
}
