from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from report import demo
from vitnas.report.figures import best_so_far, elites, hypervolume_so_far, pareto
from vitnas.report.figures.thinning import corners, dots
from vitnas.search.pareto import front

TRIALS = demo.records(400)
POINTS = [(r.metrics["params"], r.score) for r in TRIALS]
FRONT = {POINTS[i] for i in front(POINTS, (False, True))}


@given(st.lists(st.integers(0, 50), max_size=300), st.integers(1, 60))
def test_the_best_tenth_and_the_front_are_whole(scores: list[int], most: int) -> None:
    first = range(min(len(scores), 3))
    shown = dots(scores, most, first)
    assert shown == sorted(set(shown))
    if len(scores) <= most:
        assert shown == list(range(len(scores)))
        return
    tenth = sorted(scores)[-max(len(scores) // 10, 1) :]
    assert sorted(scores[place] for place in shown)[-len(tenth) :] == tenth
    assert set(first) <= set(shown)
    assert len(shown) <= max(most, len(scores) // 10 + 4 + max(most // 2, 1))


@given(st.lists(st.integers(0, 9), min_size=1, max_size=60).map(sorted))
def test_a_line_of_steps_is_the_same(values: list[int]) -> None:
    shown = corners(values, 5)
    again = [values[max(place for place in shown if place <= i)] for i in range(len(values))]
    assert again == values
    assert {0, len(values) - 1} <= set(shown)


def test_few_trials_are_all_drawn_and_nothing_is_said() -> None:
    figure = pareto({"a": TRIALS}, most=400)
    assert len(figure.data[0].x) == 400
    assert figure.layout.xaxis.title.text == "parameters"


def test_of_many_trials_what_matters_is_drawn_and_the_rest_is_said_to_be_thinned() -> None:
    figure = pareto({"a": TRIALS}, limit=demo.LIMIT, most=100)
    cloud, line = figure.data[:2]
    assert len(cloud.x) <= 150  # half of 100 others, and what is kept
    assert set(zip(cloud.x, cloud.y, strict=True)) >= FRONT
    best = {(r.metrics["params"], r.score) for r in elites(TRIALS)}
    assert set(zip(cloud.x, cloud.y, strict=True)) >= best
    whole = pareto({"a": TRIALS}, limit=demo.LIMIT)
    assert (line.x, line.y) == (whole.data[1].x, whole.data[1].y)
    assert figure.layout.shapes == whole.layout.shapes  # the window of the limit
    assert figure.layout.xaxis.range == whole.layout.xaxis.range
    told = f"dots of {len(cloud.x)} of 400 trials, of the best tenth and of the front all"
    assert told in figure.layout.xaxis.title.text


def test_lines_over_many_trials_keep_their_way() -> None:
    trials = [replace(record, generation=record.number // 40) for record in TRIALS]
    dotted, line = best_so_far({"a": trials}, most=100).data
    whole = best_so_far({"a": trials}).data[1]
    assert len(dotted.x) <= 100
    assert set(zip(line.x, line.y, strict=True)) <= set(zip(whole.x, whole.y, strict=True))
    assert (line.x[-1], line.y[-1]) == (400, max(record.score for record in trials))
    rising, ends = hypervolume_so_far({"a": trials}, most=5).data
    assert len(rising.x) < 400
    assert rising.y[-1] == hypervolume_so_far({"a": trials}).data[0].y[-1]
    assert list(ends.customdata) == [0, 2, 4, 6, 8]
