"""Converting a foreign checkpoint into a model folder."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import vitnas
from vitnas import files
from vitnas.errors import InputError
from vitnas.folder import read_config
from vitnas.interop import cream
from vitnas.space import Choice, Space

from .recorded import NAMES, WIDE, case, write_checkpoint


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """An official training checkpoint."""
    return write_checkpoint(tmp_path / "supernet.pth")


@pytest.mark.parametrize("given", [True, False])
def test_a_supernet_with_and_without_its_config(
    given: bool, checkpoint: Path, tmp_path: Path
) -> None:
    recorded = case(WIDE)
    config = recorded.config if given else None
    folder = vitnas.convert(checkpoint, tmp_path / "net", "cream", config=config)
    net = vitnas.load(folder)
    for i, subnet in enumerate(recorded.subnets):
        with torch.no_grad():
            logits = net(recorded.tensors["input"], cream.arch(subnet))
        torch.testing.assert_close(logits, recorded.tensors[f"logits.{i}"], atol=2e-5, rtol=1e-5)
    provenance = read_config(folder)["provenance"]
    assert provenance["source"] == "cream"
    assert provenance["file"] == "supernet.pth"
    assert provenance["config"]["embed_dim"] == recorded.config["embed_dim"]


@pytest.mark.parametrize("name", NAMES)
def test_every_recorded_net_keeps_its_logits(name: str, tmp_path: Path) -> None:
    recorded = case(name)
    path = tmp_path / "net.safetensors"
    save_file(recorded.weights, path)
    net = vitnas.load(vitnas.convert(path, tmp_path / "net", config=recorded.config))
    with torch.no_grad():
        for i, subnet in enumerate(recorded.subnets):
            arch, wanted = cream.arch(subnet), recorded.tensors[f"logits.{i}"]
            folder = vitnas.convert(path, tmp_path / f"{i}", arch=arch, config=recorded.config)
            model = vitnas.load(folder)
            logits = net(recorded.tensors["input"], arch)
            torch.testing.assert_close(logits, wanted, atol=2e-5, rtol=1e-5)
            assert torch.equal(model(recorded.tensors["input"]), logits)


def test_a_space_can_be_searched(checkpoint: Path, tmp_path: Path) -> None:
    recorded = case(WIDE)
    archs = [cream.arch(subnet) for subnet in recorded.subnets]
    ratios = tuple(sorted({r for arch in archs for r in arch.mlp_ratio}))
    space = Space(
        "autoformer",
        (
            Choice("depth", tuple(sorted({arch.depth for arch in archs}))),
            Choice("mlp_ratio", ratios, "block"),
            Choice("num_heads", (1, 2), "block"),
            Choice("embed_dim", tuple(sorted({arch.embed_dim for arch in archs}))),
        ),
    )
    net = vitnas.load(vitnas.convert(checkpoint, tmp_path / "net", space=space))
    assert isinstance(net, vitnas.Supernet)
    assert net.space == space
    with torch.no_grad():
        for i, arch in enumerate(archs):
            logits = net(recorded.tensors["input"], arch)
            wanted = recorded.tensors[f"logits.{i}"]
            torch.testing.assert_close(logits, wanted, atol=2e-5, rtol=1e-5)
    with pytest.raises(InputError, match="not in the space"):
        net(recorded.tensors["input"], archs[0].replace(embed_dim=77))


def test_what_an_interruption_leaves_is_nothing(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(path: Path, value: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("vitnas.folder.files.write", stopped)
    with pytest.raises(KeyboardInterrupt):
        vitnas.convert(checkpoint, tmp_path / "net")
    assert [path.name for path in tmp_path.iterdir()] == [checkpoint.name]


@pytest.mark.parametrize("kept", [1, 2])
def test_a_disk_that_fills_up_leaves_nothing(
    kept: int, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights are written, then modeling.py, then config.json; the disk takes the first few."""
    written: list[Path] = []
    write = files.write
    arch = cream.arch(case(WIDE).subnets[0])

    def full(path: Path, content: Any) -> Path:
        if len(written) == kept:
            raise InputError(f"can't write {path}: No space left on device")
        written.append(path)
        return write(path, content)

    monkeypatch.setattr("vitnas.folder.files.write", full)
    with pytest.raises(InputError, match="No space left on device"):
        vitnas.convert(checkpoint, tmp_path / "net", arch=arch)
    assert len(written) == kept
    assert [path.name for path in tmp_path.iterdir()] == [checkpoint.name]


def test_a_subnet(checkpoint: Path, tmp_path: Path) -> None:
    recorded = case(WIDE)
    arch = cream.arch(recorded.subnets[1])
    model = vitnas.load(vitnas.convert(checkpoint, tmp_path / "model", arch=arch))
    with torch.no_grad():
        logits = model(recorded.tensors["input"])
    torch.testing.assert_close(logits, recorded.tensors["logits.1"], atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": "creem"}, "unknown checkpoint source 'creem'; did you mean 'cream'?"),
        (
            {"arch": vitnas.arch("autoformer-tiny")},
            "supernet.pth has no such subnet: embed of stem and head is 192, the supernet has 128",
        ),
        ({"config": {"depth": 2}}, "not the official AutoFormer of this config; unexpected: block"),
    ],
)
def test_refusals_write_nothing(
    options: dict[str, Any], message: str, checkpoint: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        vitnas.convert(checkpoint, tmp_path / "net", **options)
    assert not (tmp_path / "net").exists()


def test_something_elses_weights_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    torch.save({"weight": torch.zeros(1)}, path)
    with pytest.raises(InputError, match=r"weights of no known system \(cream, .*\): weight"):
        vitnas.convert(path, tmp_path / "net")
    message = r"not official AutoFormer weights: patch_embed_super.*, cls_token.* missing"
    with pytest.raises(InputError, match=message):
        vitnas.convert(path, tmp_path / "net", "cream")


def test_a_source_that_the_names_contradict_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"supernet\.pth holds weights of cream, not of nni"):
        vitnas.convert(checkpoint, tmp_path / "net", "nni")
    assert vitnas.convert(checkpoint, tmp_path / "net", "cream") == tmp_path / "net"


def test_the_target_must_be_a_new_or_empty_folder(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not empty; name a new folder"):
        vitnas.convert(checkpoint, tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"can't write .*file"):
        vitnas.convert(checkpoint, tmp_path / "file")
    (tmp_path / "empty").mkdir()
    assert vitnas.convert(checkpoint, tmp_path / "empty") == tmp_path / "empty"
