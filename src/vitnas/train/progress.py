"""What the user sees of a running training: a live bar, and one plain line an epoch."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from vitnas.data.stages import Stages

_log = logging.getLogger(__name__)


class TrainProgress:
    """A progress bar while entered (on a terminal), and a log line at the end of each epoch."""

    def __init__(
        self, *, epochs: int, steps_per_epoch: int, done: int, stages: Stages, shown: bool
    ) -> None:
        self._epochs = epochs
        self._steps_per_epoch = steps_per_epoch
        self._stages = stages
        self._shown = shown
        self._total = epochs * steps_per_epoch
        self._first = self._step = done
        self._began = time.monotonic()
        self._epoch_first = done
        self._loss_sum, self._lr = 0.0, 0.0
        console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]:.3f}  lr {task.fields[lr]:.1e}"),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not (shown and console.is_terminal),
        )
        self._task = self._bar.add_task(
            "training", total=self._total, completed=done, loss=0.0, lr=0.0, speed=""
        )

    def __enter__(self) -> TrainProgress:
        self._bar.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._bar.stop()

    def advance(self, loss: float, lr: float) -> None:
        """Count one step."""
        self._step += 1
        self._loss_sum += loss
        self._lr = lr
        epoch = (self._step - 1) // self._steps_per_epoch + 1
        self._bar.update(
            self._task,
            completed=self._step,
            description=f"epoch {epoch}/{self._epochs}",
            loss=loss,
            lr=lr,
            speed=self._stages.text(),
        )

    def end_epoch(self, metrics: Mapping[str, float]) -> None:
        """Write the epoch's line, with the mean loss of the steps done here."""
        now = time.monotonic()
        steps = self._step - self._epoch_first
        parts = [f"epoch {self._step // self._steps_per_epoch}/{self._epochs}"]
        if steps:
            parts += [f"loss {self._loss_sum / steps:.4f}", f"lr {self._lr:.2e}"]
            parts += [self._stages.text()]
        parts += [f"{name} {value:.2f}" for name, value in metrics.items()]
        if self._step > self._first:
            left = (now - self._began) / (self._step - self._first) * (self._total - self._step)
            parts += [f"{_duration(left)} left"]
        if self._shown:
            _log.info(", ".join(parts))
        self._epoch_first, self._loss_sum = self._step, 0.0


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{rest:02}s"
