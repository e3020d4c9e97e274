"""Latency of an architecture, by a clock that the test turns."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from vitnas import cost
from vitnas.errors import InputError

from .clocks import OPTIONS, SPACE, Clock


def test_the_seconds_are_those_of_the_whole_net() -> None:
    """Runs take 1, 2, 3, ... seconds, of which the first five don't count."""
    clock, arch, runs = Clock(), SPACE.largest, list[int]()

    def block(*sizes: int) -> float:
        runs.append(1)
        return (len(runs) - 1) // arch.depth + 1 if len(runs) % arch.depth == 0 else 0.0

    with clock.turned_by(block, net=lambda depth: 0.5):
        found = cost.latency(arch, **OPTIONS, device="cpu", repeats=21, warmup=5, clock=clock)
    assert len(runs) == 26 * arch.depth
    assert (found.median, found.p5, found.p95, found.repeats) == (16.5, 7.5, 25.5, 21)
    assert found.device == "cpu"
    assert found.settings == cost.settings("cpu")
    assert found.to_dict()["settings"]["batch_size"] == 1


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_real_clock_and_settings(dtype: str) -> None:
    torch.manual_seed(0)
    wanted, threads = torch.rand(1), torch.get_num_threads()
    torch.manual_seed(0)
    how: dict[str, Any] = {"threads": 1, "dtype": dtype, "batch_size": 2, "device": "cpu"}
    found = cost.latency(SPACE.largest, **OPTIONS, **how, repeats=3)
    assert 0 < found.p5 <= found.median <= found.p95 < 10
    assert found.settings == cost.settings(**how)
    assert torch.get_num_threads() == threads
    assert torch.rand(1) == wanted  # what others draw does not depend on it


def test_wrong_input() -> None:
    for given, message in (
        ({"repeats": 1}, "repeats is 1; it must be at least 2"),
        ({"warmup": -1}, "warmup is -1; it must be 0 or more"),
        ({"backend": "egaer"}, "unknown backend 'egaer'; did you mean 'eager'"),
        ({"poool": "avg"}, "unknown vit option 'poool'; did you mean 'pool'"),
    ):
        with pytest.raises(InputError, match=message):
            cost.latency(SPACE.largest, **{**OPTIONS, **given})


@pytest.mark.gpu
def test_on_a_gpu() -> None:
    found = cost.latency(SPACE.largest, **OPTIONS, device="cuda", clock=Clock())
    assert 0 < found.p5 <= found.median <= found.p95 < 10
    assert found.device == "cuda:0"
    assert found.settings.hardware == torch.cuda.get_device_name()
