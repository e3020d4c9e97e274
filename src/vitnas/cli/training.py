"""What fine-tuning and retraining share: a static model, trained and saved again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitnas.cli.log import console

if TYPE_CHECKING:
    from vitnas.data.sources import Data
    from vitnas.data.transforms import Input
    from vitnas.train.loop import TrainResult
    from vitnas.train.recipe import TrainRecipe


def train_model(
    source: Path,
    output: Path,
    data: str | None,
    root: str | None,
    recipe: str,
    device: str,
    overrides: tuple[str, ...],
    *,
    inherit: bool,
) -> TrainResult:
    """Train a saved static model from its weights, or its architecture from fresh ones.

    Raises:
        InputError: the folder holds no static model, or recipe and data don't fit it.
    """
    import torch

    from vitnas import folder
    from vitnas import run as layout
    from vitnas.errors import InputError
    from vitnas.supernet import Supernet, build
    from vitnas.train.loop import train
    from vitnas.train.reading import load_recipe, parse_override

    if source.resolve() == output.resolve():
        raise InputError(f"{output} is the model to start from; name another output folder")
    record = folder.read_config(source)
    model = folder.load(source)
    if isinstance(model, Supernet):
        raise InputError(f"{source} is a supernet; extract a subnet first: `vitnas extract`")
    settings = load_recipe(recipe, **dict(map(parse_override, overrides)))
    images = layout.open_model_data(record, data or settings.data, root or settings.root)
    settings = replace(
        settings,
        data=images.name,
        root=root or settings.root,
        search_fraction=images.search_fraction,
    )
    input = _input(settings, record, images)
    settings = replace(settings, input=input, img_size=None)
    torch.manual_seed(settings.seed)
    sized = _resized(model, images, input, settings.drop_path)
    if not inherit:
        from vitnas.arch import Arch

        options: dict[str, Any] = sized.vitnas_config["options"]
        sized = build(Arch.from_dict(record["arch"]), **options)
    result = train(sized, settings, images, output, device=device)
    if result.finished:
        trained = sized if result.ema is None else result.ema
        how = "fine-tuned" if inherit else "retrained from scratch"
        folder.save(
            trained,
            output,
            **layout.model_info(images, input, settings.root),
            metrics={"search": result.metrics},
            provenance={
                **record.get("provenance", {}),
                "training": how,
                "from": layout.fingerprint(source),
                "recipe": settings.to_dict(),
            },
        )
        console().print(f"{how} model written to {output}", highlight=False)
    else:
        console().print("stopped; the same command goes on from here", highlight=False)
    return result


def _input(settings: TrainRecipe, record: dict[str, Any], data: Data) -> Input:
    """Return the recipe's input, else the model's own at the recipe's image size."""
    from vitnas import run as layout

    if settings.input is not None:
        return settings.input
    own = layout.model_input(record, data)
    size = settings.img_size
    if size is None:
        return own
    return replace(own, img_size=(size, size) if isinstance(size, int) else size)


def _resized(model: Any, data: Data, input: Input, drop_path: float) -> Any:
    from vitnas.errors import InputError
    from vitnas.resize import resize

    channels = model.vitnas_config["options"]["in_chans"]
    if channels != input.channels:
        raise InputError(f"the model takes {channels} channels, the input has {input.channels}")
    return resize(model, len(data.classes), input.img_size, drop_path_rate=drop_path)
