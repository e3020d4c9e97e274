"""Score against cost: what was found, the Pareto front, the limit, and nets by name."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vitnas.errors import unknown
from vitnas.report.figures.style import (
    COLORS,
    SHADE,
    SYMBOLS,
    TEXT,
    axis,
    complete,
    label,
    layout,
    quantity,
    say_empty,
)
from vitnas.report.figures.thinning import dots, say_thinned
from vitnas.search.pareto import front

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from vitnas.search.ledger import Record
    from vitnas.search.limits import Limit

NAMES = {
    "params": "parameters",
    "macs": "MACs",
    "latency": "latency (s)",
    "memory": "peak of activations (bytes)",
}
MOST_TOLD = 2_000  # trials whose genes the figure tells; of more it would become very large


def pareto(
    records_by_strategy: Mapping[str, Sequence[Record]],
    *,
    cost: str = "params",
    limit: Limit | None = None,
    marked: Mapping[str, tuple[float, float]] | None = None,
    score: str = "score",
    most: int | None = None,
) -> Figure:
    """Draw the score of every completed trial against one of its costs, and the Pareto front.

    Args:
        records_by_strategy: the trials of each study.
        cost: name of the cost, as in the records' metrics.
        limit: the window of costs that was allowed, which is shaded.
        marked: cost and score of nets to point out by name.
        score: what the score is, for the axis.
        most: draw about so many trials of a study at most, and say so. Its front and its best tenth
            are whole, the others are thinned evenly.

    Raises:
        InputError: the trials have no such cost.
    """
    from plotly.graph_objects import Figure

    studies = {name: complete(records) for name, records in records_by_strategy.items()}
    known = {metric for records in studies.values() for r in records for metric in r.metrics}
    if known and cost not in known:
        raise unknown("cost", cost, known)
    figure = Figure(layout=layout(430, hovermode="closest"))
    points: list[tuple[float, float]] = []
    drawn = 0
    for index, (name, records) in enumerate(studies.items()):
        costed = [record for record in records if cost in record.metrics]
        own = [(record.metrics[cost], record.score) for record in costed]
        shown = dots([y for _, y in own], most, _front(own) if most else ())
        figure.add_scatter(**_cloud(name, index, [costed[place] for place in shown], cost))
        points += own
        drawn += len(shown)
    _add_front(figure, points)
    _add_marked(figure, dict(marked or {}), points)
    xs = [x for x, _ in [*points, *(marked or {}).values()]]
    window = _add_window(figure, limit, xs)
    title = NAMES.get(cost, cost)
    figure.update_xaxes(axis(label(title, 40), tickformat="~s", range=window, nticks=8))
    figure.update_yaxes(axis(label(score, 40)))
    say_thinned(figure, drawn, len(points))
    return figure if xs else say_empty(figure, "no completed trials yet")


def _cloud(name: str, index: int, records: Sequence[Record], cost: str) -> dict[str, Any]:
    told = _short if len(records) <= MOST_TOLD else _nothing
    return {
        "meta": {"role": "cloud", "search": name},
        "x": [record.metrics[cost] for record in records],
        "y": [record.score for record in records],
        "name": label(name),
        "mode": "markers",
        "marker": {
            "color": COLORS[index % len(COLORS)],
            "symbol": SYMBOLS[index % len(SYMBOLS)],
            "size": 8,
            "opacity": 0.65,
        },
        "customdata": [[record.number, label(record.origin), told(record)] for record in records],
        "hovertemplate": "trial %{customdata[0]}, %{customdata[1]}<br>score %{y:.4g}, "
        f"{label(NAMES.get(cost, cost))} %{{x:,}}<br>%{{customdata[2]}}<extra></extra>",
    }


def _short(record: Record) -> str:
    genes = []
    for name, value in record.arch.items():
        text = " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
        genes.append(label(f"{name} {text}"))
    return "<br>".join(genes[:12])


def _nothing(record: Record) -> str:
    return ""


def _add_front(figure: Figure, points: Sequence[tuple[float, float]]) -> None:
    best = [points[i] for i in _front(points)]
    figure.add_scatter(
        x=[x for x, _ in best],
        y=[y for _, y in best],
        name="Pareto front",
        meta={"role": "front"},
        mode="lines+markers",
        line={"color": TEXT, "width": 1.5, "shape": "hv"},
        marker={"symbol": "circle-open", "size": 12, "line": {"width": 1.5}},
        hoverinfo="skip",
    )


def _front(points: Sequence[tuple[float, float]]) -> list[int]:
    return front(points, maximize=(False, True))


def _add_marked(
    figure: Figure,
    marked: Mapping[str, tuple[float, float]],
    points: Sequence[tuple[float, float]],
) -> None:
    if not marked:
        return
    figure.add_scatter(
        x=[x for x, _ in marked.values()],
        y=[y for _, y in marked.values()],
        mode="markers",
        marker={"symbol": "star", "size": 15, "color": "#ddaa33", "line": {"width": 1.2}},
        customdata=[label(name) for name in marked],
        hovertemplate="%{customdata}<br>score %{y:.4g}, cost %{x:,}<extra></extra>",
        showlegend=False,
    )
    xs, scores = zip(*points, *marked.values(), strict=True)
    middle = (min(scores) + max(scores)) / 2
    for name, (x, y) in marked.items():
        # good nets have room above, on the far side of the front; others have it below
        up, right = (-20, False) if y > middle else (20, True)
        place = (x - min(xs)) / ((max(xs) - min(xs)) or 1)
        if place < 0.2 or place > 0.8:  # at the edge a name has room on one side alone
            right = place < 0.2
        aside, anchor = (22, "left") if right else (-22, "right")
        figure.add_annotation(
            x=x,
            y=y,
            text=f"<b>{label(name, 30)}</b>",
            ax=aside,
            ay=up,
            xanchor=anchor,
            arrowwidth=1,
            arrowhead=0,
            standoff=8,
        )


def _add_window(figure: Figure, limit: Limit | None, xs: Sequence[float]) -> list[float] | None:
    """Shade what the limit allows and return the range of the axis."""
    ends = [] if limit is None else [e for e in (limit.minimum, limit.maximum) if e is not None]
    if not xs and not ends:
        return None
    low, high = min(*xs, *ends, math.inf), max(*xs, *ends, -math.inf)
    margin = 0.06 * ((high - low) or abs(high) or 1.0)
    low, high = low - margin, high + margin
    if limit is not None:
        left = low if limit.minimum is None else limit.minimum
        right = high if limit.maximum is None else limit.maximum
        figure.add_vrect(x0=left, x1=right, fillcolor=SHADE, line_width=0, layer="below")
        for end in ends:
            figure.add_vline(x=end, line={"color": TEXT, "width": 1, "dash": "dot"})
        room = (high - ends[-1]) / (high - low) > 0.2
        figure.add_annotation(
            x=ends[-1],
            y=0,
            yref="paper",
            text=f"limit {' to '.join(map(quantity, ends))}",
            showarrow=False,
            xanchor="left" if room else "right",
            yanchor="bottom",
        )
    return [low, high]
