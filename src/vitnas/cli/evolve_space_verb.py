"""`vitnas evolve-space`."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from tyro.conf import UseAppendAction, arg

from vitnas.cli.log import say
from vitnas.cli.rounds import RoundProgress, show
from vitnas.cli.search_verb import search
from vitnas.cli.searching import load_supernet, read_limits, search_split
from vitnas.cli.training import (
    model_options,
    new_supernet,
    open_training_data,
    read_settings,
    train_and_save,
)
from vitnas.cli.usage import (
    MaybeName,
    MaybeNumber,
    MaybeQuantity,
    MaybeRoot,
    Name,
    Number,
    Settings,
)
from vitnas.errors import InputError, unknown

if TYPE_CHECKING:
    from vitnas.data.sources import Data
    from vitnas.search.limits import Costs
    from vitnas.search.space_evolution_round import Options, Round
    from vitnas.space import Space
    from vitnas.train.recipe import TrainRecipe

Constants: TypeAlias = Annotated[
    tuple[str, ...],
    UseAppendAction,
    arg(name="option", metavar="NAME=VALUE", help_behavior_hint="(repeatable)"),
]
logger = logging.getLogger(__name__)


def evolve_space(
    recipe: str,
    run: Path,
    *,
    rounds: Number = 3,
    subnets: Number = 1000,
    trials: MaybeNumber = None,
    max_params: MaybeQuantity = None,
    min_params: MaybeQuantity = None,
    max_macs: MaybeQuantity = None,
    min_macs: MaybeQuantity = None,
    data: MaybeName = None,
    root: MaybeRoot = None,
    space: MaybeName = None,
    later_epochs: MaybeNumber = None,
    images: MaybeNumber = None,
    batch_size: Number = 256,
    seed: Number = 0,
    device: Name = "auto",
    overrides: Settings = (),
    options: Constants = (),
) -> list[Round]:
    """Search the search space, as S3 does; the same command continues where it was stopped.

    Each round trains a supernet, evaluates subnets on the search split, and moves the values of
    every gene to where errors are lower. The last space is written to RUN/space.yaml; the last
    round's supernet, of this space, can be searched, which `trials` does at once.

    Args:
        recipe: of each round's supernet: a name or a YAML file.
        run: the folder of the evolution; round K is the run RUN/rounds/K.
        rounds: move the space at most so many times.
        subnets: evaluate this many subnets a round.
        trials: search the last space at the end, by AutoFormer's evolution under the same limits,
            and evaluate so many subnets; by default the command for it is shown.
        max_params: count subnets of at most this many parameters, such as 6M.
        min_params: count subnets of at least this many parameters.
        max_macs: count subnets of at most this many multiply-adds an image, such as 1.3G.
        min_macs: count subnets of at least this many multiply-adds an image.
        data: a data set: digits, fashion-mnist, folder/PATH, torch/cifar10, hfds/..., wds/...
        root: where the data lies, for those that need it.
        space: where to start: a search space's name or YAML file, instead of the recipe's.
        later_epochs: train supernets after the first this long, as they start from the weights of
            the one before; by default as long.
        images: evaluate on this many images of the search split, drawn per class; by default all.
        batch_size: images evaluated together.
        seed: of the draws; that of the training stands in the recipe.
        device: auto, cpu, cuda, cuda:1 or mps.
        overrides: a setting of the recipe, such as epochs=30 or optim.base_lr=1e-3.
        options: a constant of the evolution, such as threshold=0.2, steps.embed_dim=16 or
            maximum.depth.3=8 (the third stage).

    Raises:
        KeyboardInterrupt: it was stopped.
    """
    # Torch takes seconds to load, so names, numbers and data are looked at before.
    from vitnas.search.space_evolution import check_settings
    from vitnas.spaces import as_mapping, read
    from vitnas.train.reading import load_recipe, recipe_space

    settings = load_recipe(recipe, **read_settings(overrides, data=data, root=root, space=space))
    # read back, so that the order of the genes is that of the rounds' config.yaml
    start = read(as_mapping(recipe_space(settings)))
    constants = _read_options(options)
    limits = read_limits({"params": (min_params, max_params), "macs": (min_macs, max_macs)})
    check_settings(start, limits, rounds, subnets, constants)
    if later_epochs is not None:
        dataclasses.replace(settings, epochs=later_epochs)  # refuses a wrong number
    for name, number in (("batch_size", batch_size), ("trials", trials)):
        if number is not None and number < 1:
            raise InputError(f"{name} is {number}; it must be at least 1")
    opened = open_training_data(recipe, settings)

    from vitnas import cost, files
    from vitnas import run as layout
    from vitnas.candidates import evaluation
    from vitnas.devices import resolve_device
    from vitnas.search.space_evolution import Trained
    from vitnas.search.space_evolution import evolve_space as run_evolution
    from vitnas.train.prepare import recipe_input

    target = str(resolve_device(device))
    input, sizes = recipe_input(settings, opened), model_options(settings, opened)
    costs = cost.counters(**{name: value for name, value in sizes.items() if name != "sharing"})

    def train(current: Space, number: int) -> Trained:
        own = dataclasses.replace(settings, space=as_mapping(current))
        if number and later_epochs is not None:
            own = dataclasses.replace(own, epochs=later_epochs)
        supernet = _train(run, number, current, own, opened, device)
        split, told = search_split(run, supernet, opened, input, images, seed)
        net, _ = load_supernet(supernet)
        evaluate = evaluation(net, split.to(target), batch_size=batch_size, device=target)
        return Trained(evaluate, told)

    with RoundProgress(subnets) as shown:
        done = run_evolution(
            start,
            train,
            costs=costs,
            limits=limits,
            folder=run / layout.EVOLUTION,
            rounds=rounds,
            subnets=subnets,
            options=constants,
            seed=seed,
            recipe=_identity(settings, later_epochs),
            check=partial(_check, costs),
            on_trial=shown.trial,
            on_round=shown.round,
        )
    final = done[-1]
    files.write(run / layout.SPACE, _yaml(final.space))
    show(done)
    say(f"final space written to {run / layout.SPACE}")
    last = run / layout.ROUNDS / str(final.number)
    if trials is None:
        say(f"search it: vitnas search {last}")
    else:
        search(
            last,
            trials=trials,
            max_params=max_params,
            min_params=min_params,
            max_macs=max_macs,
            min_macs=min_macs,
            images=images,
            seed=seed,
            device=device,
        )
    return done


def _read_options(given: Sequence[str]) -> Options:
    """Return the constants that `--option NAME=VALUE` and `--option NAME.DIMENSION=VALUE` say."""
    from pydantic import TypeAdapter, ValidationError

    from vitnas.search.space_evolution_round import Options
    from vitnas.train.reading import parse_override

    names = {field.name for field in dataclasses.fields(Options)}
    found: dict[str, Any] = {}
    for path, value in map(parse_override, given):
        name, _, dimension = path.partition(".")
        if name not in names:
            raise unknown("option of space evolution", name, names)
        if dimension:
            found.setdefault(name, {})[dimension] = value
        else:
            found[name] = value
    try:
        return TypeAdapter(Options).validate_python(found)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"]))
        what = f"option {where} is {fault['input']!r}: " if where else ""
        raise InputError(f"{what}{fault['msg'].removeprefix('Value error, ')}") from error


def _identity(settings: TrainRecipe, later_epochs: int | None) -> dict[str, Any]:
    """Return what of the recipes must stay the same while an evolution lasts."""
    from vitnas.train.checkpoint import FREE

    kept = {name: value for name, value in settings.to_dict().items() if name not in FREE}
    del kept["space"]  # known as the start space, whatever it is called
    return {**kept, "later_epochs": later_epochs}


def _check(costs: Costs, space: Space) -> None:
    """Refuse a space that the family can't have, or not on these images."""
    from vitnas.spaces import as_mapping, read

    read(as_mapping(space))
    for arch in (space.smallest, space.largest):
        for cost in costs.values():
            cost(arch)


def _train(
    run: Path, number: int, space: Space, settings: TrainRecipe, data: Data, device: str
) -> Path:
    """Train a round's supernet, from the weights of the round before; return its model folder."""
    from vitnas import run as layout
    from vitnas.train.reading import dump_recipe
    from vitnas.warm_start import warm_start

    folder = run / layout.ROUNDS / str(number)
    target = folder / layout.SUPERNET
    layout.check_output(folder, target)
    net = new_supernet(space, settings, data)
    if number:
        before, _ = load_supernet(folder.with_name(str(number - 1)) / layout.SUPERNET)
        share = warm_start(net, before)
        logger.info("round %d starts from %.0f %% inherited weights", number, 100 * share)
    train_and_save(
        net,
        settings,
        data,
        device=device,
        folder=folder,
        target=target,
        what=f"supernet of round {number}",
        provenance={"space_evolution": number},
        beside={folder / layout.CONFIG: dump_recipe(settings)},
    )
    return target


def _yaml(space: Space) -> str:
    import yaml

    from vitnas.spaces import as_mapping

    return yaml.safe_dump(as_mapping(space), sort_keys=False, default_flow_style=None)
