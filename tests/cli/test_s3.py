"""A family with stages takes the whole route: train, search under limits, extract, tune, report."""

from __future__ import annotations

from pathlib import Path

import torch
import yaml

import vitnas
from interop.recorded_s3 import case
from vitnas.folder import read_config

from .calling import RECIPE, TUNE, check_extracted
from .conftest import Command


def test_the_whole_route(tmp_path: Path, command: Command) -> None:
    recipe, run = tmp_path / "s3.yaml", tmp_path / "run"
    settings = yaml.safe_load(RECIPE)
    settings |= {"space": "s3-digits", "sampling": {"name": "sandwich", "random_subnets": 1}}
    recipe.write_text(yaml.safe_dump(settings))
    assert command("train", recipe, run, "--device", "cpu").code == 0
    net = vitnas.load(run / "supernet")
    assert isinstance(net, vitnas.Supernet)
    assert net.space == vitnas.space("s3-digits")

    words = ("--max-params", "20k", "--max-macs", "400k", "--trials", "6")
    found = command("search", run, *words)
    assert found.code == 0
    assert "best: " in found.out
    assert command("extract", run).code == 0
    images = torch.randn(2, 1, 8, 8)
    params, macs = check_extracted(run / "models" / "evolution", net, images)
    assert params <= 20_000
    assert macs <= 400_000

    assert command("evaluate", run / "models" / "evolution").code == 0
    assert 0 < read_config(run / "models" / "evolution")["metrics"]["test"]["top1"] < 100
    larger = (*TUNE, "--set", "img_size=16")
    tuned = command("finetune", run / "models" / "evolution", tmp_path / "tuned", *larger)
    assert tuned.code == 0, tuned.err
    assert vitnas.load(tmp_path / "tuned")(torch.randn(1, 1, 16, 16)).shape == (1, 10)
    assert command("report", run).code == 0
    assert "window_size" in (run / "report.html").read_text()


def test_impossible_limits_are_refused_with_the_range(tmp_path: Path, command: Command) -> None:
    vitnas.save(vitnas.Supernet(vitnas.space("s3-digits"), 10, 8, in_chans=1), tmp_path / "net")
    result = command("search", tmp_path / "net", "--data", "digits", "--max-params", "1k")
    assert result.code == 2
    assert "6117" in result.err.replace(",", "")


def test_listings_show_the_stages(command: Command) -> None:
    assert "(64, 96, 128), (160, 192, 224)" in command("spaces", "s3-tiny").out
    assert "s3-small" in command("archs").out
    assert "28,328,674" in command("profile", "s3-tiny", "--latency", "off").out


def test_an_official_checkpoint_becomes_a_model(tmp_path: Path, command: Command) -> None:
    recorded = case("s3_a_mixed64")
    path = tmp_path / "S3.pth"
    torch.save({"model": {**recorded.weights, **recorded.buffers}}, path)
    found = command("convert", path, tmp_path / "s3", "--source", "s3")
    assert found.code == 0
    assert found.out.startswith(f"s3 model written to {tmp_path / 's3'}: depth ")
    profiled = command("profile", tmp_path / "s3", "--latency", "off").out
    assert f"{int(recorded.metadata['n_params']):,}" in profiled
    refused = command("convert", path, tmp_path / "other", "--source", "s3", "--arch", "s3-tiny")
    assert refused.code == 2
    assert f"{path} holds another network than the one named: " in refused.err
