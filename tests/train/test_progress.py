from __future__ import annotations

import logging

import pytest

from vitnas.data.stages import Stages, Work
from vitnas.train.progress import TrainProgress


def _progress(stages: Stages, *, done: int = 0, shown: bool = True) -> TrainProgress:
    return TrainProgress(epochs=3, steps_per_epoch=2, done=done, stages=stages, shown=shown)


def _stages(waited: float, step: float) -> Stages:
    stages = Stages()
    stages.received(0.0, Work(0.0, 0.0, 0.0, 0.0, 0.0), images=100)
    stages.waited.clear()
    stages.waited["decode"] = waited
    stages.add("step", step, 100)
    return stages


def test_the_line_of_an_epoch_names_the_bottleneck(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), _progress(_stages(4.0, 6.0)) as progress:
        progress.advance(2.0, 1e-3)
        progress.advance(1.0, 1e-3)
        progress.end_epoch({"top1": 12.5})
    (line,) = caplog.messages
    assert line.startswith(
        "epoch 1/3, loss 1.5000, lr 1.00e-03, 10 images/s (waiting for data 40 %: decode), "
        "top1 12.50, "
    )
    assert line.endswith(" left")


def test_a_loader_that_keeps_up_is_not_blamed(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), _progress(_stages(0.4, 9.6)) as progress:
        progress.advance(2.0, 1e-3)
        progress.advance(1.0, 1e-3)
        progress.end_epoch({})
    assert "10 images/s (bottleneck: step)" in caplog.messages[0]


def test_an_epoch_that_was_done_before_has_no_speed(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), _progress(Stages(), done=2) as progress:
        progress.end_epoch({"top1": 50.0})
    assert caplog.messages == ["epoch 1/3, top1 50.00"]


def test_other_processes_are_silent(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), _progress(_stages(1.0, 1.0), shown=False) as progress:
        progress.advance(2.0, 1e-3)
        progress.end_epoch({})
    assert not caplog.messages
