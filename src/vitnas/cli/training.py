"""What training a supernet, fine-tuning and retraining share."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitnas.cli.log import say
from vitnas.errors import InputError

if TYPE_CHECKING:
    from torch import nn

    from vitnas.data.sources import Data
    from vitnas.data.transforms import Input
    from vitnas.space import Space
    from vitnas.supernet import Supernet
    from vitnas.train.loop import TrainResult
    from vitnas.train.recipe import TrainRecipe

_log = logging.getLogger(__name__)

_MANY = 4096  # patches of an image; of 1,024 pixels with the usual patches of 16


def train_and_save(
    model: nn.Module,
    settings: TrainRecipe,
    data: Data,
    *,
    device: str,
    folder: Path,
    target: Path,
    what: str,
    provenance: Mapping[str, Any],
    beside: Mapping[Path, str] | None = None,
) -> TrainResult:
    """Train a model in `folder`, then write it to `target`, and before it the texts `beside`.

    A training that was finished before leaves everything as it is.

    Raises:
        KeyboardInterrupt: the user stopped it; the same call continues.
        InputError: recipe, data, model, device and folder don't fit together.
    """
    from vitnas import files
    from vitnas import folder as model_folder
    from vitnas import run as layout
    from vitnas.train.loop import train
    from vitnas.train.prepare import recipe_input

    result = train(model, settings, data, folder, device=device)
    if not result.finished:
        raise KeyboardInterrupt
    if not _is_first_process():
        return result
    if result.loss is None and (target / model_folder.CONFIG).is_file():
        say(f"{what} {target} is trained already; nothing to do")
        return result
    for path, text in (beside or {}).items():
        files.write(path, text)
    model_folder.save(
        model if result.ema is None else result.ema,
        target,
        **layout.model_info(data, recipe_input(settings, data), settings.root),
        metrics={"search": result.metrics},
        provenance={**provenance, "recipe": settings.to_dict(), "steps": result.step},
    )
    say(f"{what} written to {target}")
    return result


def read_settings(overrides: tuple[str, ...], **flags: Any) -> dict[str, Any]:
    """Return what `--set FIELD=VALUE` and the flags that stand for fields of a recipe say.

    Raises:
        InputError: a field is malformed, or given both ways.
    """
    from vitnas.train.reading import parse_override

    given = dict(map(parse_override, overrides))
    named = {name: value for name, value in flags.items() if value is not None}
    if twice := sorted(given.keys() & named.keys()):
        raise InputError(f"{twice[0]} is given twice, by --{twice[0]} and by --set {twice[0]}=...")
    return given | named


def open_training_data(recipe: str, settings: TrainRecipe) -> Data:
    """Open the data that the recipe of a supernet names.

    Raises:
        InputError: it names none, or sets what follows from data and space.
    """
    if fixed := sorted(_FIXED & settings.model.keys()):
        raise InputError(
            f"model.{fixed[0]} can't be set: it follows from the data, the space, and the "
            "recipe's img_size, input and drop_path"
        )
    if settings.data is None:
        raise InputError(f"recipe {recipe} names no data: give --data, for example --data digits")
    from vitnas.data.sources import open_data

    return open_data(
        settings.data,
        search_fraction=settings.search_fraction,
        seed=settings.seed,
        root=settings.root,
        skip_broken=settings.skip_broken,
    )


def model_options(settings: TrainRecipe, data: Data) -> dict[str, Any]:
    """Return the options of a supernet that the data and the recipe's model say."""
    from vitnas.train.prepare import recipe_input

    input = recipe_input(settings, data)
    fixed = {"num_classes": len(data.classes), "img_size": input.img_size}
    return {**fixed, "in_chans": input.channels, **settings.model}


def new_supernet(space: Space, settings: TrainRecipe, data: Data) -> Supernet:
    """Return a fresh supernet of a space, as the recipe wants it for the data."""
    import torch

    from vitnas.supernet import Supernet

    torch.manual_seed(settings.seed)
    options = model_options(settings, data)
    net = Supernet(space, drop_path_rate=settings.drop_path, **options)
    _warn_of_many_patches(net)
    return net


def _warn_of_many_patches(net: Supernet) -> None:
    from vitnas.models.vit import ViTConfig

    if not isinstance(net.config, ViTConfig):  # others attend within windows, or choose the patch
        return
    (height, width), (rows, columns) = net.config.img_size, net.config.grid
    patches = rows * columns
    if patches > _MANY:
        _log.warning(
            "images of %dx%d pixels are %d patches of %d pixels; attention may take %.2g GB for "
            "each head and image: give a --space with larger patches, or smaller images (--set "
            "img_size=...)",
            height,
            width,
            patches,
            net.config.patch_size,
            4 * patches**2 / 1e9,
        )


_FIXED = {
    *("space", "largest", "stored_space", "static"),
    *("num_classes", "img_size", "in_chans", "drop_path_rate", "drop_path_depth"),
}


def usual_recipe(record: Mapping[str, Any]) -> str:
    """Return the recipe by which a model with this record is fine-tuned if none is named."""
    return "finetune-supernet" if record.get("kind") == "supernet" else "finetune"


