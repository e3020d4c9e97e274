"""`vitnas train`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from vitnas.cli.log import console

if TYPE_CHECKING:
    from vitnas.train.loop import TrainResult


def train(
    recipe: str,
    run: Path,
    *,
    data: str | None = None,
    root: str | None = None,
    space: str | None = None,
    device: str = "auto",
    overrides: Annotated[tuple[str, ...], tyro.conf.arg(name="set", metavar="FIELD=VALUE")] = (),
) -> TrainResult:
    """Train a supernet; the same command continues a run that was stopped or killed.

    Args:
        recipe: a recipe's name (autoformer-tiny, digits, ...) or a YAML file.
        run: the folder of the run.
        data: a data set: digits, fashion-mnist, folder/PATH, torch/cifar10, hfds/..., wds/...
        root: where the data lies, for those that need it.
        space: a search space's name or YAML file, instead of the recipe's.
        device: auto, cpu, cuda, cuda:1 or mps.
        overrides: settings of the recipe, such as epochs=30 or optim.base_lr=1e-3.
    """
    import torch

    from vitnas import files, folder
    from vitnas import run as layout
    from vitnas.data.sources import open_data
    from vitnas.errors import InputError
    from vitnas.supernet import Supernet
    from vitnas.train.loop import train as run_training
    from vitnas.train.prepare import recipe_input, recipe_space
    from vitnas.train.reading import dump_recipe, load_recipe, parse_override

    given = dict(map(parse_override, overrides))
    named = {"data": data, "root": root, "space": space}
    settings = load_recipe(recipe, **given, **{k: v for k, v in named.items() if v is not None})
    if settings.data is None:
        raise InputError(f"recipe {recipe} names no data: give --data, for example --data digits")
    images = open_data(
        settings.data,
        search_fraction=settings.search_fraction,
        seed=settings.seed,
        root=settings.root,
    )
    input = recipe_input(settings, images)
    torch.manual_seed(settings.seed)
    net = Supernet(
        recipe_space(settings),
        len(images.classes),
        input.img_size,
        in_chans=input.channels,
        drop_path_rate=settings.drop_path,
        **settings.model,
    )
    result = run_training(net, settings, images, run, device=device)
    if result.finished:
        files.write(run / layout.CONFIG, dump_recipe(settings))
        trained = net if result.ema is None else result.ema
        folder.save(
            trained,
            run / layout.SUPERNET,
            **layout.model_info(images, input, settings.root),
            metrics={"search": result.metrics},
            provenance={"recipe": settings.to_dict(), "steps": result.step},
        )
        console().print(f"supernet written to {run / layout.SUPERNET}", highlight=False)
    else:
        console().print("stopped; the same command goes on from here", highlight=False)
    return result
