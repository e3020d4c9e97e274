from __future__ import annotations

from dataclasses import replace
from statistics import mean
from typing import Any

import pytest

from report import demo
from vitnas.report.figures import best_so_far, training_curves


def _named(figure: Any) -> dict[str, Any]:
    return {trace.name: trace for trace in figure.data if trace.name}


def test_best_so_far_never_falls_and_counts_completed_trials() -> None:
    trials = [replace(demo.records(1)[0], score=score) for score in (3, 1, 4, 2, 5)]
    trials.insert(2, replace(trials[0], state="running", score=float("nan")))
    line = _named(best_so_far({"random": trials}))["random"]
    assert list(line.x) == [1, 2, 3, 4, 5]
    assert list(line.y) == [3, 3, 4, 4, 5]


def test_stopped_trials_are_counted_but_have_no_dot() -> None:
    trials = [replace(demo.records(1)[0], score=score) for score in (3, 1, 4)]
    stopped = replace(trials[0], state="stopped", score=float("nan"), at_most=2.5)
    dots, line = best_so_far({"random": [trials[0], stopped, *trials[1:], stopped]}).data
    assert list(dots.x) == list(line.x) == [1, 3, 4]
    assert list(dots.y) == [3, 1, 4]
    assert list(line.y) == [3, 3, 4]
    (note,) = best_so_far({"random": [stopped]}).layout.annotations
    assert note.text == "no completed trials yet"


def test_studies_differ_in_more_than_colour() -> None:
    lines = _named(best_so_far({"a": demo.records(3), "b": demo.records(3)}))
    assert lines["a"].line.dash != lines["b"].line.dash


def test_losses_stand_at_their_epoch() -> None:
    lines = demo.training_lines(epochs=3, steps=4)
    figure = _named(training_curves(lines))
    losses = [line["loss"] for line in lines if line["kind"] == "step"]
    assert list(figure["loss of a step"].x) == [step / 4 for step in range(1, 13)]
    assert list(figure["loss of a step"].y) == losses
    means = figure["mean loss of an epoch"]
    assert list(means.x) == [1, 2, 3]
    assert list(means.y) == pytest.approx([mean(losses[i : i + 4]) for i in (0, 4, 8)])


def test_accuracies_stand_after_their_epoch() -> None:
    figure = _named(training_curves(demo.training_lines(epochs=3, steps=2)))
    assert set(figure) >= {"smallest", "largest", "random"}
    assert list(figure["largest"].x) == [1, 2, 3]
    assert list(figure["largest"].y) == sorted(figure["largest"].y)


def test_other_metrics_are_drawn_where_there_is_no_accuracy() -> None:
    lines = [{"kind": "evaluation", "step": 2, "epoch": 0, "map": 0.4, "note": "text"}]
    assert set(_named(training_curves(lines))) == {"map"}


def test_long_histories_are_thinned() -> None:
    figure = _named(training_curves(demo.training_lines(epochs=3, steps=3000)))
    assert 1000 < len(figure["loss of a step"].x) <= 2000
    assert len(figure["mean loss of an epoch"].x) == 3


def test_lines_that_lack_something_are_passed_over() -> None:
    lines: list[dict[str, Any]] = [
        {"kind": "step", "loss": 1.0},
        {"kind": "step", "step": 1, "epoch": 0, "loss": float("nan")},
        {"kind": "step", "step": 1, "epoch": "x", "loss": 1.0},
        {"kind": "evaluation", "top1": 50.0},
        {},
    ]
    figure = training_curves(lines)
    assert [note.text for note in figure.layout.annotations] == ["no training steps yet"]
