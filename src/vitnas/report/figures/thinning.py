"""Figures of very many trials that stay small: what matters is whole, of the rest every k-th."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


def dots(scores: Sequence[float], most: int | None, front: Iterable[int] = ()) -> list[int]:
    """Return which trials to draw, in their order: all, if they are `most` or fewer.

    Of more it is the best tenth, those of the front, and every k-th of the others, with the least k
    that leaves `most` trials together. But there is always room for half of `most` others.
    """
    if most is None or len(scores) <= most:
        return list(range(len(scores)))
    ranked = sorted(range(len(scores)), key=lambda place: -scores[place])
    kept = {*ranked[: math.ceil(len(ranked) / 10)], *front}
    others = [place for place in range(len(scores)) if place not in kept]
    room = max(most - len(kept), most // 2, 1)
    return sorted([*kept, *others[:: math.ceil(len(others) / room) or 1]])


def corners(values: Sequence[float], most: int | None) -> list[int]:
    """Return the places where a line of steps rises, and its ends; all, if they are few."""
    if most is None or len(values) <= most:
        return list(range(len(values)))
    ends = (0, len(values) - 1)
    return [i for i in range(len(values)) if i in ends or values[i] != values[i - 1]]


def say_thinned(figure: Figure, drawn: int, trials: int) -> None:
    """Write below a figure that not all trials have a dot."""
    if drawn < trials:
        told = f"dots of {drawn:,} of {trials:,} trials, of the best tenth and of the front all"
        figure.layout.xaxis.title.text += f"<br><sub>{told}</sub>"
