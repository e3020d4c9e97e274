"""`vitnas finetune`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vitnas.cli.training import read_settings, train_model
from vitnas.cli.usage import MaybeName, MaybeRoot, Name, Settings

if TYPE_CHECKING:
    from vitnas.train.loop import TrainResult


def finetune(
    model: Path,
    output: Path,
    *,
    data: MaybeName = None,
    root: MaybeRoot = None,
    recipe: MaybeName = None,
    device: Name = "auto",
    overrides: Settings = (),
) -> TrainResult:
    """Train a model or a supernet on from its weights; the same command continues when stopped.

    On data with other classes the head starts afresh; with another image size (img_size in the
    recipe) position tables and relative position tables are interpolated. Of a supernet the output
    is a run, which `vitnas search` takes.

    Args:
        model: the model folder to start from, or a supernet's.
        output: the model folder to write, or of a supernet the run; training state and metrics go
            there too.
        data: a data set; by default the recipe's, or the one that the model is for.
        root: where the data lies, for those that need it.
        recipe: a recipe's name or a YAML file; by default finetune, or of a supernet
            finetune-supernet.
        device: auto, cpu, cuda, cuda:1 or mps.
        overrides: a setting of the recipe, such as epochs=10 or img_size=384.

    Raises:
        KeyboardInterrupt: it was stopped.
    """
    given = read_settings(overrides, data=data, root=root)
    return train_model(model, output, recipe, device, given, inherit=True)
