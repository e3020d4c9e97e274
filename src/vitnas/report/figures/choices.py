"""Which choices the best architectures of a search have in common."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, TypeAlias

from vitnas.arch import Arch, Scalar, Value
from vitnas.errors import InputError
from vitnas.report.figures.style import axis, complete, label, layout, say_empty

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from vitnas.search.ledger import Record

_ABSENT = object()

Place: TypeAlias = tuple[str, tuple[int, ...]]  # a gene, and (), (layer,) or (stage, layer)


def elites(records: Sequence[Record], share: float = 0.1) -> list[Record]:
    """Return the best share of the completed trials, at least one if there is any; best first.

    Trials that were stopped early have no score and don't count.

    Raises:
        InputError: the share is not above 0 and at most 1.
    """
    if not 0 < share <= 1:
        raise InputError(f"the share of elites is {share}; it must be above 0 and at most 1")
    ranked = sorted(complete(records), key=lambda record: -record.score)
    return ranked[: math.ceil(share * len(ranked))]


def choices_of_elites(records: Sequence[Record], share: float = 0.1) -> Figure:
    """Draw how often the best architectures took each value of every gene, layer by layer.

    Genes that are the same in all trials, and layers that none of the best has, are left out.
    Hovering compares with all trials.

    Raises:
        InputError: the share is not above 0 and at most 1.
    """
    from plotly.graph_objects import Figure

    trials, elite = complete(records), elites(records, share)
    best = counted(record.arch for record in elite)
    every = counted(record.arch for record in trials)
    # genes of the net first, then gene by gene the layers in order
    order = {name: i for i, name in enumerate(dict.fromkeys(name for name, _ in every))}
    names = [place for place, counts in every.items() if len(counts) > 1 and place in best]
    names.sort(key=lambda place: (len(place[1]) > 0, order[place[0]], place[1]))
    figure = Figure(layout=layout(90 + 24 * max(len(names), 6), barmode="stack", bargap=0.15))
    figure.update_layout(showlegend=False, uniformtext={"minsize": 9, "mode": "hide"})
    figure.update_layout(meta={"share": share})
    for rank in range(max((len(every[name]) for name in names), default=0)):
        figure.add_bar(**_segments(rank, names, best, every))
    figure.update_xaxes(axis(f"share of the best {len(elite)} of {len(trials)}", tickformat=".0%"))
    rows = list(range(len(names)))
    texts = [label(_name(place), 40) for place in names]
    span = [len(names) - 0.5, -0.5]
    figure.update_yaxes(axis(range=span, tickvals=rows, ticktext=texts))
    return figure if names else say_empty(figure, "no gene differs between the completed trials")


def counted(archs: Iterable[Arch]) -> dict[Place, Counter[Scalar]]:
    """Return how many architectures have each value, for every place of every gene."""
    genes: dict[str, list[Value]] = {}
    for arch in archs:
        for name, gene in arch.items():
            genes.setdefault(name, []).append(gene)
    return {
        (name, place): Counter(values)
        for name, found in genes.items()
        for place, values in _columns(found)
    }


def ordered(values: Iterable[Scalar]) -> list[Scalar]:
    """Return the values of a gene in order, numbers before texts."""
    return sorted(values, key=lambda value: (isinstance(value, str), value))


def shade(rank: int, count: int) -> str:
    """Return the colour of the value with this rank among the two or more values of a gene."""
    from plotly.colors import sample_colorscale

    (color,) = sample_colorscale("cividis", [0.12 + 0.8 * rank / (count - 1)])
    return str(color)


def _columns(
    genes: Iterable[Value], place: tuple[int, ...] = ()
) -> Iterator[tuple[tuple[int, ...], list[Scalar]]]:
    """Yield each place of a gene with the values that the architectures have there."""
    single: list[Scalar] = []
    layered: list[tuple[Any, ...]] = []
    for gene in genes:
        if isinstance(gene, tuple):
            layered.append(gene)
        else:
            single.append(gene)
    if single:
        yield place, single
    for i, column in enumerate(zip_longest(*layered, fillvalue=_ABSENT), 1):
        yield from _columns((part for part in column if part is not _ABSENT), (*place, i))


def _name(place: Place) -> str:
    return f"{place[0]} {'.'.join(map(str, place[1]))}".strip()


def _segments(
    rank: int,
    names: Sequence[Place],
    best: Mapping[Place, Counter[Scalar]],
    every: Mapping[Place, Counter[Scalar]],
) -> dict[str, Any]:
    """Return the bars of the values with this rank among the values of each gene."""
    rows, shares, texts, hovers, colors = [], [], [], [], []
    told: list[list[Any]] = []
    for row, place in enumerate(names):
        values = ordered(every[place])
        if rank >= len(values):
            continue
        value = values[rank]
        share, overall = (counts[place][value] / counts[place].total() for counts in (best, every))
        rows.append(row)
        told.append([place[0], list(place[1]), value])
        shares.append(share)
        texts.append(f"{label(value, 20)} · {share:.0%}")
        hovers.append(
            f"{label(_name(place))} = {label(value)}: {share:.0%}, {overall:.0%} of all trials"
        )
        colors.append(shade(rank, len(values)))
    return {
        "y": rows,
        "x": shares,
        "orientation": "h",
        "text": texts,
        "textposition": "inside",
        "insidetextanchor": "middle",
        "textangle": 0,
        "marker": {"color": colors},
        "customdata": hovers,
        "hovertemplate": "%{customdata}<extra></extra>",
        "meta": {"role": "share", "counted": told},
    }
