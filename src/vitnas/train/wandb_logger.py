"""Fabric's interface to Weights & Biases. The one that W&B ships needs all of Lightning."""

from __future__ import annotations

import argparse
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import wandb
from lightning_fabric.loggers.logger import Logger


class WandbLogger(Logger):
    """A run of Weights & Biases that goes on if it was begun before.

    `told` are kinds and steps of the lines that it had before (`vitnas.train.loggers`). Variables
    of the environment, such as WANDB_PROJECT, WANDB_ENTITY and WANDB_MODE, hold.
    """

    def __init__(
        self, folder: Path, *, name: str, identity: str, told: set[tuple[str, int]]
    ) -> None:
        self.told = told
        settings = wandb.Settings(silent=True)
        self._run = wandb.init(
            dir=folder, name=name, id=identity, resume="allow", settings=settings
        )

    @property
    def name(self) -> str | None:
        """The name of the project."""
        project: str | None = self._run.project
        return project

    @property
    def version(self) -> str:
        """The identity of the run."""
        identity: str = self._run.id
        return identity

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add numbers to a step; those of one step come one after the other."""
        self._run.log(dict(metrics), step=step)

    def log_hyperparams(
        self, params: dict[str, Any] | argparse.Namespace, *args: Any, **kwargs: Any
    ) -> None:
        """Add settings."""
        self._run.config.update(dict(params) if isinstance(params, dict) else vars(params))

    def finalize(self, status: str) -> None:
        """End the run here; the next call of `wandb.init` goes on with it."""
        self._run.finish(exit_code=0 if status == "success" else 1)


def new_identity() -> str:
    """Return the identity of a new run."""
    return secrets.token_hex(4)
