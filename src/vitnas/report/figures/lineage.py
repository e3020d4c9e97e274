"""Where the best architectures of a search come from: their parents, and the parents of those."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vitnas.report.figures.choices import elites
from vitnas.report.figures.style import (
    COLORS,
    SYMBOLS,
    TEXT,
    axis,
    finite,
    label,
    layout,
    say_empty,
)

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from vitnas.search.ledger import Record

BEST = 3
MOST = 400  # ancestors drawn


def lineage(
    records: Sequence[Record], best: Sequence[Record] | None = None, *, score: str = "score"
) -> Figure:
    """Draw the ancestors of some trials, by default of the best three, with lines to the children.

    A trial that was stopped early stands at the highest score that it could have reached. Of more
    than 400 ancestors the nearest are drawn.
    """
    from plotly.graph_objects import Figure

    best = elites(records)[:BEST] if best is None else best
    figure = Figure(layout=layout(400, hovermode="closest"))
    if not best:
        return say_empty(figure, "no completed trials yet")
    found = ancestors(records, best)
    figure.add_scatter(**_lines(found))
    origins = list(dict.fromkeys(record.origin for record in found.values()))
    for index, origin in enumerate(origins):
        group = [record for record in found.values() if record.origin == origin]
        figure.add_scatter(**_dots(origin, index, group))
    figure.add_scatter(
        x=[record.number for record in best],
        y=[height(record) for record in best],
        mode="markers",
        marker={"symbol": "circle-open", "size": 15, "color": TEXT, "line": {"width": 2}},
        name="the best" if len(best) > 1 else "this one",
        hoverinfo="skip",
    )
    figure.update_xaxes(axis("trial"))
    figure.update_yaxes(axis(label(score, 40)))
    return figure


def ancestors(records: Sequence[Record], best: Sequence[Record]) -> dict[int, Record]:
    """Return trials and their ancestors by number, the nearest first."""
    known = {record.number: record for record in records}
    found = {record.number: record for record in best}
    level = list(best)
    while level and len(found) < MOST:
        numbers = dict.fromkeys(number for record in level for number in record.parents)
        level = [known[n] for n in numbers if n in known and n not in found]
        level = level[: MOST - len(found)]
        found.update((record.number, record) for record in level)
    return found


def height(record: Record) -> float | None:
    """Return the score of a trial, or the bound of one that was stopped."""
    return record.score if finite(record.score) else record.at_most


def _lines(found: Mapping[int, Record]) -> dict[str, Any]:
    xs: list[float | None] = []
    ys: list[float | None] = []
    for record in found.values():
        for parent in record.parents:
            if parent in found:
                xs += [parent, record.number, None]
                ys += [height(found[parent]), height(record), None]
    return {
        "x": xs,
        "y": ys,
        "mode": "lines",
        "line": {"color": TEXT, "width": 1},
        "opacity": 0.5,
        "hoverinfo": "skip",
        "showlegend": False,
    }


def _dots(origin: str, index: int, group: Sequence[Record]) -> dict[str, Any]:
    return {
        "x": [record.number for record in group],
        "y": [height(record) for record in group],
        "name": label(origin),
        "mode": "markers",
        "marker": {
            "color": COLORS[index % len(COLORS)],
            "symbol": SYMBOLS[index % len(SYMBOLS)],
            "size": 8,
        },
        "customdata": [[record.generation, _parents(record)] for record in group],
        "hovertemplate": f"trial %{{x}}, {label(origin)}, generation %{{customdata[0]}}<br>"
        "score %{y:.4g}%{customdata[1]}<extra></extra>",
    }


def _parents(record: Record) -> str:
    return f", from {' and '.join(map(str, record.parents))}" if record.parents else ""
