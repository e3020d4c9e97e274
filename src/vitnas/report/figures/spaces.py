"""How a space evolved: the values of every dimension round by round, with their errors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vitnas.errors import InputError
from vitnas.report.figures.panels import panels
from vitnas.report.figures.style import TEXT, axis, label, layout, say_empty

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from vitnas.search.space_evolution_round import Group, Move, Round


def spaces_of_rounds(rounds: Sequence[Round], columns: int = 4) -> Figure:
    """Draw the spaces of all rounds side by side, one panel a dimension.

    In a panel each round is a column of its values, coloured by the E-T error of the subnets that
    take them; a ring is a value that too few subnets took. Dimensions with one value in all rounds
    are left out. All panels share one scale of errors.

    Raises:
        InputError: `columns` is below 1.
    """
    from plotly.graph_objects import Figure

    if columns < 1:
        raise InputError(f"can't draw spaces in {columns} columns")
    moved = _moved(rounds)
    if not moved:
        return say_empty(Figure(layout=layout(200)), "no dimension has more than one value")
    figure, cells = panels(list(moved), columns)
    figure.update_layout(coloraxis=_scale(moved))
    ticks = [found.number for found in rounds]
    span = [min(ticks) - 0.5, max(ticks) + 0.5]
    for moves, (cell, bottom) in zip(moved.values(), cells, strict=True):
        for trace in _traces(moves):
            figure.add_trace(trace, **cell)
        figure.update_xaxes(
            axis("round" if bottom else "", tickvals=ticks, range=span, showgrid=False), **cell
        )
        figure.update_yaxes(axis(tickvals=sorted(_values(moves))[:24]), **cell)
    return figure


def _moved(rounds: Sequence[Round]) -> dict[str, list[tuple[int, Move]]]:
    """Return the rounds' moves by dimension, without those that never had a choice."""
    found: dict[str, list[tuple[int, Move]]] = {}
    for one in rounds:
        for move in one.moves:
            found.setdefault(move.dimension.name, []).append((one.number, move))
    return {
        name: moves for name, moves in found.items() if any(len(move.old) > 1 for _, move in moves)
    }


def _values(moves: Sequence[tuple[int, Move]]) -> set[Any]:
    return {value for _, move in moves for value in move.old}


def _scale(moved: Mapping[str, Sequence[tuple[int, Move]]]) -> dict[str, Any]:
    errors = [
        group.quality.error
        for moves in moved.values()
        for _, move in moves
        for group in move.groups
        if group.quality is not None
    ]
    return {
        "colorscale": "Cividis",
        "cmin": min(errors, default=0),
        "cmax": max(errors, default=1),
        "colorbar": {"title": {"text": "E-T error, %"}, "thickness": 12, "outlinewidth": 0},
    }


def _traces(moves: Sequence[tuple[int, Move]]) -> Iterator[dict[str, Any]]:
    """Yield the line of the lists' middles, the judged values, and those that were not."""
    yield {
        "type": "scatter",
        "x": [number for number, _ in moves],
        "y": [(min(move.old) + max(move.old)) / 2 for _, move in moves],  # type: ignore[operator]
        "mode": "lines",
        "line": {"color": TEXT, "width": 1, "dash": "dot"},
        "hoverinfo": "skip",
    }
    points = [(number, move, group) for number, move in moves for group in move.groups]
    judged = [point for point in points if point[2].quality is not None]
    others = [point for point in points if point[2].quality is None]
    yield {
        **_points(judged),
        "marker": {
            "size": 14,
            "symbol": "square",
            "color": [group.quality.error for _, _, group in judged if group.quality is not None],
            "coloraxis": "coloraxis",
        },
    }
    if others:
        yield {**_points(others), "marker": {"size": 12, "symbol": "circle-open", "color": TEXT}}


def _points(points: Sequence[tuple[int, Move, Group]]) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [number for number, _, _ in points],
        "y": [group.value for _, _, group in points],
        "customdata": [_told(number, move, group) for number, move, group in points],
        "hovertemplate": "%{customdata}<extra></extra>",
    }


def _told(number: int, move: Move, group: Group) -> str:
    name = label(f"round {number}: {move.dimension.name} = {group.value}")
    if group.quality is None:
        return f"{name}<br>only {group.members} subnets take it"
    quality = group.quality
    errors = f"E-T error {quality.error:.2f} % (expected {quality.expected:.2f}, "
    errors += f"top tier {quality.top_tier:.2f}) of {quality.subnets} subnets"
    return f"{name}<br>{errors}<br>{label(move.why, 160)}"
