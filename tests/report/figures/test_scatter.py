from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from report import demo
from vitnas.errors import InputError
from vitnas.report.figures import pareto
from vitnas.search.limits import Limit


def _trace(figure: Any, name: str) -> Any:
    (found,) = [trace for trace in figure.data if trace.name == name]
    return found


def test_every_completed_trial_is_a_point() -> None:
    trials = demo.records(12)
    broken = replace(trials[3], state="failed", score=float("nan"))
    figure = pareto({"random": [*trials[:3], broken], "evolution": trials[4:]}, cost="macs")
    cloud = _trace(figure, "evolution")
    assert list(cloud.x) == [demo.COSTS["macs"](trial.arch) for trial in trials[4:]]
    assert list(cloud.y) == [trial.score for trial in trials[4:]]
    assert [row[0] for row in cloud.customdata] == [4, 5, 6, 7, 8, 9, 10, 11]
    assert len(_trace(figure, "random").x) == 3
    assert _trace(figure, "random").marker.symbol != cloud.marker.symbol
    assert figure.layout.xaxis.title.text == "MACs"


def test_the_front_is_that_of_all_studies_together() -> None:
    trials = demo.records(40)
    line = _trace(pareto({"a": trials[:20], "b": trials[20:]}), "Pareto front")
    points = [(trial.metrics["params"], trial.score) for trial in trials]
    better = {
        (x, y)
        for x, y in points
        if not any((u <= x and v >= y) and (u, v) != (x, y) for u, v in points)
    }
    assert set(zip(line.x, line.y, strict=True)) == better
    assert list(line.x) == sorted(line.x)


def test_the_window_is_shaded_to_the_edge_where_it_is_open() -> None:
    trials = demo.records(10)
    figure = pareto({"a": trials}, limit=Limit("params", maximum=60_000))
    (window,) = [shape for shape in figure.layout.shapes if shape.type == "rect"]
    assert (window.x0, window.x1) == (figure.layout.xaxis.range[0], 60_000)
    assert "limit 60k" in [note.text for note in figure.layout.annotations]
    figure = pareto({"a": trials}, limit=Limit("params", 20_000, 60_000))
    (window,) = [shape for shape in figure.layout.shapes if shape.type == "rect"]
    assert (window.x0, window.x1) == (20_000, 60_000)
    assert "limit 20k to 60k" in [note.text for note in figure.layout.annotations]


def test_marked_nets_are_named_and_inside_the_plot() -> None:
    marked = {"smallest": (10_000.0, 93.0), "largest": (100_000.0, 99.0)}
    figure = pareto({"a": demo.records(10)}, marked=marked)
    notes = {(note.x, note.y): note.text for note in figure.layout.annotations}
    assert notes == {(10_000, 93): "<b>smallest</b>", (100_000, 99): "<b>largest</b>"}
    assert [note.ay > 0 for note in figure.layout.annotations] == [
        True,
        False,
    ]  # away from the rest
    low, high = figure.layout.xaxis.range
    assert low < 10_000
    assert high > 100_000


def test_an_unknown_cost_is_refused() -> None:
    with pytest.raises(InputError, match=r"unknown cost 'param'; did you mean 'params'\?"):
        pareto({"a": demo.records(2)}, cost="param")


def test_a_study_without_results_says_so() -> None:
    figure = pareto({"a": []}, limit=Limit("params", maximum=60_000))
    texts = [note.text for note in figure.layout.annotations]
    assert "no completed trials yet" in texts
    assert figure.to_json()


def test_names_are_no_markup() -> None:
    evil = "<b>&amp;</b></script>"
    figure = pareto({evil: demo.records(2)}, marked={evil: (1e4, 95.0)}, score=evil)
    shown = [figure.data[0].name, figure.layout.annotations[0].text[3:-4]]
    shown += [figure.layout.yaxis.title.text]
    assert shown == ["&lt;b&gt;&amp;amp;&lt;/b&gt;&lt;/script&gt;"] * 3


def test_names_at_the_edges_stand_inside() -> None:
    marked = {"left": (1.0, 99.0), "right": (1e9, 1.0), "high": (5e8, 98.0), "low": (5e8, 2.0)}
    notes = {
        note.text: note.xanchor
        for note in pareto({"a": demo.records(20)}, cost="params", marked=marked).layout.annotations
    }
    assert notes == {
        "<b>left</b>": "left",
        "<b>right</b>": "right",
        "<b>high</b>": "right",
        "<b>low</b>": "left",
    }
