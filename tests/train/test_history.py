"""The losses that training had on architectures, against what a spy saw."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from train.runs import SPACE, STEPS, before, small_net, small_recipe, small_run
from vitnas.arch import Arch
from vitnas.errors import InputError
from vitnas.train.history import trained_losses
from vitnas.train.metrics import read_metrics

METRICS = "metrics.jsonl"


@pytest.fixture(scope="module")
def sandwich(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[tuple[Arch, ...]]]:
    """A run of the sandwich rule, and the architectures that its sampler gave out, in order."""
    folder = tmp_path_factory.mktemp("sandwich")
    drawn = before(-1, lambda: None)
    seen: list[tuple[Arch, ...]] = []

    def spy(step: int) -> tuple[Arch, ...]:
        seen.append(drawn(step))
        return seen[-1]

    small_run(folder, sampler=spy)
    return folder, seen


def _steps(folder: Path) -> list[dict[str, Any]]:
    return [line for line in read_metrics(folder / METRICS) if line["kind"] == "step"]


def test_each_architecture_of_a_step_has_its_loss(
    sandwich: tuple[Path, list[tuple[Arch, ...]]],
) -> None:
    folder, seen = sandwich
    steps = _steps(folder)
    for line in steps:
        assert len(line["losses"]) == 3
        assert line["loss"] == pytest.approx(sum(line["losses"]) / 3)
    found = trained_losses(folder / METRICS, small_recipe(), small_net(), 1000)
    expected = [(archs[2], line["losses"][2]) for archs, line in zip(seen, steps, strict=True)]
    assert sorted(found, key=lambda pair: pair[1]) == found
    assert {(arch, loss) for arch, loss in found} == set(expected)
    assert len(found) == STEPS
    assert trained_losses(folder / METRICS, small_recipe(), small_net(), 5) == found[:5]


def test_one_architecture_a_step_needs_no_losses_apart(tmp_path: Path) -> None:
    recipe = small_recipe(sampling={"name": "uniform"}, distillation={"inplace": False})
    small_run(tmp_path, recipe)
    steps = _steps(tmp_path)
    assert all("losses" not in line for line in steps)
    found = trained_losses(tmp_path / METRICS, recipe, small_net(), 1000)
    assert [loss for _, loss in found] == sorted(line["loss"] for line in steps)
    assert all(arch in SPACE for arch, _ in found)


def test_a_history_without_these_losses_is_refused(
    sandwich: tuple[Path, list[tuple[Arch, ...]]], tmp_path: Path
) -> None:
    old = tmp_path / METRICS
    lines = ({k: v for k, v in line.items() if k != "losses"} for line in _steps(sandwich[0]))
    old.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(InputError, match="has one loss for the 3 architectures of a step"):
        trained_losses(old, small_recipe(), small_net(), 10)
    with pytest.raises(InputError, match="has no losses of a training"):
        trained_losses(tmp_path / "nothing.jsonl", small_recipe(), small_net(), 10)
