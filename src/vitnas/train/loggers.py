"""Loggers that watch a training from outside: TensorBoard, CSV, Weights & Biases.

They are Fabric's, and are told what `metrics.jsonl` records, by the first process alone.
`metrics.jsonl` says how far the run has come; a logger that a resumed run opens again has no step
twice and none missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from vitnas import files
from vitnas.errors import InputError

if TYPE_CHECKING:
    from lightning_fabric.loggers.logger import Logger

    from vitnas.train.recipe import Loggers

Line: TypeAlias = Mapping[str, Any]

FOLDER = "logs"


def open_logger(name: Loggers, run: Path, kept: Sequence[Line], dropped: Sequence[Line]) -> Logger:
    """Return a logger that writes into `run/logs`.

    It may have been told before of the lines in `metrics.jsonl`: of those that are `kept`, and of
    the later ones that are `dropped`, because the run goes on before them.

    Raises:
        InputError: its package is not installed, or the folder can't be written.
    """
    folder = run / FOLDER
    make = {"tensorboard": _tensorboard, "csv": _csv, "wandb": _wandb}[name]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return make(folder, kept, dropped)
    except ModuleNotFoundError as error:
        raise InputError(
            f"logger {name} needs the package {name}: pip install 'vitnas[{name}]'"
        ) from error
    except OSError as error:
        raise InputError(f"can't write {folder}: {error.strerror or error}") from error


def tell(logger: Logger, line: Line) -> None:
    """Tell a logger the numbers of a line of `metrics.jsonl`, unless it knows them."""
    if (line["kind"], line["step"]) in getattr(logger, "told", ()):
        return
    numbers = {name: value for name, value in line.items() if isinstance(value, int | float)}
    values = {n: value for n, value in numbers.items() if n not in ("step", "steps_per_epoch")}
    if line["kind"] == "speed":  # the other numbers of such a line say little by themselves
        values = {name: values[name] for name in ("images_per_second", "waiting")}
    logger.log_metrics(values, line["step"])


def _tensorboard(folder: Path, kept: Sequence[Line], dropped: Sequence[Line]) -> Logger:
    """TensorBoard forgets all from the first step that was dropped, and is told it again."""
    import torch.utils.tensorboard  # noqa: F401 - Fabric would only say that it can't log
    from lightning_fabric.loggers.tensorboard import TensorBoardLogger

    first = min((line["step"] for line in dropped), default=None)
    logger = TensorBoardLogger(folder, name="tensorboard", version="", purge_step=first)
    for line in kept:
        if first is not None and line["step"] >= first:
            tell(logger, line)
    return logger


def _csv(folder: Path, kept: Sequence[Line], dropped: Sequence[Line]) -> Logger:
    """The file is written again: Fabric's logger can't continue one."""
    from lightning_fabric.loggers.csv_logs import CSVLogger

    (folder / "csv" / "metrics.csv").unlink(missing_ok=True)
    logger = CSVLogger(folder, name="csv", version="")
    for line in kept:
        tell(logger, line)
    return logger


def _wandb(folder: Path, kept: Sequence[Line], dropped: Sequence[Line]) -> Logger:
    """A run of W&B goes on under the same identity. What it was told it can't forget."""
    from vitnas.train.wandb_logger import WandbLogger, new_identity

    path = folder / "wandb-id"
    if not path.is_file():
        files.write(path, new_identity())
    told = {(line["kind"], line["step"]) for line in dropped}
    return WandbLogger(folder, name=folder.parent.name, identity=files.read_text(path), told=told)
