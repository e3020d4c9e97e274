"""Figures of many small panels, such as one for each gene."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

from vitnas.report.figures.style import label, layout

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

HEIGHT = 190  # pixels of a panel

Cell: TypeAlias = tuple[dict[str, int], bool]  # row and column, and whether none is below it


def panels(names: Sequence[str], columns: int) -> tuple[Figure, list[Cell]]:
    """Return a figure with an empty panel for each name, and the cells of these."""
    from plotly.subplots import make_subplots

    columns = min(columns, len(names))
    rows = -(-len(names) // columns)
    height = HEIGHT * rows + 80
    figure = make_subplots(
        rows=rows,
        cols=columns,
        subplot_titles=[label(name, 28) for name in names],
        vertical_spacing=72 / height if rows > 1 else None,
        horizontal_spacing=0.15 / columns,
    )
    figure.update_layout(layout(height, showlegend=False, hovermode="closest"))
    figure.update_annotations(font={"size": 12}, yshift=2)
    cells = [
        ({"row": index // columns + 1, "col": index % columns + 1}, index + columns >= len(names))
        for index in range(len(names))
    ]
    return figure, cells
