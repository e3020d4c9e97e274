"""ViTAS takes the whole route, with blocks left out anywhere: train, search, extract, retrain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import yaml

import vitnas
from interop.recorded_vitas import case
from vitnas.folder import read_config

from .calling import RECIPE, TUNE
from .conftest import Command

SPACE = {
    "family": "vitas",
    "depth": [1, 2, 3],
    "slot": [0, 1, 2],
    "num_heads": [1, 2],
    "attn_dim": [8, 16],
    "mlp_dim": [16, 32],
    "embed_dim": [12, 16],
    "patch_size": [2, 4],
}


def test_the_whole_route(tmp_path: Path, command: Command) -> None:
    recipe, run = tmp_path / "vitas.yaml", tmp_path / "run"
    settings = yaml.safe_load(RECIPE)
    settings |= {"space": SPACE, "sampling": {"name": "bcnet"}, "model": {"sharing": "bilateral"}}
    recipe.write_text(yaml.safe_dump(settings))
    trained = command("train", recipe, run, "--device", "cpu")
    assert trained.code == 0, trained.err
    net: Any = vitnas.load(run / "supernet")
    assert net.space["slot"].increasing

    words = ("--max-macs", "60k", "--strategy", "nsga2", "--trials", "8")
    found = command("search", run, *words, "--set", "population=4")
    assert found.code == 0, found.err
    assert command("extract", run).code == 0
    folder = run / "models" / "nsga2"
    model, record = vitnas.load(folder), read_config(folder)
    arch = vitnas.Arch.from_dict(record["arch"])
    options = {name: record["options"][name] for name in ("num_classes", "img_size", "in_chans")}
    params = sum(parameter.numel() for parameter in model.parameters())
    assert params == vitnas.cost.params(arch, **options)
    assert vitnas.cost.macs(arch, **options) <= 60_000
    images = torch.randn(2, 1, 8, 8)
    with torch.no_grad():
        assert torch.equal(model(images), net(images, arch))

    settings = ("--recipe", "vitas-retrain", *TUNE[2:], "--set", "workers=0")
    again = command("retrain", folder, tmp_path / "again", *settings, "--set", "data=digits")
    assert again.code == 0, again.err
    for model_folder in (folder, tmp_path / "again"):
        assert command("evaluate", model_folder).code == 0
        assert 0 < read_config(model_folder)["metrics"]["test"]["top1"] < 100
    assert command("report", run).code == 0
    assert "slot" in (run / "report.html").read_text()


def test_listings(command: Command) -> None:
    shown = command("spaces", "vitas-a").out
    assert "1.34e+43" in shown
    assert "slot" in shown
    profiled = command("profile", "vitas-c", "--latency", "off").out
    assert "6,048,414" in profiled
    assert "1,303,042,496" in profiled
    assert "vitas-f" in command("archs").out


def test_an_official_checkpoint_becomes_a_model(tmp_path: Path, command: Command) -> None:
    recorded = case("vitas_searched_noid")
    path, config = tmp_path / "recent_ckpt.pth", tmp_path / "official.yaml"
    torch.save({"epoch": 300, "model": recorded.weights}, path)
    config.write_text(yaml.safe_dump({"model": recorded.config, "data": {"batch_size": 1024}}))
    found = command("convert", path, tmp_path / "net", "--source", "vitas", "--config", config)
    assert (found.code, found.out) == (0, f"vitas model written to {tmp_path / 'net'}\n")
    profiled = command("profile", tmp_path / "net", "--latency", "off").out
    assert f"{int(recorded.metadata['params']):,}" in profiled
    assert f"{int(recorded.metadata['official_flops']):,}" in profiled
    refused = command("convert", path, tmp_path / "other", "--source", "vitas")
    assert refused.code == 2
    assert "give the official YAML as config" in refused.err
