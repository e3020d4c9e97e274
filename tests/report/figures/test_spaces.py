from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

import vitnas
from vitnas.errors import InputError
from vitnas.report.figures import spaces_of_rounds
from vitnas.search.space_evolution_decision import decide
from vitnas.search.space_evolution_dimensions import Dimension, tied, with_values_of
from vitnas.search.space_evolution_round import Options, Round

START = with_values_of(vitnas.space("s3-digits"), {Dimension("window_size", 1): (4,)})


def evolved(count: int = 3) -> list[Round]:
    """Rounds in which depth grows."""
    rounds: list[Round] = []
    space = START
    for number in range(count):
        rng = random.Random(number)
        archs = [tied(space).sample(rng) for _ in range(80)]
        results = [(arch, 30 - 2.0 * arch.depth[1] + rng.random()) for arch in archs]
        rounds.append(decide(space, results, options=Options(), number=number))
        space = rounds[-1].next
    return rounds


def panels(figure: Any) -> dict[str, list[Any]]:
    """The traces of each panel: its line, its judged values, and the others if there are any."""
    found: dict[str, list[Any]] = {}
    titles = [note.text for note in figure.layout.annotations]
    axes = list(dict.fromkeys(trace.xaxis for trace in figure.data))
    for trace in figure.data:
        found.setdefault(titles[axes.index(trace.xaxis)], []).append(trace)
    return found


def test_each_dimension_with_a_choice_is_a_panel() -> None:
    rounds = evolved()
    shown = panels(spaces_of_rounds(rounds))
    free = [move.dimension.name for move in rounds[0].moves if len(move.old) > 1]
    assert list(shown) == free
    assert "window_size.2" not in shown
    assert "patch_size" not in shown


def test_values_are_coloured_by_their_errors() -> None:
    rounds = evolved()
    assert rounds[0].space != rounds[1].space != rounds[2].space
    figure = spaces_of_rounds(rounds)
    line, points = panels(figure)["depth.2"]
    moves = [next(m for m in r.moves if m.dimension.name == "depth.2") for r in rounds]
    drawn = list(zip(points.x, points.y, points.marker.color, strict=True))
    assert drawn == [
        (number, group.value, group.quality.error)
        for number, move in enumerate(moves)
        for group in move.groups
        if group.quality
    ]
    assert list(line.y) == [(min(m.old) + max(m.old)) / 2 for m in moves]  # type: ignore[operator]
    errors = [error for traces in panels(figure).values() for error in traces[1].marker.color]
    scale = figure.layout.coloraxis
    assert (scale.cmin, scale.cmax) == (min(errors), max(errors))
    assert points.customdata[0].startswith("round 0: depth.2 = 1<br>E-T error ")
    assert "error falls by" in points.customdata[0]


def test_values_that_too_few_subnets_take_are_rings() -> None:
    (found,) = evolved(1)
    first, *others = found.moves
    few = replace(first.groups[0], members=3, quality=None)
    unsure = replace(first, groups=(few, *first.groups[1:]))
    figure = spaces_of_rounds([replace(found, moves=(unsure, *others))])
    _, points, rings = panels(figure)[first.dimension.name]
    assert list(rings.y) == [few.value]
    assert few.value not in points.y
    assert rings.customdata[0].endswith("only 3 subnets take it")


@pytest.mark.parametrize("columns", [1, 3, 99])
def test_panels_stand_in_columns(columns: int) -> None:
    rounds = evolved(1)
    figure = spaces_of_rounds(rounds, columns=columns)
    count = len(panels(figure))
    rows = -(-count // min(columns, count))
    assert figure.layout.height == 190 * rows + 80


def test_nothing_to_draw_is_said_and_no_columns_are_refused() -> None:
    (note,) = spaces_of_rounds([]).layout.annotations
    assert note.text == "no dimension has more than one value"
    with pytest.raises(InputError, match="can't draw spaces in 0 columns"):
        spaces_of_rounds(evolved(1), columns=0)
