from __future__ import annotations

import json

import pytest
import torch

from vitnas.data import stages as module
from vitnas.data.stages import Stages, Work

CPU = torch.device("cpu")


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that stands still at the last of these times."""
    times = [0.0]
    monkeypatch.setattr(module, "clock", lambda: times[-1])
    return times


def test_a_wait_is_laid_to_what_was_done_in_its_course(now: list[float]) -> None:
    stages = Stages(workers=2)
    now.append(10.0)
    # The worker began 1 s after the loop asked, worked 6 s, and 3 s later the batch was here.
    stages.received(0.0, Work(1.0, 7.0, decode=4.0, augment=1.5, collate=0.5), images=8)
    assert stages.waited == {
        "start": 1.0,
        "decode": 4.0,
        "augment": 1.5,
        "collate": 0.5,
        "handover": 3.0,
    }
    stages.add("step", 10.0, 8)
    assert stages.waiting == 0.5
    assert stages.bottleneck == "decode"
    assert stages.text() == "0 images/s (waiting for data 50 %: decode)"
    assert stages.rate == pytest.approx(8 / 20)


def test_what_was_done_before_it_was_asked_for_costs_nothing(now: list[float]) -> None:
    stages = Stages(workers=2)
    now.append(100.0)
    stages.received(99.0, Work(50.0, 80.0, decode=20.0, augment=10.0, collate=0.0), images=8)
    assert sum(stages.waited.values()) == pytest.approx(1.0)
    assert stages.waited["handover"] == pytest.approx(1.0)
    stages.add("step", 40.0, 8)
    assert stages.bottleneck == "step"
    assert "bottleneck: step" in stages.text()
    # The rates tell all the same how fast decoding is: 8 images in 20 s on each of 2 workers.
    assert stages.rates()["decode"] == pytest.approx(0.8)
    assert stages.rates()["step"] == pytest.approx(0.2)


def test_a_wait_for_the_rest_of_the_work(now: list[float]) -> None:
    stages = Stages()
    now.append(12.0)
    stages.received(10.0, Work(2.0, 12.0, decode=1.0, augment=9.0, collate=0.0), images=4)
    assert stages.waited["augment"] == pytest.approx(1.8)
    assert stages.waited["decode"] == pytest.approx(0.2)
    assert stages.bottleneck == "augment"


def test_rates_are_those_of_all_processes() -> None:
    stages = Stages(workers=3, processes=4)
    stages.received(0.0, Work(0.0, 1.0, decode=1.0, augment=0.0, collate=0.0), images=10)
    stages.add("step", 2.0, 10)
    rates = stages.rates()
    assert rates["decode"] == pytest.approx(10 * 3 * 4)
    assert rates["step"] == pytest.approx(10 / 2 * 4)
    assert "augment" not in rates  # it took no time that could be measured


def test_timing_and_the_record(now: list[float]) -> None:
    stages = Stages()
    with stages.timed("mixup", 16, CPU):
        now.append(2.0)
    stages.received(2.0, Work(2.0, 2.0, 0.0, 0.0, 0.0), images=16)
    stages.add("step", 4.0, 16)
    record = json.loads(json.dumps(stages.record()))
    assert record == {
        "images_per_second": 4.0,
        "waiting": 0.0,
        "bottleneck": "step",
        "waited_seconds": {},
        "stages": {"mixup": 8.0, "step": 4.0},
    }
    stages.reset()
    assert stages.images == 0
    assert stages.record()["stages"] == {}


@pytest.mark.gpu
def test_a_gpu_is_timed_without_waiting_for_it() -> None:
    stages, device = Stages(), torch.device("cuda")
    a = torch.randn(4096, 4096, device=device)
    (a @ a).sum().item()
    began = module.clock()
    with stages.timed("device_augment", 1, device):
        for _ in range(50):
            a @ a
    host = module.clock() - began
    torch.cuda.synchronize()
    seconds = 1 / stages.rates()["device_augment"]
    assert seconds > 2 * host
    assert seconds <= module.clock() - began
