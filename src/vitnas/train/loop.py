"""The training loop, one for supernets, retraining and fine-tuning. The only place with a clock."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from vitnas import files
from vitnas.compiling import count_graphs, graph_room
from vitnas.data.workers import dead_workers_told
from vitnas.errors import InputError
from vitnas.train import checkpoint, prepare
from vitnas.train.devices import make_fabric
from vitnas.train.interrupt import Interrupt
from vitnas.train.metrics import MetricsLog
from vitnas.train.optim import Schedule, make_schedule
from vitnas.train.progress import TrainProgress
from vitnas.train.samplers import Sampler
from vitnas.train.sides import make_runs
from vitnas.train.step import ADVICE, Batch, Step, TrainingError
from vitnas.train.validate import Evaluate, make_evaluate
from vitnas.train.weights import Weights

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from vitnas.data.loader import TrainLoader
    from vitnas.data.sources import Data
    from vitnas.train.recipe import TrainRecipe

_log = logging.getLogger(__name__)

CHECKPOINTS = "checkpoints"


@dataclass(frozen=True)
class TrainResult:
    """How a training ended. The model itself was trained in place.

    `finished` is false if the user stopped it; the same call continues. `metrics` are those of the
    last evaluation, `best` the highest of each over all evaluations, `loss` that of the last step
    (None if no step was done now). `ema` is the moving average of the model, if the recipe has one.
    With the recipe's `restore_best`, metrics and weights are those of the best evaluation.
    """

    finished: bool
    step: int
    epochs: int
    loss: float | None
    metrics: dict[str, float]
    best: dict[str, float]
    seconds: float
    ema: nn.Module | None


def train(
    model: nn.Module,
    recipe: TrainRecipe,
    data: Data,
    folder: str | Path,
    *,
    sampler: Sampler | None = None,
    evaluate: Evaluate | None = None,
    device: str = "auto",
) -> TrainResult:
    """Train a model in place, continuing from the last checkpoint in `folder` if there is one.

    Args:
        model: a supernet, called as `model(images, arch)`, or an ordinary model.
        recipe: what to do.
        data: what to train and evaluate on; its test split is not touched.
        folder: gets `checkpoints/`, `metrics.jsonl`, `cache/`, and with a logger `logs/`. All
            processes have to see the same one.
        sampler: the architectures of each step; by default what the recipe's `sampling` says.
        evaluate: replaces the usual evaluation on the search split at the end of an epoch.
        device: `auto`, `cpu`, `cuda`, `cuda:1` or `mps`. Under torchrun or SLURM all processes
            train together.

    Ctrl-C (or SIGTERM) writes a checkpoint after the current step and returns. On CPU a continued
    run gives the same numbers as an uninterrupted one, to the last bit. The global torch generator
    is reseeded in every step.

    Raises:
        InputError: recipe, data, model, device and folder don't fit together, the folder belongs to
            another run, another process trains there, it can't be written, or a process that
            loads data died.
        TrainingError: the loss or the weights are no longer finite.
    """
    fabric = make_fabric(device, recipe.precision, recipe.parallel)
    prepare.make_loader(fabric, recipe, data)  # refuses what can't be trained, before any file
    folder = Path(folder)
    with ExitStack() as stack:
        _lock(fabric, folder, stack)
        run = _prepare(fabric, model, recipe, data, folder, sampler, evaluate)
        run.resume()
        with dead_workers_told():
            return run.execute()


def _lock(fabric: Fabric, folder: Path, stack: ExitStack) -> None:
    """Let nobody else train in the folder; all processes are refused together."""
    refusal = ""
    if fabric.is_global_zero:
        lock = files.only_one(folder / CHECKPOINTS / "lock", f"training in {folder}")
        try:
            stack.enter_context(lock)
        except InputError as error:
            refusal = str(error)
    if refusal := fabric.broadcast(refusal):
        raise InputError(refusal)


@dataclass
class _Run:
    """The pieces of a run, and how far it has come."""

    fabric: Fabric
    weights: Weights
    recipe: TrainRecipe
    folder: Path
    loader: TrainLoader
    do_step: Step
    schedule: Schedule
    sampler: Sampler | None
    evaluate: Evaluate
    graphs: int
    identity: dict[str, Any]
    interrupt: Interrupt = field(default_factory=Interrupt)
    step: int = 0  # steps done
    evaluated: int = 0  # epochs ended: evaluated and saved
    best: dict[str, float] = field(default_factory=dict)
    best_at: tuple[int, float] | None = None  # step and mean metric of the best evaluation
    latest: dict[str, float] = field(default_factory=dict)
    loss: float | None = None
    saved_at: float = field(default_factory=time.monotonic)

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps in an epoch."""
        return len(self.loader) // self.recipe.accumulate

    @property
    def checkpoints(self) -> Path:
        """Where checkpoints lie."""
        return self.folder / CHECKPOINTS

    def resume(self) -> None:
        """Continue from the last checkpoint, if there is one."""
        state = checkpoint.load(self.checkpoints)
        self._check_same(-1 if state is None else state["step"])
        if state is None:
            return
        checkpoint.check_identity(self.folder, state["identity"], self.identity)
        self.weights.load(state, self.do_step.optimizer)
        self.fabric.strategy.precision.load_state_dict(state["precision"])
        self.step, self.evaluated = state["step"], state["evaluated"]
        self.best, self.latest = state["best"], state["latest"]
        self.best_at = state.get("best_at")
        if self.fabric.is_global_zero:
            _log.info("continuing after step %d", self.step)

    def _check_same(self, step: int) -> None:
        """Check that all processes go on from the same step."""
        differs = torch.tensor(float(step != self.fabric.broadcast(step)))
        total: Any = self.fabric.all_reduce(differs.to(self.fabric.device), reduce_op="sum")
        if total:
            raise InputError(
                f"the processes find different checkpoints in {self.checkpoints}; the folder must "
                "lie on a file system that all of them share"
            )

    def execute(self) -> TrainResult:
        """Run to the end, or until the user stops it."""
        began = time.monotonic()
        history = None
        if self.fabric.is_global_zero:
            path = self.folder / "metrics.jsonl"
            history = MetricsLog(
                path, step=self.step, evaluated=self.evaluated, logger=self.recipe.logger
            )
        progress = TrainProgress(
            epochs=self.recipe.epochs,
            steps_per_epoch=self.steps_per_epoch,
            done=self.step,
            stages=self.loader.stages,
            shown=self.fabric.is_global_zero,
        )
        graphs = graph_room(self.graphs) if self.recipe.compile else nullcontext()
        ended = nullcontext() if history is None else closing(history)
        with ended, progress, self.interrupt, graphs:
            finished = self._epochs(history, progress)
        if finished and self.recipe.restore_best:
            self._restore_best()
        return TrainResult(
            finished=finished,
            step=self.step,
            epochs=self.evaluated,
            loss=self.loss,
            metrics=self.latest,
            best=self.best,
            seconds=time.monotonic() - began,
            ema=self.weights.average,
        )

    def _epochs(self, history: MetricsLog | None, progress: TrainProgress) -> bool:
        """Return whether the last epoch was reached."""
        while True:
            if self.step == (self.evaluated + 1) * self.steps_per_epoch:
                found = self._end_epoch()
                if history is not None and found:
                    history.append("evaluation", step=self.step, epoch=self.evaluated, **found)
                if history is not None and self.loader.stages.images:
                    speed = self.loader.stages.record()
                    history.append("speed", step=self.step, epoch=self.evaluated, **speed)
                self.evaluated += 1
                self._save(history)
                progress.end_epoch(found)
            if self.evaluated == self.recipe.epochs:
                return True
            for losses, lr, stop in self._train_epoch():
                assert self.loss is not None
                if history is not None:
                    line = {"step": self.step, "epoch": self.evaluated, "loss": self.loss, "lr": lr}
                    apart = {"losses": losses} if len(losses) > 1 else {}
                    of = self.steps_per_epoch
                    first = {"steps_per_epoch": of} if (self.step - 1) % of == 0 else {}
                    history.append("step", **line, **apart, **first)
                progress.advance(self.loss, lr)
                if stop:
                    self._save(history)
                    return False
                if time.monotonic() - self.saved_at > 60 * self.recipe.checkpoint_minutes:
                    self._save(history)

    def _train_epoch(self) -> Iterator[tuple[list[float], float, bool]]:
        """Do the remaining steps of the epoch.

        Yields the loss of each architecture, the learning rate, and whether to stop.
        """
        self.do_step.model.train()
        epoch, batch = divmod(self.step, self.steps_per_epoch)
        parts = self.recipe.accumulate
        for batches in _grouped(self.loader.at(epoch, batch * parts), parts):
            lr = self.schedule(self.step)
            archs = (None,) if self.sampler is None else self.sampler(self.step)
            losses, stop = self.do_step(self.step, batches, archs, self.interrupt.requested)
            self.step += 1
            self.loss = sum(losses) / len(losses)
            self.weights.update(self.step)
            yield losses, lr, stop

    def _end_epoch(self) -> dict[str, float]:
        """Evaluate, if it is due."""
        done, every = self.evaluated + 1, self.recipe.evaluate_every
        if not every or (done % every and done < self.recipe.epochs):
            return {}
        self.latest = self.evaluate(self.weights.gather().eval())
        self.best = {n: max(v, self.best.get(n, v)) for n, v in self.latest.items()}
        mean = sum(self.latest.values()) / max(len(self.latest), 1)
        if self.best_at is None or mean > self.best_at[1]:
            self.best_at = self.step, mean
        return self.latest

    def _save(self, history: MetricsLog | None) -> None:
        """Write a checkpoint, in the first process.

        Raises:
            TrainingError: the weights are not finite, and would displace good ones.
        """
        self.saved_at = time.monotonic()
        self.weights.gather()
        state = self.weights.state(self.do_step.optimizer)
        if history is None:
            return
        if not self.weights.finite():
            raise TrainingError(f"weights are not finite after step {self.step}; {ADVICE}")
        state |= {
            "evaluated": self.evaluated,
            "best": self.best,
            "best_at": self.best_at,
            "latest": self.latest,
            "identity": self.identity,
            "precision": self.fabric.strategy.precision.state_dict(),
        }
        history.save()
        best = None if self.best_at is None else self.best_at[0]
        checkpoint.save(self.checkpoints, self.step, state, keep=self.recipe.keep, best=best)

    def _restore_best(self) -> None:
        """Take the weights and metrics of the best evaluation."""
        assert self.best_at is not None
        state = checkpoint.load_step(self.checkpoints, self.best_at[0])
        self.weights.load(state, None)
        self.latest = state["latest"]


