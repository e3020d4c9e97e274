"""What a search shows while it runs."""

from __future__ import annotations

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
    """A progress bar that counts trials and shows the best score and how many were stopped."""

    def __init__(self, trials: int | None) -> None:
        bar = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        shown = bar if trials else (MofNCompleteColumn(),)
        self.progress = Progress(
            TextColumn("{task.description}"), *shown, console=Console(stderr=True)
        )
        self.task = self.progress.add_task("searching", total=trials)
        self.best = float("-inf")
        self.stopped = 0

    def __enter__(self) -> SearchProgress:
        return self

    def __exit__(self, *exception: object) -> None:
        if self.progress.live.is_started:  # rich would end a bar that was never begun as well
            self.progress.stop()

    def __call__(self, record: Record) -> None:
        self.progress.start()  # only now, so that a refused search shows no bar
        if record.state == "stopped":
            self.stopped += 1
        else:
            self.best = max(self.best, record.score)
        shown = f"searching, best {self.best:.2f}"
        if self.stopped:
            shown += f", {self.stopped} stopped early"
        self.progress.update(self.task, advance=1, description=shown)
