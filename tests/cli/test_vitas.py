"""ViTAS takes the whole route, with blocks left out anywhere: train, search, extract, retrain."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import yaml

import vitnas
from interop.recorded_vitas import TOY, case, released
from vitnas.folder import read_config
from vitnas.search.ledger import read

from .calling import check_extracted
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
SMALL = {
    "batch_size": 512,
    "epochs": 1,
    "workers": 0,
    "evaluate_every": 0,
    "precision": "32-true",
    "input": "{img_size: [8, 8]}",
}


def pairs(**settings: object) -> Iterator[str]:
    """Yield the words `--set name=value`."""
    for name, value in settings.items():
        yield from ("--set", f"{name}={value}")


def test_the_whole_route(tmp_path: Path, command: Command) -> None:
    """With ViTAS's recipes, cut down to one epoch of digits in three channels."""
    space, run = tmp_path / "small.yaml", tmp_path / "run"
    space.write_text(yaml.safe_dump(SPACE))
    small = ("--data", "digits", "--device", "cpu", *pairs(**SMALL, **{"optim.warmup_epochs": 0}))

    def done(*words: str | Path) -> str:
        result = command(*words)
        assert result.code == 0, result.err
        return result.out

    done("train", "vitas", run, *small, "--space", space, "--set", "search_fraction=0.15")
    net: Any = vitnas.load(run / "supernet")
    assert net.space["slot"].increasing
    assert net.sharing.bilateral

    window = ("--strategy", "nsga2", "--min-macs", "10k", "--max-macs", "60k")
    cheap = ("--trials", "6", "--images", "60", "--batch-size", "60", "--set", "population=3")
    assert "6 subnets" in done("search", run, *window, *cheap)
    done("search", run, *window, *cheap, "--tied", "on", "--name", "equal")
    for trial in read(run / "searches" / "equal")[1]:
        assert len(set(trial.arch.attn_dim)) == len(set(trial.arch.mlp_dim)) == 1
    done("extract", run, "--search", "nsga2")

    folder, alone = run / "models" / "nsga2", tmp_path / "alone"
    images = torch.randn(2, 3, 8, 8)
    params, macs = check_extracted(folder, net, images)
    assert 10_000 <= macs <= 60_000

    done("retrain", folder, alone, "--recipe", "vitas-retrain", *small)
    for path in (folder, alone):
        done("evaluate", path)
        assert 0 < read_config(path)["metrics"]["test"]["top1"] < 100
    assert f"{params:,}" in done("profile", alone, "--latency", "off")

    done("convert", alone, tmp_path / "official.pth", "--to", "vitas")
    config = tmp_path / "official.config.json"
    done("convert", tmp_path / "official.pth", tmp_path / "back", "--config", config)
    with torch.no_grad():
        two = [vitnas.load(path)(images) for path in (alone, tmp_path / "back")]
    torch.testing.assert_close(*two, rtol=0, atol=1e-5)

    done("report", run)
    page = (run / "report.html").read_text()
    assert "slot" in page
    assert "hypervolume" in page


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
    assert found.code == 0, found.err
    assert found.out.startswith(f"vitas model written to {tmp_path / 'net'}")
    profiled = command("profile", tmp_path / "net", "--latency", "off").out
    assert f"{int(recorded.metadata['params']):,}" in profiled
    assert f"{int(recorded.metadata['official_flops']):,}" in profiled
    whole = tmp_path / "retrain.yaml"
    whole.write_text(yaml.safe_dump(released({**TOY, "qkv": 2}, recorded.config)))
    found = command("convert", path, tmp_path / "same", "--config", whole)
    assert found.code == 0, found.err
    arch = read_config(tmp_path / "net")["arch"]
    assert read_config(tmp_path / "same")["arch"] == arch
    assert json.loads(command("archs", whole).out) == arch
    refused = command("convert", path, tmp_path / "other", "--source", "vitas")
    assert refused.code == 2
    assert "give the official YAML as config" in refused.err