def _prepare(
    fabric: Fabric,
    model: nn.Module,
    recipe: TrainRecipe,
    data: Data,
    folder: Path,
    sampler: Sampler | None,
    evaluate: Evaluate | None,
) -> _Run:
    loader = prepare.make_loader(fabric, recipe, data)
    steps = len(loader) // recipe.accumulate
    if sampler is None:
        sampler = prepare.recipe_sampler(recipe, model, steps)
    runs = make_runs(model, recipe.sides)
    identity = prepare.run_identity(recipe, model, data, steps)
    prepare.set_up(model, recipe, fabric.device)
    weights, wrapped, optimizer = prepare.make_weights(fabric, model, recipe)
    schedule = make_schedule(optimizer, recipe.optim, epochs=recipe.epochs, steps_per_epoch=steps)
    if evaluate is None:
        evaluate = make_evaluate(
            fabric,
            data,
            prepare.recipe_input(recipe, data),
            folder / "cache",
            space=prepare.model_space(model),
            seed=recipe.seed,
        )
    return _Run(
        fabric=fabric,
        weights=weights,
        recipe=recipe,
        folder=folder,
        loader=loader,
        do_step=prepare.make_step(fabric, wrapped, optimizer, recipe, data, runs, loader.stages),
        schedule=schedule,
        sampler=sampler,
        evaluate=evaluate,
        graphs=count_graphs(model) if recipe.compile else 0,
        identity=identity,
    )


def _grouped(batches: Iterable[Batch], size: int) -> Iterator[list[Batch]]:
    """Yield full groups of consecutive batches."""
    iterator = iter(batches)
    return (list(group) for group in zip(*[iterator] * size, strict=False))
