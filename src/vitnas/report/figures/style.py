"""How figures look: colours that colour-blind readers tell apart, and one layout for all.

Figures have no background of their own and grey text, so that they can be read on a light and on a
dark page alike.
"""

from __future__ import annotations

import html
import math
import unicodedata
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from vitnas.search.ledger import Record

# Paul Tol's "bright" scheme, without the hues that are too pale on white
COLORS = ("#4477aa", "#ee6677", "#228833", "#aa3377", "#a08a1f", "#3aa0c4")
SYMBOLS = ("circle", "diamond", "square", "triangle-up", "cross", "x")
DASHES = ("solid", "dash", "dot", "dashdot")
TEXT = "#80858f"
GRID = "rgba(128, 128, 128, 0.25)"
SHADE = "rgba(128, 128, 128, 0.14)"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"


def plain(text: object, longest: int = 80) -> str:
    """Return a text as one printable line; other characters are replaced by a question mark."""
    line = " ".join(str(text)[: 20 * longest].split())
    line = "".join("?" if unicodedata.category(c).startswith("C") else c for c in line)
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def label(text: object, longest: int = 80) -> str:
    """Return a text as a plotly label, in which it stands for itself and not for markup."""
    return html.escape(plain(text, longest), quote=False)


def quantity(value: float) -> str:
    """Return a count with three significant digits: 5.87M, 54.3k, 912."""
    for unit, scale in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= 0.9995 * scale:
            number = f"{value / scale:.3g}"
            return f"{value / scale:.0f}{unit}" if "e" in number else f"{number}{unit}"
    return f"{value:.3g}"


def axis(title: str = "", **options: Any) -> dict[str, Any]:
    """Return the settings of an axis."""
    common = {"gridcolor": GRID, "linecolor": GRID, "zeroline": False, "automargin": True}
    return {**common, "title": {"text": title, "standoff": 8}, **options}


def layout(height: int, **options: Any) -> dict[str, Any]:
    """Return the layout that all figures share. The width is that of the page."""
    return {
        "template": "none",
        "height": height,
        "autosize": True,
        "paper_bgcolor": "rgba(0, 0, 0, 0)",
        "plot_bgcolor": "rgba(0, 0, 0, 0)",
        "font": {"family": FONT, "size": 13, "color": TEXT},
        "margin": {"l": 50, "r": 15, "t": 45, "b": 45},
        "legend": {
            "orientation": "h",
            "x": 0,
            "xanchor": "left",
            "y": 1.02,
            "yanchor": "bottom",
            "bgcolor": "rgba(0, 0, 0, 0)",
        },
        "modebar": {"bgcolor": "rgba(0, 0, 0, 0)", "color": GRID, "activecolor": TEXT},
        "hoverlabel": {"align": "left", "font": {"family": FONT}},
        **options,
    }


def say_empty(figure: Figure, text: str) -> Figure:
    """Write into the middle of a figure why it shows nothing."""
    place = {"xref": "paper", "yref": "paper", "x": 0.5, "y": 0.5, "showarrow": False}
    figure.add_annotation(text=label(text), **place)
    return figure


def complete(records: Iterable[Record]) -> list[Record]:
    """Return the trials that have a score."""
    return [record for record in records if record.state == "complete" and finite(record.score)]


def evaluated(records: Iterable[Record]) -> list[Record]:
    """Return the trials that have a score, and those whose evaluation was stopped early."""
    return [record for record in records if record.state == "stopped" or complete([record])]


def finite(value: object) -> bool:
    """Return whether a value is a number that can be drawn."""
    try:
        return isinstance(value, int | float) and math.isfinite(value)
    except OverflowError:  # an integer beyond the largest float
        return False
