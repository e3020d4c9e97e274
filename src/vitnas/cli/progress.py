"""What a search shows while it runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

if TYPE_CHECKING:
    from vitnas.search.ledger import Record


class SearchProgress:
    """A progress bar that counts trials and shows the best score and how many were stopped.

    `trials` is how many there will be, or says so, None if nobody knows, when the first one comes.
    """

    def __init__(self, trials: int | Callable[[], int | None]) -> None:
        self.trials = trials
        self.progress: Progress | None = None
        self.best = float("-inf")
        self.stopped = 0

    def __enter__(self) -> SearchProgress:
        return self

    def __exit__(self, *exception: object) -> None:
        if self.progress is not None:
            self.progress.stop()

    def __call__(self, record: Record) -> None:
        if self.progress is None:
            self.progress = self._begin()  # only now, so that a refused search shows no bar
        if record.state == "stopped":
            self.stopped += 1
        else:
            self.best = max(self.best, record.score)
        shown = f"searching, best {self.best:.2f}"
        if self.stopped:
            shown += f", {self.stopped} stopped early"
        self.progress.update(self.progress.task_ids[0], advance=1, description=shown)

    def _begin(self) -> Progress:
        total = self.trials() if callable(self.trials) else self.trials
        bar = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        shown = bar if total else (MofNCompleteColumn(),)
        progress = Progress(TextColumn("{task.description}"), *shown, console=Console(stderr=True))
        progress.add_task("searching", total=total)
        progress.start()
        return progress
