"""`vitnas report`."""

from __future__ import annotations

from pathlib import Path

from vitnas.cli.log import say


def report(run: Path) -> Path:
    """Write everything about a run as one HTML page that needs no network.

    Args:
        run: the folder or name of a run.
    """
    from vitnas.report.run import report_run
    from vitnas.runs import folder_of

    page = report_run(folder_of(run))
    say(f"report written to {page}")
    return page
