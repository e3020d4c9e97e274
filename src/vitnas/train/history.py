"""What training says about architectures: the loss that each one had when it was trained.

`metrics.jsonl` records losses; which architectures a step trained is a function of recipe and step.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitnas.arch import Arch
from vitnas.errors import InputError
from vitnas.train.metrics import read_metrics
from vitnas.train.prepare import recipe_sampler

if TYPE_CHECKING:
    from vitnas.supernet import Supernet
    from vitnas.train.recipe import TrainRecipe
    from vitnas.train.samplers import Sampler

LOOK = 8  # steps that tell which architectures are in every step


def trained_losses(
    metrics: Path, recipe: TrainRecipe, net: Supernet, count: int
) -> list[tuple[Arch, float]]:
    """Return the `count` lowest losses of a training, each with its architecture, lowest first.

    Where a step trains several architectures, those of every step (the largest and the smallest of
    the sandwich rule) are left out: they are in any choice of records and say nothing.

    Raises:
        InputError: there is no record of a training, or one that has no loss for each architecture.
    """
    lines = [line for line in read_metrics(metrics) if line["kind"] == "step"]
    if not lines:
        raise InputError(f"{metrics} has no losses of a training")
    steps_per_epoch = sum(line["epoch"] == lines[0]["epoch"] for line in lines)
    sampler = recipe_sampler(recipe, net, steps_per_epoch)
    assert sampler is not None
    return list(islice(_lowest(lines, sampler, metrics), count))


def _lowest(
    lines: list[dict[str, Any]], sampler: Sampler, metrics: Path
) -> Iterator[tuple[Arch, float]]:
    several = len(sampler(0))
    drawn = zip(*map(sampler, range(LOOK)), strict=True)
    always = {place for place, archs in enumerate(drawn) if several > 1 and len(set(archs)) == 1}
    losses = [
        (loss, line["step"] - 1, place)
        for line in lines
        for place, loss in enumerate(line.get("losses", [line["loss"]]))
    ]
    if len(losses) != several * len(lines):
        raise InputError(
            f"{metrics} has one loss for the {several} architectures of a step: an older "
            "version of vitnas wrote it"
        )
    for loss, step, place in sorted(losses):
        if place not in always:
            yield sampler(step)[place], loss
