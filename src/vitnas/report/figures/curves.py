"""What changes over time: the best score of a search, the loss and accuracies of a training."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from vitnas.report.figures.style import (
    COLORS,
    DASHES,
    SYMBOLS,
    TEXT,
    axis,
    evaluated,
    finite,
    label,
    layout,
    say_empty,
)
from vitnas.report.figures.thinning import corners, dots, say_thinned

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from vitnas.search.ledger import Record


def best_so_far(
    records_by_strategy: Mapping[str, Sequence[Record]],
    *,
    score: str = "score",
    most: int | None = None,
) -> Figure:
    """Draw, for every study, the best score after each evaluated trial and the scores themselves.

    Records are taken in the order given, which should be that of evaluation. A trial that was
    stopped early is counted but has no dot: it can't have been better than the best before it.
    Of more than `most` trials the best tenth have dots, and of the others every k-th; the line is
    exact.
    """
    from plotly.graph_objects import Figure

    figure = Figure(layout=layout(360, hovermode="closest"))
    drawn = count = 0
    for index, (name, records) in enumerate(records_by_strategy.items()):
        ended = enumerate(evaluated(records), 1)
        points = [(trial, record) for trial, record in ended if record.state == "complete"]
        trials, scores = [trial for trial, _ in points], [record.score for _, record in points]
        best = list(accumulate(scores, max))
        shown, rises = dots(scores, most), corners(best, most)
        drawn, count = drawn + len(shown), count + len(points)
        color = COLORS[index % len(COLORS)]
        figure.add_scatter(
            x=[trials[place] for place in shown],
            y=[scores[place] for place in shown],
            mode="markers",
            marker={"color": color, "size": 4, "opacity": 0.5},
            customdata=[[points[place][1].number] for place in shown],
            hovertemplate="trial %{customdata[0]}: %{y:.4g}<extra></extra>",
            showlegend=False,
            meta={"role": "dots", "search": name},
        )
        figure.add_scatter(
            x=[trials[place] for place in rises],
            y=[best[place] for place in rises],
            name=label(name),
            line={"color": color, "width": 2.5, "shape": "hv", "dash": DASHES[index % len(DASHES)]},
            mode="lines",
            hovertemplate="best of %{x} trials: %{y:.4g}<extra></extra>",
            meta={"role": "best", "search": name},
        )
    figure.update_xaxes(axis("evaluated trials", rangemode="tozero"))
    figure.update_yaxes(axis(label(f"best {score}", 40)))
    say_thinned(figure, drawn, count)
    return figure if count else say_empty(figure, "no completed trials yet")


def training_curves(metrics: Iterable[Mapping[str, Any]]) -> Figure:
    """Draw the loss of every step and epoch, and the accuracies evaluated between epochs.

    `metrics` are the lines of `metrics.jsonl`, as `vitnas.train.metrics.read_metrics` gives them.
    """
    from plotly.subplots import make_subplots

    lines = list(metrics)
    steps = [line for line in lines if _has(line, "step", "epoch", "loss")]
    evaluations = [
        line for line in lines if line.get("kind") == "evaluation" and _has(line, "epoch")
    ]
    names = _evaluated(evaluations)
    rows = max(bool(steps) + bool(names), 1)
    figure = make_subplots(rows=rows, cols=1, shared_xaxes=True, vertical_spacing=0.07)
    figure.update_layout(layout(250 + 210 * (rows - 1), hovermode="x unified"))
    if steps:
        _add_losses(figure, steps)
        figure.update_yaxes(axis("loss"), row=1)
    for index, name in enumerate(names):
        points = [(line["epoch"] + 1, line[name]) for line in evaluations if finite(line.get(name))]
        figure.add_scatter(
            x=[x for x, _ in points],
            y=[y for _, y in points],
            name=label(name.removeprefix("top1_")),
            mode="lines+markers",
            marker={"size": 6, "symbol": SYMBOLS[index % len(SYMBOLS)]},
            line={"color": COLORS[index % len(COLORS)], "width": 2},
            hovertemplate="%{y:.2f}",
            row=rows,
            col=1,
        )
    figure.update_xaxes(axis(rangemode="tozero"))
    figure.update_xaxes(title={"text": "epoch"}, row=rows)
    if names:
        top1 = all(name.startswith("top1") for name in names)
        figure.update_yaxes(axis("top-1, %" if top1 else "metric"), row=rows)
    return figure if steps or names else say_empty(figure, "no training steps yet")


def _has(line: Mapping[str, Any], *names: str) -> bool:
    return all(finite(line.get(name)) for name in names)


def _evaluated(evaluations: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the names of the accuracies, or of all metrics if there is no accuracy."""
    skipped = ("kind", "step", "epoch")
    numbers = (
        name
        for line in evaluations
        for name, value in line.items()
        if name not in skipped and finite(value)
    )
    names = list(dict.fromkeys(numbers))
    return [name for name in names if name.startswith("top1")] or names


def _add_losses(figure: Figure, steps: Sequence[Mapping[str, Any]], most: int = 2000) -> None:
    """Add the loss of the steps, thinned to `most` points, and the mean of every epoch."""
    by_epoch: dict[int, list[float]] = {}
    for line in steps:
        by_epoch.setdefault(line["epoch"], []).append(line["loss"])
    length = max(map(len, by_epoch.values()))
    thin = steps[:: math.ceil(len(steps) / most)]
    figure.add_scatter(
        x=[line["step"] / length for line in thin],
        y=[line["loss"] for line in thin],
        name="loss of a step",
        mode="lines",
        line={"color": TEXT, "width": 1},
        opacity=0.45,
        hoverinfo="skip",
        row=1,
        col=1,
    )
    figure.add_scatter(
        x=[epoch + len(losses) / length for epoch, losses in by_epoch.items()],
        y=[sum(losses) / len(losses) for losses in by_epoch.values()],
        name="mean loss of an epoch",
        mode="lines+markers" if len(by_epoch) < 40 else "lines",
        marker={"size": 5},
        line={"color": COLORS[3], "width": 2.5},
        hovertemplate="%{y:.4f}",
        row=1,
        col=1,
    )
