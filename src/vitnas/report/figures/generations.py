"""How the choices of the best architectures change while a search goes on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vitnas.arch import Scalar
from vitnas.errors import InputError
from vitnas.report.figures.choices import counted, elites, ordered, shade
from vitnas.report.figures.panels import panels
from vitnas.report.figures.style import axis, complete, label, layout, say_empty

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from vitnas.search.ledger import Record

MOST = 12  # columns of a panel

Shares = Mapping[str, Counter[Scalar]]


def choices_over_generations(
    records: Sequence[Record], share: float = 0.1, columns: int = 2
) -> Figure:
    """Draw which values the best architectures took, after every generation; one panel a gene.

    A column is the best share of all trials up to there, their layers counted together. Where there
    are no generations, or many, a column ends after an equal part of the trials instead.

    Raises:
        InputError: the share is not above 0 and at most 1, or `columns` is below 1.
    """
    from plotly.graph_objects import Figure

    if columns < 1:
        raise InputError(f"can't draw genes in {columns} columns")
    trials = complete(records)
    found = {end: _shares(elites(trials[:end], share)) for end in _ends(trials)}
    values = _values(trials)
    if not values:
        return say_empty(Figure(layout=layout(200)), "no gene differs between completed trials yet")
    figure, cells = panels(list(values), columns)
    figure.update_layout(barmode="stack", bargap=0.12, uniformtext={"minsize": 9, "mode": "hide"})
    for (name, choices), (cell, bottom) in zip(values.items(), cells, strict=True):
        for trace in _bars(name, choices, found):
            figure.add_trace(trace, **cell)
        figure.update_xaxes(axis("trials so far" if bottom else "", type="category"), **cell)
        figure.update_yaxes(axis(tickformat=".0%", range=[0, 1]), **cell)
    return figure


def _ends(trials: Sequence[Record]) -> list[int]:
    """Return after how many trials the columns end."""
    last = {record.generation: place + 1 for place, record in enumerate(trials)}
    ends = sorted(set(last.values()))
    if 1 < len(ends) <= MOST:
        return ends
    return sorted({-(-len(trials) * part // MOST) for part in range(1, MOST + 1)} - {0})


def _shares(best: Sequence[Record]) -> Shares:
    """Return how often each gene has each value, in all layers."""
    found: dict[str, Counter[Scalar]] = {}
    for (name, _), counts in counted(record.arch for record in best).items():
        found.setdefault(name, Counter()).update(counts)
    return found


def _values(trials: Sequence[Record]) -> dict[str, list[Scalar]]:
    """Return the values of each gene that has several, in order."""
    return {name: ordered(counts) for name, counts in _shares(trials).items() if len(counts) > 1}


def _bars(
    name: str, choices: Sequence[Scalar], found: Mapping[int, Shares]
) -> Iterator[dict[str, Any]]:
    for rank, value in enumerate(choices):
        counts = [shares.get(name, Counter()) for shares in found.values()]
        parts = [count[value] / count.total() if count else 0.0 for count in counts]
        text = label(value, 12)
        yield {
            "type": "bar",
            "x": [f"{end:,}" for end in found],
            "y": parts,
            "text": [text if part > 0.08 else "" for part in parts],
            "textposition": "inside",
            "insidetextanchor": "middle",
            "textangle": 0,
            "marker": {"color": shade(rank, len(choices))},
            "hovertemplate": f"{label(name)} = {text}: %{{y:.0%}} of the best after %{{x}} trials"
            "<extra></extra>",
        }