def train_model(
    source: Path,
    output: Path,
    recipe: str | None,
    device: str,
    given: dict[str, Any],
    *,
    inherit: bool,
) -> TrainResult:
    """Train a saved model from its weights, or its architecture from fresh ones.

    A supernet is trained from its weights only; `output` becomes a run, which can be searched.
    Without a recipe, fine-tuning takes the one for the kind of model.

    Raises:
        KeyboardInterrupt: the user stopped it; the same call continues.
        InputError: the folder holds no such model, or recipe and data don't fit it.
    """
    from vitnas import run as layout
    from vitnas.train.reading import dump_recipe

    if source.resolve() == output.resolve():
        raise InputError(f"{output} is the model to start from; name another output folder")
    settings = None if recipe is None else _model_recipe(recipe, given, source)
    record = layout.model_record(source)
    supernet = record.get("kind") == "supernet"
    if supernet:
        _check_supernet(source, record, inherit)
    if settings is None:
        recipe = usual_recipe(record)
        settings = _model_recipe(recipe, given, source)
    if supernet != (settings.sampling is not None):
        raise InputError(_other_kind(source, recipe, supernet))
    target = output / layout.SUPERNET if supernet else output
    layout.check_output(output, target)
    images, root = _open(record, settings, given)

    import torch

    from vitnas import folder

    settings = replace(
        settings,
        data=images.name,
        root=root,
        search_fraction=images.search_fraction,
        input=_input(settings, record, images),
        img_size=None,
        interpolation=None,
    )
    torch.manual_seed(settings.seed)
    model = _sized(folder.load(source), record, settings, images)
    how = "fine-tuned" if inherit else "retrained from scratch"
    return train_and_save(
        model if inherit else _fresh(model),
        settings,
        images,
        device=device,
        folder=output,
        target=target,
        what=f"{how} {'supernet' if supernet else 'model'}",
        provenance={
            **record.get("provenance", {}),
            "training": how,
            "from": layout.fingerprint(source),
        },
        beside={output / layout.CONFIG: dump_recipe(settings)} if supernet else None,
    )


def _model_recipe(name: str, given: Mapping[str, Any], source: Path) -> TrainRecipe:
    """Read a recipe for a saved model, about which it says nothing.

    Raises:
        InputError: it does, or can't be read.
    """
    from vitnas.train.reading import load_recipe

    settings = load_recipe(name, **given)
    if settings.space is not None or settings.model:
        raise InputError(
            f"recipe {name} has a space or model options, but the model is that of {source}; "
            "leave them out"
        )
    return settings


def _check_supernet(source: Path, record: Mapping[str, Any], inherit: bool) -> None:
    """Check that a saved supernet can be trained further.

    Raises:
        InputError: it is to be retrained, or has no space to draw subnets from.
    """
    if not inherit:
        raise InputError(f"{source} is a supernet; extract a subnet first: `vitnas extract`")
    if not record.get("space"):
        raise InputError(
            f"{source} is a supernet without a search space; `vitnas convert --space` gives one to "
            "a foreign supernet"
        )


def _other_kind(source: Path, recipe: str | None, supernet: bool) -> str:
    if supernet:
        return (
            f"{source} is a supernet; recipe {recipe} needs sampling (for example --set "
            "sampling.name=uniform), or extract a subnet first: `vitnas extract`"
        )
    return f"{source} is an ordinary model; recipe {recipe} has sampling, which is for supernets"


def _open(
    record: Mapping[str, Any], settings: TrainRecipe, given: Mapping[str, Any]
) -> tuple[Data, str | None]:
    """Return the data and where it lies. The model's own keeps the splits that it was made with."""
    from vitnas import run as layout

    fraction = settings.search_fraction
    images = layout.open_model_data(
        record,
        settings.data,
        settings.root,
        search_fraction=fraction,
        seed=settings.seed,
        skip_broken=settings.skip_broken,
    )
    if "search_fraction" in given and images.search_fraction != fraction:
        raise InputError(
            f"search_fraction is {fraction}, but the model was selected with "
            f"{images.search_fraction} of {images.name} held out; leave it out to keep this split"
        )
    known = record.get("data") or {}
    own = known.get("name") == images.name
    if not own and "data" not in given and "name" in known:
        _log.warning(
            "data is %s, which the recipe names, not the model's %s; --data says otherwise",
            images.name,
            known["name"],
        )
    return images, settings.root or (known.get("root") if own else None)


def _input(settings: TrainRecipe, record: Mapping[str, Any], data: Data) -> Input:
    """Return the recipe's input, else the model's own at the recipe's size and interpolation."""
    from vitnas import run as layout
    from vitnas.train.prepare import recipe_input

    if settings.input is not None:
        return recipe_input(settings, data)
    own, size = layout.model_input(record, data), settings.img_size
    if size is not None:
        own = replace(own, img_size=(size, size) if isinstance(size, int) else size)
    return recipe_input(settings, data, own)


def _sized(model: nn.Module, record: Mapping[str, Any], settings: TrainRecipe, data: Data) -> Any:
    """Return the model for the classes and the image size of the training."""
    from vitnas.resize import resize

    input = settings.input
    assert input is not None
    channels = record["options"]["in_chans"]
    if channels != input.channels:
        raise InputError(f"the model takes {channels} channels, the input has {input.channels}")
    classes = record.get("classes")
    return resize(
        model,
        len(data.classes),
        input.img_size,
        drop_path_rate=settings.drop_path,
        new_head=classes is not None and list(classes) != list(data.classes),
    )


def _fresh(model: Any) -> nn.Module:
    """Return the same architecture with fresh weights."""
    from vitnas.arch import Arch
    from vitnas.supernet import build

    made = model.vitnas_config
    return build(Arch.from_dict(made["arch"]), **made["options"])


def _is_first_process() -> bool:
    """Tell whether this is the process that writes, of those that torchrun or SLURM started."""
    from torch import distributed

    started = distributed.is_available() and distributed.is_initialized()
    return not started or distributed.get_rank() == 0
