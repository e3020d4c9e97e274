"""Where the time of training goes: what each stage of the data costs, and what the loop waits for.

Workers measure their own work and send the numbers along with the batch. A wait of the loop is
then laid to what was done in its course, which is honest for any number of workers: a stage that
is slow but done in time costs nothing. Accelerators are timed by events that are read when they
have passed, so nothing waits in order to be measured.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import torch

clock: Callable[[], float] = time.perf_counter  # the same for all processes of a machine

MATTERS = 0.05  # share of the time; waiting less than this is not what limits training


class Work(NamedTuple):
    """When a batch was made, in seconds of `clock`, and how long each stage of it took."""

    began: float
    finished: float
    decode: float
    augment: float
    collate: float


class Stages:
    """Seconds and images of each stage of an epoch, and the seconds that the loop waited for it.

    Stages of the work are `decode` (reading included), `augment`, `collate`, and on an accelerator
    `transfer` and `device_augment`; those of the loop are `mixup` (a part of `step`) and `step`.
    Causes of waiting are the first three, `start` (of the worker processes) and `handover` (from
    worker to loop, pinning and transfer included).
    """

    def __init__(self, workers: int = 0, processes: int = 1) -> None:
        self._workers = max(workers, 1)
        self._processes = processes
        self.reset()

    def reset(self) -> None:
        """Begin an epoch."""
        self.images = 0
        self.seconds: dict[str, float] = defaultdict(float)
        self.waited: dict[str, float] = defaultdict(float)
        self._counted: dict[str, int] = defaultdict(int)
        self._pending: list[tuple[str, int, Any, Any]] = []

    def add(self, stage: str, seconds: float, images: int) -> None:
        """Count the work of a stage."""
        self.seconds[stage] += seconds
        self._counted[stage] += images

    def received(self, asked: float, work: Work, images: int) -> None:
        """Count a batch that the loop asked for at `asked` and has just received."""
        now = clock()
        self.images += images
        for stage in ("decode", "augment", "collate"):
            self.add(stage, getattr(work, stage), images)
        began, finished = (min(max(t, asked), now) for t in (work.began, work.finished))
        self.waited["start"] += began - asked
        self.waited["handover"] += now - finished
        total = work.decode + work.augment + work.collate
        for stage in ("decode", "augment", "collate"):
            share = getattr(work, stage) / total if total else 0.0
            self.waited[stage] += share * (finished - began)

    @contextmanager
    def timed(self, stage: str, images: int, device: torch.device) -> Iterator[None]:
        """Time what is done inside, on a CUDA device without waiting for it."""
        if device.type != "cuda":
            began = clock()
            yield
            self.add(stage, clock() - began, images)
            return
        import torch

        event: Any = torch.cuda.Event
        start, end = event(enable_timing=True), event(enable_timing=True)
        start.record()
        yield
        end.record()
        self._pending.append((stage, images, start, end))
        if len(self._pending) > 100:
            self._settle()

    @property
    def waiting(self) -> float:
        """Share of the time that the loop waited for data, 0 to 1."""
        waited = sum(self.waited.values())
        return waited / max(waited + self.seconds["step"], 1e-9)

    @property
    def bottleneck(self) -> str:
        """`step`, or what the loop waited for most if the waiting matters."""
        if self.waiting < MATTERS:
            return "step"
        return max(self.waited, key=lambda cause: self.waited[cause])

    @property
    def rate(self) -> float:
        """Images a second of the training, all processes together."""
        elapsed = sum(self.waited.values()) + self.seconds["step"]
        return self._processes * self.images / max(elapsed, 1e-9)

    def rates(self) -> dict[str, float]:
        """Images a second that each stage could do alone, with all workers and processes.

        Without worker processes the stages share one, so none reaches its rate.
        """
        self._settle()
        many = ("decode", "augment", "collate")
        return {
            stage: self._processes * (self._workers if stage in many else 1) * count / seconds
            for stage, seconds in self.seconds.items()
            if (count := self._counted[stage]) and seconds > 0
        }

    def text(self) -> str:
        """The rate and the bottleneck, for people."""
        limit = "bottleneck: step"
        if self.bottleneck != "step":
            limit = f"waiting for data {100 * self.waiting:.0f} %: {self.bottleneck}"
        return f"{self.rate:.0f} images/s ({limit})"

    def record(self) -> dict[str, Any]:
        """The same and the rates of all stages, as JSON-able values."""
        return {
            "images_per_second": self.rate,
            "waiting": self.waiting,
            "bottleneck": self.bottleneck,
            "waited_seconds": {cause: s for cause, s in self.waited.items() if s > 0},
            "stages": self.rates(),
        }

    def _settle(self) -> None:
        """Read the events that have passed; the others are left for later."""
        waiting = []
        for stage, images, start, end in self._pending:
            if end.query():
                self.add(stage, start.elapsed_time(end) / 1000, images)
            else:
                waiting.append((stage, images, start, end))
        self._pending = waiting
