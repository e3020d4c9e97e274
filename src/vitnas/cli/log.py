"""What the command line prints: log lines and tables through rich."""

from __future__ import annotations

import logging
from functools import cache

from rich.console import Console
from rich.logging import RichHandler
from rich.table import Table


@cache
def console() -> Console:
    """Return the terminal that all verbs write to."""
    return Console()


def set_up() -> None:
    """Send the package's log lines to the terminal, without decoration."""
    handler = RichHandler(
        console=console(), show_time=False, show_level=False, show_path=False, highlighter=None
    )
    logger = logging.getLogger("vitnas")
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False


def table(title: str, columns: list[str], rows: list[list[str]], left: int = 1) -> None:
    """Print a table whose first `left` columns are text and the rest figures."""
    made = Table(title=title, title_justify="left", header_style="bold")
    for index, column in enumerate(columns):
        made.add_column(column, justify="left" if index < left else "right")
    for row in rows:
        made.add_row(*row)
    console().print(made)
