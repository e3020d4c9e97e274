from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from report import demo
from vitnas.report.figures import hypervolume_so_far
from vitnas.search.ledger import Record


def _record(number: int, score: float, macs: float, generation: int = 0) -> Record:
    costs = {"macs": macs, "params": macs}
    base = demo.records(1)[0]
    return replace(
        base, number=number, score=score, metrics=costs, generation=generation, state="complete"
    )


CORNERS = [_record(0, 90, 10), _record(1, 80, 5), _record(2, 85, 6, 1), _record(3, 70, 15, 1)]


def _named(figure: Any) -> dict[str, Any]:
    return {trace.name: trace for trace in figure.data if trace.name}


def test_it_is_the_share_of_the_box_from_the_worst_to_the_best() -> None:
    line = _named(hypervolume_so_far({"nsga2": CORNERS}))["nsga2"]
    # the box is 20 by 10, its corner at score 70 and 15 MACs
    assert list(line.x) == [1, 2, 3, 4]
    assert list(line.y) == pytest.approx([50, 75, 85, 85])


def test_markers_stand_at_the_ends_of_generations() -> None:
    _, markers = hypervolume_so_far({"nsga2": CORNERS}).data
    assert list(markers.x) == [2, 4]
    assert list(markers.y) == pytest.approx([75, 85])
    assert list(markers.customdata) == [0, 1]
    alone = [replace(record, generation=0) for record in CORNERS]
    assert list(hypervolume_so_far({"random": alone}).data[1].x) == []


def test_studies_share_a_box_and_differ_in_more_than_colour() -> None:
    figure = hypervolume_so_far({"a": CORNERS[:1], "b": CORNERS[1:]})
    lines = _named(figure)
    assert list(lines["a"].y) == pytest.approx([50])
    assert list(lines["b"].y) == pytest.approx([50, 72.5, 72.5])
    assert lines["a"].line.dash != lines["b"].line.dash


def test_stopped_trials_are_counted_and_add_nothing() -> None:
    stopped = replace(CORNERS[0], state="stopped", score=float("nan"), at_most=60.0)
    line = _named(hypervolume_so_far({"a": [CORNERS[0], stopped, *CORNERS[1:]]}))["a"]
    assert list(line.y) == pytest.approx([50, 50, 75, 85, 85])


def test_two_costs_are_a_volume() -> None:
    line = _named(hypervolume_so_far({"a": CORNERS}, costs=("macs", "params")))["a"]
    # three boxes of 20 × 5², 10 × 10² and 15 × 9² in one of 20 × 10², less what they share
    whole = [500, 500 + 1000 - 250, 500 + 1000 + 1215 - 250 - 375 - 810 + 250]
    assert list(line.y) == pytest.approx([volume / 20 for volume in (*whole, whole[-1])])


@pytest.mark.parametrize("records", [[], CORNERS[:1], [replace(CORNERS[0], metrics={})]])
def test_nothing_to_show_is_said(records: list[Record]) -> None:
    (note,) = hypervolume_so_far({"a": records}).layout.annotations
    assert note.text.startswith("no front yet")
