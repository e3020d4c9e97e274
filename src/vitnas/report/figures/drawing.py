"""Architectures drawn layer by layer, several of them on one scale.

Every layer is a row, every gene that differs from layer to layer a lane of bars: heads as cells,
MLP width as a bar beside a dotted line at embed_dim, any other gene as a bar or, if it is no
number, as text. Genes of the whole net stand in the title.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vitnas.arch import Arch, Scalar, Value
from vitnas.errors import InputError
from vitnas.models.vit import hidden_dim
from vitnas.report.figures.style import COLORS, TEXT, axis, finite, label, layout, plain

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

HEADS, HIDDEN, EMBED = "num_heads", "hidden_dim", "embed_dim"
TITLES = {HEADS: "heads", HIDDEN: "MLP width"}
MOST_CELLS = 24
MOST_LAYERS = 999


@dataclass(frozen=True)
class Layer:
    """The genes of one layer, those of its stage among them, and its name such as 3 or 2.1."""

    name: str
    genes: dict[str, Scalar]


def architecture(arch: Arch, title: str = "") -> Figure:
    """Draw one architecture."""
    return compare_architectures({title: arch})


def compare_architectures(archs: Mapping[str, Arch], columns: int | None = None) -> Figure:
    """Draw architectures on one scale, side by side or, on narrow pages, in `columns` columns.

    Raises:
        InputError: there is nothing to draw, or `columns` is below 1.
    """
    from plotly.subplots import make_subplots

    columns = len(archs) if columns is None else columns
    if not archs or columns < 1:
        raise InputError(f"can't draw {len(archs)} architectures in {columns} columns")
    layers = {name: layers_of(arch) for name, arch in archs.items()}
    rows = -(-len(archs) // columns)
    tallest = [
        max(len(found) for found in list(layers.values())[row * columns : (row + 1) * columns])
        for row in range(rows)
    ]
    inner = [max(24 * (count + 1), 60) for count in tallest]
    drawn = sum(inner) + 100 * (rows - 1)  # pixels between the margins, which are 100 too
    figure = make_subplots(
        rows=rows,
        cols=columns,
        row_heights=inner,
        vertical_spacing=100 / drawn if rows > 1 else None,
        horizontal_spacing=0.12 / columns,
        subplot_titles=[_title(name, arch) for name, arch in archs.items()],
    )
    figure.update_layout(layout(drawn + 100, barmode="overlay", bargap=0.22, showlegend=False))
    figure.update_layout(margin={"l": 30, "r": 10, "t": 62, "b": 38})
    figure.update_annotations(font={"size": 12}, yshift=4)
    scales = _scales(list(layers.values()))
    for index, found in enumerate(layers.values()):
        row, column = index // columns + 1, index % columns + 1
        for trace in _traces(found, scales):
            figure.add_trace(trace, row=row, col=column)
        figure.update_xaxes(**_lane_axis(scales), row=row, col=column)
        figure.update_yaxes(**_layer_axis(found, tallest[row - 1]), row=row, col=column)
    return figure


def layers_of(arch: Arch) -> list[Layer]:
    """Return the layers of an architecture with their genes.

    Genes of a stage count for all of its layers. Tuples that fit neither layers nor stages are
    read as one value a layer, as far as they go.
    """
    depth = arch.get("depth")
    depths = depth if isinstance(depth, tuple) else (depth,)
    counts = [d for d in depths if isinstance(d, int) and 0 <= d <= MOST_LAYERS]
    places: list[tuple[int, ...]]
    if isinstance(depth, tuple) and len(counts) == len(depths):
        places = [(stage, layer) for stage, count in enumerate(counts) for layer in range(count)]
    else:
        lengths = [len(gene) for gene in arch.values() if isinstance(gene, tuple)]
        places = [(layer,) for layer in range(max([*lengths, *counts], default=0))]
    return [Layer(".".join(str(i + 1) for i in place), _genes_at(arch, place)) for place in places]


def _genes_at(arch: Arch, place: tuple[int, ...]) -> dict[str, Scalar]:
    genes: dict[str, Scalar] = {}
    for name, gene in arch.items():
        value: Value = gene
        for index in place:
            if isinstance(value, tuple):
                value = value[index] if index < len(value) else ()
        if isinstance(gene, tuple) and name != "depth" and not isinstance(value, tuple):
            genes[name] = value
    embed, ratio = genes.get(EMBED, arch.get(EMBED)), genes.get("mlp_ratio")
    if isinstance(embed, int) and isinstance(ratio, int | float) and _moderate(embed, ratio):
        genes[HIDDEN] = hidden_dim(embed, ratio)
    if isinstance(embed, int) and HIDDEN in genes:
        genes[EMBED] = embed
    return genes


def _moderate(*values: float) -> bool:
    return all(abs(value) < 1e9 for value in values)


def _scales(nets: Sequence[Sequence[Layer]]) -> dict[str, float]:
    """Return the lanes in order, each with the value that fills it (0 for a lane of texts)."""
    found: dict[str, list[Scalar]] = {}
    for layer in (layer for net in nets for layer in net):
        for gene, value in layer.genes.items():
            found.setdefault(gene, []).append(value)
    if HIDDEN in found:
        found[HIDDEN] += found.pop(EMBED, [])  # drawn on this lane, as a line
        found.pop("mlp_ratio", None)
    first = [gene for gene in (HEADS, HIDDEN) if gene in found]
    lanes = [*first, *(gene for gene in found if gene not in first)]
    return {gene: max(map(_size, found[gene])) for gene in lanes}


def _size(value: Scalar) -> float:
    """Return how large a value is drawn; texts and the like have no size."""
    return max(value, 0) if isinstance(value, int | float) and finite(value) else 0


def _starts(scales: Mapping[str, float]) -> list[float]:
    """Return where the lanes begin: each is 1 wide, and the numbers need room behind it."""
    return [lane * (1 + 0.16 * max(len(scales), 2)) for lane in range(len(scales) + 1)]


def _traces(layers: Sequence[Layer], scales: Mapping[str, float]) -> Iterator[dict[str, Any]]:
    starts = _starts(scales)
    for lane, (gene, scale) in enumerate(scales.items()):
        color = COLORS[lane % len(COLORS)]
        yield {**_bars(starts[lane], gene, scale, layers), "marker": {"color": color}}
        yield _numbers(starts[lane], gene, scale, layers)
        if gene == HIDDEN:
            yield _embed_line(starts[lane], scale, layers)


def _bars(start: float, gene: str, scale: float, layers: Sequence[Layer]) -> dict[str, Any]:
    ys, bases, widths, hovers = [], [], [], []
    for y, layer in enumerate(layers, 1):
        value = layer.genes.get(gene, 0)
        size = _size(value)
        cells = gene == HEADS and isinstance(value, int) and scale <= MOST_CELLS
        count = int(size) if cells else int(size > 0)
        width = size / scale / count if count else 0
        ys += [y] * count
        bases += [start + cell * width for cell in range(count)]
        widths += [width * (0.88 if cells else 1)] * count
        hovers += [f"layer {layer.name}: {label(gene)} {label(value)}"] * count
    return {
        "type": "bar",
        "orientation": "h",
        "y": ys,
        "base": bases,
        "x": widths,
        "customdata": hovers,
        "hovertemplate": "%{customdata}<extra></extra>",
    }


def _numbers(start: float, gene: str, scale: float, layers: Sequence[Layer]) -> dict[str, Any]:
    """Return the values as texts behind their bars."""
    rows = [(y, layer.genes[gene]) for y, layer in enumerate(layers, 1) if gene in layer.genes]
    return {
        "type": "scatter",
        "x": [start + _size(value) / (scale or 1) for _, value in rows],
        "y": [y for y, _ in rows],
        "text": [f" {label(value, 12)}" for _, value in rows],
        "mode": "text",
        "textposition": "middle right",
        "textfont": {"size": 11, "color": TEXT},
        "hoverinfo": "skip",
    }


def _embed_line(start: float, scale: float, layers: Sequence[Layer]) -> dict[str, Any]:
    xs: list[float | None] = []
    ys: list[float | None] = []
    for y, layer in enumerate(layers, 1):
        if EMBED in layer.genes and scale:
            xs += [start + _size(layer.genes[EMBED]) / scale] * 2 + [None]
            ys += [y - 0.5, y + 0.5, None]
    return {
        "type": "scatter",
        "x": xs,
        "y": ys,
        "mode": "lines",
        "line": {"color": TEXT, "width": 2, "dash": "dot"},
        "hoverinfo": "skip",
    }


def _lane_axis(scales: Mapping[str, float]) -> dict[str, Any]:
    names = [label(TITLES.get(gene, gene), 14) for gene in scales]
    *starts, end = _starts(scales)
    return axis(
        range=[-0.03, end or 1],
        tickvals=[start + 0.5 for start in starts],
        ticktext=names,
        showgrid=False,
        fixedrange=True,
        tickangle=0,
    )


def _layer_axis(layers: Sequence[Layer], most: int) -> dict[str, Any]:
    return axis(
        range=[max(most, 1) + 0.5, 0.5],
        tickvals=list(range(1, len(layers) + 1)),
        ticktext=[layer.name for layer in layers],
        showgrid=False,
        fixedrange=True,
    )


def _title(name: str, arch: Arch) -> str:
    genes = [
        f"{plain(gene, 24)} {plain(value, 24)}"
        for gene, value in arch.items()
        if not isinstance(value, tuple)
    ]
    lines: list[str] = []
    for gene in genes[:8]:
        if lines and len(lines[-1]) + len(gene) < 32:
            lines[-1] += f" · {gene}"
        else:
            lines.append(gene)
    return "<br>".join([f"<b>{label(name, 32)}</b>", *map(label, lines)])
