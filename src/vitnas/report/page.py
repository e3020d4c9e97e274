"""One HTML file that opens without a network and follows the reader's light or dark theme.

A page is a sequence of sections. Whatever they contain is text: nothing is read as HTML.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from vitnas import files

if TYPE_CHECKING:
    from plotly import graph_objects

REPORT = "report.html"

# even if something slipped through the escaping, the page can't load or send anything
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
)


@dataclass(frozen=True)
class Heading:
    """A title inside the page."""

    text: str


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Facts:
    """Pairs of a name and what there is to say about it."""

    items: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Table:
    """A table; the first column is left-aligned, the others, of figures, right-aligned."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""


@dataclass(frozen=True)
class Figure:
    """A plotly figure, and optionally another one in its place on pages below 700 px."""

    figure: graph_objects.Figure
    caption: str = ""
    narrow: graph_objects.Figure | None = None


@dataclass(frozen=True)
class Details:
    """A text as it is, such as a file, that the reader can unfold."""

    summary: str
    text: str


@dataclass(frozen=True)
class Explorer:
    """Filters that hold for all figures of trials on the page, and what a click on one tells.

    `trials` is what `vitnas.report.explore.explored` returns.
    """

    trials: Mapping[str, Any]


Section: TypeAlias = Heading | Text | Facts | Table | Figure | Details | Explorer


def write_report(
    folder: str | Path, sections: Iterable[Section], *, title: str = "vitnas report"
) -> Path:
    """Write `report.html` into a folder and return its path.

    Raises:
        InputError: the file can't be written; an earlier report is left as it was.
    """
    text = render(sections, title=title)
    # names of files may hold bytes that are no text
    return files.write(Path(folder) / REPORT, text.encode(errors="replace"))


def render(sections: Iterable[Section], *, title: str = "vitnas report") -> str:
    """Return the page, with the plotting library inside if there is a figure."""
    listed = list(sections)
    body = "\n".join(_section(index, section) for index, section in enumerate(listed))
    drawn = any(isinstance(section, Figure | Explorer) for section in listed)
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{html.escape(title)}</title><style>{_resource('page.css')}</style></head>",
            f"<body><main><h1>{html.escape(title)}</h1>",
            body,
            "</main>",
            *(_scripts() if drawn else ()),
            "</body></html>",
            "",
        ]
    )


def _section(index: int, section: Section) -> str:
    match section:
        case Heading(text):
            return f"<h2>{html.escape(text)}</h2>"
        case Text(text):
            return f"<p>{html.escape(text)}</p>"
        case Facts(items):
            return f"<dl>{''.join(_fact(name, value) for name, value in items)}</dl>"
        case Table(columns, rows, caption):
            return _table(columns, rows, caption)
        case Details(summary, text):
            content = f"<summary>{html.escape(summary)}</summary><pre>{html.escape(text)}</pre>"
            return f"<details>{content}</details>"
        case Figure():
            return _figure(index, section)
        case Explorer(trials):
            data = _inert(json.dumps(trials, separators=(",", ":"), allow_nan=False))
            shown = f'<script type="application/json" id="trials">{data}</script>'
            return f'<section id="explorer"></section>{shown}'


def _fact(name: str, value: str) -> str:
    return f"<dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd>"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]], caption: str) -> str:
    head = "".join(f"<th>{html.escape(column)}</th>" for column in columns)
    lines = (f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
    below = f'<p class="caption">{html.escape(caption)}</p>' if caption else ""
    return f'<div class="scroll">{table}</div>{below}'


def _figure(index: int, section: Figure) -> str:
    shown = [("", section.figure)]
    if section.narrow is not None:
        shown = [(" wide", section.figure), (" small", section.narrow)]
    parts = []
    for kind, figure in shown:
        name = f"figure-{index}{kind.replace(' ', '-')}"
        data = _inert(figure.to_json(engine="json"))
        parts.append(
            f'<div class="plot{kind}" data-figure="{name}" '
            f'style="min-height:{int(figure.layout.height or 450)}px"></div>'
            f'<script type="application/json" id="{name}">{data}</script>'
        )
    if section.caption:
        parts.append(f"<figcaption>{html.escape(section.caption)}</figcaption>")
    return f"<figure>{''.join(parts)}</figure>"


def _inert(text: str) -> str:
    """Return the same JSON without a character that could end its script element."""
    return text.replace("<", "\\u003c").replace(">", "\\u003e")


def _scripts() -> Iterator[str]:
    from plotly.offline import get_plotlyjs

    yield f"<script>{get_plotlyjs()}</script>"
    own = ("page.js", "trials.js", "figures.js", "explore.js")
    yield f"<script>{''.join(map(_resource, own))}</script>"


def _resource(name: str) -> str:
    return (resources.files("vitnas.report") / name).read_text("utf-8")
