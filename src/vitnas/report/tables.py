"""The comparison of nets, as a table on the terminal and as cells for the report page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vitnas.report.figures.style import plain, quantity

if TYPE_CHECKING:
    from rich.table import Table

HEADINGS = {
    "name": "net",
    "params": "params",
    "macs": "MACs",
    "inherited_search": "inherited,\nsearch split",
    "inherited_test": "inherited,\ntest",
    "finetuned_test": "fine-tuned,\ntest",
    "retrained_test": "retrained,\ntest",
}


@dataclass(frozen=True)
class Row:
    """A net: its exact costs and its top-1 accuracies in percent, None where not measured."""

    name: str
    params: float | None = None
    macs: float | None = None
    inherited_search: float | None = None
    inherited_test: float | None = None
    finetuned_test: float | None = None
    retrained_test: float | None = None


def as_text(rows: Sequence[Row]) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Return the headings of the columns that some row fills, and the cells of every row."""
    filled = [name for name in HEADINGS if any(getattr(row, name) is not None for row in rows)]
    cells = (tuple(_cell(name, getattr(row, name)) for name in filled) for row in rows)
    return tuple(HEADINGS[name] for name in filled), tuple(cells)


def comparison_table(rows: Sequence[Row]) -> Table:
    """Return a table for rich's console. Names stand for themselves, not for rich's markup."""
    from rich.table import Table
    from rich.text import Text

    headings, lines = as_text(rows)
    table = Table(caption="top-1 accuracy in percent")
    for index, heading in enumerate(headings):
        table.add_column(heading, justify="right" if index else "left", overflow="fold")
    for line in lines:
        table.add_row(*map(Text, line))
    return table


def _cell(column: str, value: str | float | None) -> str:
    if value is None:
        return "–"
    if isinstance(value, str):
        return plain(value)
    return quantity(value) if column in ("params", "macs") else f"{value:.2f}"
