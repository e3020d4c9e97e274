"""`vitnas retrain`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

if TYPE_CHECKING:
    from vitnas.train.loop import TrainResult


def retrain(
    model: Path,
    output: Path,
    *,
    data: str | None = None,
    root: str | None = None,
    recipe: str = "retrain",
    device: str = "auto",
    overrides: Annotated[tuple[str, ...], tyro.conf.arg(name="set", metavar="FIELD=VALUE")] = (),
) -> TrainResult:
    """Train an extracted model's architecture from fresh weights; continues when stopped.

    Args:
        model: the model folder whose architecture to train.
        output: the model folder to write; training state and metrics go there too.
        data: a data set; by default the one that the model is for.
        root: where the data lies, for those that need it.
        recipe: a recipe's name or a YAML file.
        device: auto, cpu, cuda, cuda:1 or mps.
        overrides: settings of the recipe, such as epochs=300.
    """
    from vitnas.cli.training import train_model

    return train_model(model, output, data, root, recipe, device, overrides, inherit=False)
