"""A supernet of two sides through the command line: trained, searched, either side taken out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

import vitnas
from vitnas.arch import Arch
from vitnas.folder import read_config
from vitnas.supernet import Supernet

from .calling import call, refusal
from .conftest import Command

BCNET = ("--set", "model.sharing=bilateral", "--set", "sampling.name=bcnet")


@pytest.fixture(scope="module")
def bilateral(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained and searched run; only for reading."""
    run = tmp_path_factory.mktemp("bilateral") / "run"
    words = ("--set", "epochs=1", "--set", "optim.warmup_epochs=0")
    assert call("train", recipe, run, *BCNET, *words, "--device", "cpu") == 0
    assert call("search", run, "--strategy", "random", "--trials", "4") == 0
    return run


def test_either_side_is_extracted(bilateral: Path, tmp_path: Path, command: Command) -> None:
    run = Path(shutil.copytree(bilateral, tmp_path / "run"))
    net = vitnas.load(run / "supernet")
    assert isinstance(net, Supernet)
    arch = None
    for words, side, name in (
        ((), "left", "random"),
        (("--side", "left"), "left", "random-left"),
        (("--side", "right"), "right", "random-right"),
    ):
        result = command("extract", run, *words)
        assert result.out == f"{name} subnet written to {run / 'models' / name}\n"
        record = read_config(run / "models" / name)
        assert record["provenance"]["side"] == side
        arch = Arch.from_dict(record["arch"])
        state, wanted = (
            vitnas.load(run / "models" / name).state_dict(),
            net.subnet_state(arch, side),
        )
        assert all(torch.equal(state[key], wanted[key]) for key in wanted)
    again = command("extract", run, "--side", "right")
    assert again.out == f"random-right subnet is in {run / 'models' / 'random-right'} already\n"
    other = command("extract", run, "--side", "right", "--output", run / "models" / "random")
    assert refusal(other).endswith("holds something else; name another folder with --output")
    assert refusal(command("extract", run, "--side", "up")) == (
        "unknown side 'up' (allowed: left, right)"
    )


def test_metrics_of_training_are_means_of_both_sides(bilateral: Path, command: Command) -> None:
    """216 search images: a count of halves, and the largest subnet counts in whole ones."""
    lines = [json.loads(line) for line in (bilateral / "metrics.jsonl").read_text().splitlines()]
    found = lines[-2] if "top1_largest" in lines[-2] else lines[-1]
    halves = found["top1_smallest"] / 100 * 2 * 216
    assert halves == pytest.approx(round(halves))
    evaluated = command("evaluate", bilateral / "supernet", "--split", "search")
    assert evaluated.code == 0
    kept = read_config(bilateral / "supernet")["metrics"]["search"]
    assert kept["top1"] == found["top1_largest"]


def test_settings_that_need_two_sides(trained: Path, tmp_path: Path, command: Command) -> None:
    run = tmp_path / "run"
    for setting, message in (
        ("sampling.name=bcnet", "sampling bcnet needs subnets that have a left and a right side: "
         "set model.sharing=bilateral"),
        ("sides=sum_logits", "sides is sum_logits, which needs a supernet with "
         "model.sharing=bilateral"),
    ):  # fmt: skip
        assert refusal(command("train", "digits", run, "--set", setting)) == message
    assert refusal(command("extract", trained, "--arch", "largest", "--side", "left")) == (
        "side is 'left', but this supernet has no sides; leave side out, or make the supernet with "
        "sharing='bilateral'"
    )
