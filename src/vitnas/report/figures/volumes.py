"""How much of what can be had a search has found: the hypervolume of its front, over time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from vitnas.report.figures.style import (
    COLORS,
    DASHES,
    SYMBOLS,
    axis,
    complete,
    evaluated,
    label,
    layout,
    say_empty,
)
from vitnas.report.figures.thinning import corners
from vitnas.search.pareto import hypervolumes

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from vitnas.search.ledger import Record


def hypervolume_so_far(
    records_by_strategy: Mapping[str, Sequence[Record]],
    *,
    costs: Sequence[str] = ("macs",),
    most: int | None = None,
) -> Figure:
    """Draw, for every study, the hypervolume of its front after each evaluated trial.

    It is the share of a box that the front dominates. The box goes from the lowest score and the
    highest costs of all studies, the reference point, to the highest score and the lowest costs, so
    a single trial that is best in everything would have 100 %. A marker is the end of a generation.
    Records are taken in the order given, which should be that of evaluation; a trial that was
    stopped early is counted, and is dominated. Of more than `most` trials the line has only those
    at which it rises, and of more generations only every k-th has a marker.
    """
    from plotly.graph_objects import Figure

    figure = Figure(layout=layout(360, hovermode="closest"))
    studies = {name: evaluated(records) for name, records in records_by_strategy.items()}
    box = _box([r for records in studies.values() for r in complete(records)], costs)
    if box is None:
        return say_empty(figure, "no front yet: no two completed trials differ in score and cost")
    for index, (name, records) in enumerate(studies.items()):
        volumes = _volumes(records, costs, *box)
        rises = corners(volumes, most)
        ends = list(_ends_of_generations(records))
        if most is not None:
            ends = ends[:: math.ceil(len(ends) / most) or 1]
        style = {"color": COLORS[index % len(COLORS)], "width": 2.5, "shape": "hv"}
        figure.add_scatter(
            x=[place + 1 for place in rises],
            y=[volumes[place] for place in rises],
            name=label(name),
            mode="lines",
            line={**style, "dash": DASHES[index % len(DASHES)]},
            hovertemplate="%{y:.1f} % after %{x} trials<extra></extra>",
            meta={
                "role": "volume",
                "search": name,
                "costs": list(costs),
                "reference": list(box[0]),
                "box": box[1],
            },
        )
        figure.add_scatter(
            x=[place + 1 for place, _ in ends],
            y=[volumes[place] for place, _ in ends],
            customdata=[generation for _, generation in ends],
            mode="markers",
            marker={"color": style["color"], "symbol": SYMBOLS[index % len(SYMBOLS)], "size": 7},
            hovertemplate="generation %{customdata}: %{y:.1f} %<extra></extra>",
            showlegend=False,
            meta={"role": "ends", "search": name},
        )
    figure.update_xaxes(axis("evaluated trials", rangemode="tozero"))
    figure.update_yaxes(axis("hypervolume, % of the box"))
    return figure


def _box(records: Sequence[Record], costs: Sequence[str]) -> tuple[tuple[float, ...], float] | None:
    """Return the reference point and the volume of the box; None if it has none."""
    points = [_point(record, costs) for record in records if _costed(record, costs)]
    if not points:
        return None
    scores, *paid = zip(*points, strict=True)
    sides = [max(scores) - min(scores), *(max(values) - min(values) for values in paid)]
    volume = math.prod(sides)
    return ((min(scores), *map(max, paid)), volume) if volume > 0 else None


def _volumes(
    records: Sequence[Record], costs: Sequence[str], reference: tuple[float, ...], box: float
) -> list[float]:
    points = [
        _point(record, costs)
        if record.state == "complete" and _costed(record, costs)
        else reference
        for record in records
    ]
    found = hypervolumes(points, (True, *[False] * len(costs)), reference)
    return [100 * volume / box for volume in found]


def _ends_of_generations(records: Sequence[Record]) -> Iterator[tuple[int, int]]:
    """Yield the place of the last trial of each generation, where there are several."""
    last = {record.generation: place for place, record in enumerate(records)}
    if len(last) > 1:
        yield from ((place, generation) for generation, place in sorted(last.items()))


def _point(record: Record, costs: Sequence[str]) -> tuple[float, ...]:
    return (record.score, *(record.metrics[name] for name in costs))


def _costed(record: Record, costs: Sequence[str]) -> bool:
    return all(math.isfinite(record.metrics.get(name, math.nan)) for name in costs)
