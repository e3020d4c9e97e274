"""What the command line prints: results on standard output, progress and log on standard error."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from rich.console import Console

WIDEST = 10_000


def terminal() -> Console:
    """Return standard output for rich's tables and texts.

    Rich is loaded here and not above, so that a wrong name is refused before.
    """
    from rich.console import Console

    class Terminal(Console):
        def on_broken_pipe(self) -> None:
            """Leave it to `vitnas.cli.main`, where rich would end the process."""
            raise  # the error that is being handled

    return Terminal()


def say(text: str) -> None:
    """Print a line as it is; the terminal wraps it if it must."""
    from rich.text import Text

    terminal().print(Text(text), soft_wrap=True)


def table(title: str, columns: list[str], rows: list[list[str]], left: int = 1) -> None:
    """Print a table whose first `left` columns are text and the rest figures.

    What is too wide for the terminal is folded between words, never within a word or a figure.
    Where that does not do, nothing is folded and lines are longer than the terminal is wide.
    """
    from rich.box import SIMPLE_HEAD
    from rich.measure import Measurement
    from rich.table import Table
    from rich.text import Text

    made = Table(
        title=title or None,
        title_justify="left",
        box=SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        collapse_padding=True,
    )
    for index, column in enumerate(columns):
        text, cells = index < left, [row[index] for row in rows]
        whole = " ".join([column, *cells]).split() if text else [*column.split(), *cells]
        justify: Literal["left", "right"] = "left" if text else "right"
        made.add_column(column, justify=justify, min_width=max(map(len, whole), default=0))
    for row in rows:
        made.add_row(*map(Text, row))
    output = terminal()
    size = Measurement.get(output, output.options.update(max_width=WIDEST), made)
    if size.minimum > output.width:
        output.width = size.maximum
    elif size.maximum > output.width:
        for figures in made.columns[left:]:  # so that text is folded first
            figures.width = figures.min_width
    output.print(made, crop=False)


def title(text: str) -> None:
    """Print the heading of a part of a longer command."""
    terminal().rule(text, align="left")


@contextmanager
def logging_to_terminal() -> Iterator[None]:
    """Send the package's log lines to standard error, without decoration; once, if nested."""
    logger = logging.getLogger("vitnas")
    if any(isinstance(handler, _Lines) for handler in logger.handlers):
        yield
        return
    before = logger.level, logger.propagate
    handler = _Lines()
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]


class _Lines(logging.Handler):
    """Writes lines to the present standard error, which a progress bar keeps above itself."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        sys.stderr.write(f"{self.format(record)}\n")
