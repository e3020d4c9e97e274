"""What runs in turn, in which order, and which seconds belong to what."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
import torch
from torch import Tensor

from vitnas.cost.spread import Spread
from vitnas.cost.stopwatch import Step, in_turn, threads

from .clocks import Clock


def step(clock: Clock, seen: list[str], name: str, *seconds: float) -> Step:
    """Return a step that takes these seconds, one after the other, and adds its name."""
    left = list(seconds)

    def run(x: Any) -> Any:
        clock.now += left.pop(0)
        seen.append(name)
        return x + 1 if isinstance(x, Tensor) else x

    return run


def test_programs_run_in_turn_and_every_step_has_its_seconds() -> None:
    clock, seen = Clock(), list[str]()
    first = [step(clock, seen, "a", 9, 1, 2, 3), step(clock, seen, "b", 9, 4, 5, 6)]
    second = [step(clock, seen, "c", 9, 7, 8, 9)]
    found = in_turn([first, second], torch.zeros(1), repeats=3, warmup=1, clock=clock)
    assert seen == ["a", "b", "c"] * 4
    assert found == [[[1, 4], [2, 5], [3, 6]], [[7], [8], [9]]]


def test_a_step_gets_what_the_one_before_returned_and_nothing_is_kept_for_a_backward() -> None:
    inputs: list[Tensor] = []

    def add(x: Tensor) -> Tensor:
        inputs.append(x)
        assert torch.is_inference_mode_enabled()
        return x + 1

    in_turn([[add, add]], torch.zeros(1), repeats=2, warmup=0, clock=Clock())
    assert [float(x) for x in inputs] == [0, 1, 0, 1]


def test_threads_for_a_while() -> None:
    before = torch.get_num_threads()
    with threads(None):
        assert torch.get_num_threads() == before
    with threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
    with contextlib.suppress(InterruptedError), threads(before + 1):
        raise InterruptedError
    assert torch.get_num_threads() == before


def test_the_spread_of_seconds() -> None:
    assert Spread.of([float(n) for n in range(21)]) == Spread(10.0, 1.0, 19.0, 21)
    assert Spread.of([3.0, 1.0]) == Spread(2.0, 1.1, 2.9, 2)


@pytest.mark.gpu
def test_a_gpu_is_timed_by_events() -> None:
    """A matrix product that takes milliseconds, and a clock that stands still."""
    x = torch.randn(4096, 4096, device="cuda")
    (found,) = in_turn([[lambda y: y @ y, lambda y: y]], x, repeats=3, warmup=2, clock=Clock())
    for product, nothing in found:
        assert product > 1e-4
        assert 0 <= nothing < product
