"""What a recipe means for a model and a data set: input, sampler, losses, optimiser, identity."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from vitnas.arch import Arch
from vitnas.compiling import compile_blocks
from vitnas.data.loader import TrainLoader, train_loader
from vitnas.data.transforms import Input, default_input, make_mixup
from vitnas.errors import InputError
from vitnas.space import Space
from vitnas.train.devices import share_out
from vitnas.train.losses import make_objective
from vitnas.train.optim import make_optimizer
from vitnas.train.runner import Runner
from vitnas.train.samplers import Sampler, make_sampler
from vitnas.train.step import Step
from vitnas.train.teacher import load_teacher
from vitnas.train.weights import Weights

if TYPE_CHECKING:
    from collections.abc import Callable

    from lightning_fabric import Fabric
    from lightning_fabric.wrappers import _FabricModule

    from vitnas.data.sources import Data
    from vitnas.data.stages import Stages
    from vitnas.data.transforms import Mix
    from vitnas.train.recipe import TrainRecipe
    from vitnas.train.sides import Runs


def recipe_input(recipe: TrainRecipe, data: Data, usual: Input | None = None) -> Input:
    """Return how images are prepared: the recipe's input, else what is usual.

    That is by default what is usual for the data, at the recipe's image size.

    Either way they are resized as the recipe's `interpolation` says, if it is given.
    """
    input = recipe.input or usual or default_input(data, recipe.img_size)
    return replace(input, interpolation=recipe.interpolation or input.interpolation)


def make_loader(fabric: Fabric, recipe: TrainRecipe, data: Data) -> TrainLoader:
    """Return the loader of this process; a step takes `accumulate` of its batches.

    Raises:
        InputError: the global batch can't be shared evenly, or is larger than the data.
    """
    shares = fabric.world_size * recipe.accumulate
    if recipe.batch_size % shares:
        raise InputError(
            f"batch_size {recipe.batch_size} is no multiple of {fabric.world_size} processes × "
            f"accumulate {recipe.accumulate}"
        )
    loader = train_loader(
        data.train,
        recipe_input(recipe, data),
        recipe.augment,
        batch_size=recipe.batch_size // shares,
        seed=recipe.seed,
        epoch=0,
        workers=recipe.workers,
        rank=fabric.global_rank,
        world_size=fabric.world_size,
        device=fabric.device,
        cache_bytes=int(recipe.cache_gb * 1e9),
    )
    if len(loader) < recipe.accumulate:
        raise InputError(
            f"batch_size {recipe.batch_size} is larger than the {len(data.train)} training images"
        )
    return loader


def set_up(model: nn.Module, recipe: TrainRecipe, device: torch.device) -> None:
    """Set what the recipe says about the model.

    Raises:
        InputError: the model has no checkpointing or can't be compiled.
    """
    if recipe.compile:
        compile_blocks(model, device)
    if recipe.grad_checkpointing:
        switch = getattr(model, "set_grad_checkpointing", None)
        if switch is None:
            raise InputError(
                f"{type(model).__name__} has no set_grad_checkpointing; "
                "set grad_checkpointing=false"
            )
        switch(True)


def make_weights(
    fabric: Fabric, model: nn.Module, recipe: TrainRecipe
) -> tuple[Weights, _FabricModule, Any]:
    """Return the weights, the `Runner` of them and their optimiser, both set up by Fabric.

    Raises:
        InputError: the optimiser can't be made.
    """
    several = fabric.world_size > 1
    sharded = several and recipe.parallel == "fsdp"
    model.to(fabric.device)
    trained = copy.deepcopy(model) if sharded else model
    ema = None
    if recipe.ema_decay is not None:
        ema = ModelEmaV3(trained, decay=recipe.ema_decay, use_warmup=True)
    wrapped = fabric.setup_module(Runner(trained, exchanged=several and not sharded))
    if sharded and ema is not None:
        share_out(fabric, ema.module)
    scaled = recipe.precision == "16-mixed" and recipe.optim.clip_grad is not None
    optimizer = make_optimizer(trained, recipe.optim, recipe.batch_size, fused=not scaled)
    return Weights(model, trained, ema), wrapped, fabric.setup_optimizers(optimizer)


def recipe_sampler(recipe: TrainRecipe, model: nn.Module, steps_per_epoch: int) -> Sampler | None:
    """Return the sampler that the recipe names, for a supernet; None for an ordinary model.

    Raises:
        InputError: the recipe is for the other kind of model, or of sharing.
    """
    space = model_space(model)
    if (space is None) != (recipe.sampling is None):
        kind = "an ordinary model" if space is None else "a supernet"
        needs = "no sampling" if space is None else "sampling (for example `name: uniform`)"
        raise InputError(f"the model is {kind}; its recipe needs {needs}")
    if space is None or recipe.sampling is None:
        return None
    if recipe.sampling.name == "bcnet" and not model.sharing.bilateral:  # type: ignore[union-attr]
        raise InputError(
            "sampling bcnet needs subnets that have a left and a right side: set "
            "model.sharing=bilateral"
        )
    return make_sampler(
        recipe.sampling,
        space,
        recipe.seed,
        steps_per_epoch=steps_per_epoch,
        cost=_cost(recipe.sampling.cost, model),
    )


def make_step(
    fabric: Fabric,
    wrapped: _FabricModule,
    optimizer: torch.optim.Optimizer,
    recipe: TrainRecipe,
    data: Data,
    runs: Runs,
    stages: Stages,
) -> Step:
    """Return the optimisation step that the recipe describes; `stages` gets the time of mixup."""
    input, distillation, classes = recipe_input(recipe, data), recipe.distillation, data.classes
    teacher = None
    if distillation.teacher is not None:
        teacher = load_teacher(
            distillation,
            classes=len(classes),
            input=input,
            device=fabric.device,
        )
    return Step(
        fabric=fabric,
        model=wrapped,
        optimizer=optimizer,
        objective=make_objective(distillation, recipe.augment.smoothing),
        seed=recipe.seed,
        runs=runs,
        mixup=_timed(make_mixup(recipe.augment, len(classes)), stages),
        teacher=teacher,
        inplace_temperature=distillation.temperature if distillation.inplace else None,
        clip_grad=recipe.optim.clip_grad,
        step_skipped_blocks=recipe.optim.step_skipped_blocks,
        sharded=recipe.parallel == "fsdp",
    )


def _timed(mix: Mix | None, stages: Stages) -> Mix | None:
    def timed(images: Tensor, labels: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        assert mix is not None
        with stages.timed("mixup", len(images), images.device):
            return mix(images, labels, seed)

    return None if mix is None else timed


def run_identity(
    recipe: TrainRecipe, model: nn.Module, data: Data, steps_per_epoch: int
) -> dict[str, Any]:
    """Return what must be equal for a run to be continued, as JSON-able values."""
    space = model_space(model)
    described: dict[str, Any] = getattr(model, "vitnas_config", {})
    if space is not None:
        genes = {choice.name: choice.values for choice in space.choices}
        described = {"family": space.family, **genes}
    sizes = {name: list(p.shape) for name, p in model.named_parameters()}
    identity = {
        **recipe.to_dict(),
        "architecture": described,
        "parameters": sizes,
        "images": data.describe()["images"],
        "steps_per_epoch": steps_per_epoch,
    }
    plain: dict[str, Any] = json.loads(json.dumps(identity, default=str))
    return plain


def model_space(model: nn.Module) -> Space | None:
    """Return the search space of a supernet, None for an ordinary model."""
    space = getattr(model, "space", None)
    return space if isinstance(space, Space) else None


def _cost(name: str, model: Any) -> Callable[[Arch], float]:
    from vitnas.cost import macs, params

    options = {"params": params, "macs": macs}
    return partial(options[name], **model.config.to_dict())
